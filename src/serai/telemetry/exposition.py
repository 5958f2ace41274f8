"""What a Prometheus server reads: our numbers as its families, in the format that it asks for."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from serai.telemetry.metrics import Distribution, LoopLag, ModelMetrics, ModelSeries

if TYPE_CHECKING:
    from prometheus_client.core import Metric

_MODEL = ("workspace", "model", "provider", "operation")


class Reading(msgspec.Struct, kw_only=True):
    """What one caller may see, at one moment.

    Attributes:
        workspaces: of the caller; all numbers are kept to these.
        whole: numbers of the process are seen too, which say something about all tenants.
        in_flight: model calls under way, by workspace and model.
        sandboxes: how many there are, by workspace and state.
        egress: what sandboxes that are awake sent outside: workspace to allowed and refused.
        skipped: model calls of which no row was made, by reason.
        traces: spans, by what became of them.
    """

    workspaces: frozenset[str]
    whole: bool
    in_flight: Mapping[tuple[str, str], int] = {}
    sandboxes: Mapping[tuple[str, str], int] = {}
    egress: Mapping[str, tuple[int, int]] = {}
    skipped: Mapping[str, int] = {}
    traces: Mapping[str, int] = {}


class Exposition:
    """Renders metrics; ``prometheus_client`` is imported when somebody first asks.

    Args:
        models: of model calls.
        lag: of the event loop.
        provider_name: an integration type as OpenTelemetry names it.
    """

    def __init__(
        self, models: ModelMetrics, lag: LoopLag, provider_name: Callable[[str], str]
    ) -> None:
        self._models = models
        self._lag = lag
        self._provider_name = provider_name
        self._process: Any = None

    def render(self, accept: str, reading: Reading) -> tuple[bytes, str]:
        """The body and its content type: OpenMetrics where ``accept`` wants it, else text."""
        from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
        from prometheus_client.exposition import choose_encoder

        if self._process is None:
            self._process = CollectorRegistry()
            ProcessCollector(registry=self._process)
            GCCollector(registry=self._process)
        encode, content_type = choose_encoder(accept)
        return encode(_Collected(list(self._families(reading)))), content_type

    def _families(self, reading: Reading) -> Iterator["Metric"]:
        yield from self._counters(reading)
        yield from self._distributions(reading)
        yield from _gauges(reading)
        if reading.whole:
            yield from self._of_process(reading)

    def _counters(self, reading: Reading) -> Iterator["Metric"]:
        from prometheus_client.core import CounterMetricFamily

        for name, text, label, counted in _COUNTERS:
            labels = _MODEL if label is None else (*_MODEL, *label)
            family = CounterMetricFamily(name, text, labels=labels)
            for key, series in self._models.seen(reading.workspaces):
                for values, number in counted(series):
                    family.add_metric((*key, *values), number)
            yield family

    def _distributions(self, reading: Reading) -> Iterator["Metric"]:
        from prometheus_client.core import HistogramMetricFamily

        tokens = HistogramMetricFamily(
            "gen_ai_client_token_usage",
            "Tokens of model calls, as the provider counted them.",
            labels=_labels("gen_ai_token_type"),
        )
        first = HistogramMetricFamily(
            "gen_ai_server_time_to_first_token_seconds",
            "Time from a model call's start to the first byte of its answer.",
            labels=_labels(),
        )
        duration = HistogramMetricFamily(
            "gen_ai_server_request_duration_seconds",
            "Time from a model call's start to its end.",
            labels=_labels(),
        )
        for key, series in self._models.seen(reading.workspaces):
            labels = (*key[:2], self._provider_name(key[2]), key[3])
            _add(tokens, (*labels, "input"), series.input)
            _add(tokens, (*labels, "output"), series.output)
            _add(first, labels, series.first_byte)
            _add(duration, labels, series.duration)
        yield from (tokens, first, duration)

    def _of_process(self, reading: Reading) -> Iterator["Metric"]:
        from prometheus_client.core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
        )

        lag = HistogramMetricFamily(
            "serai_event_loop_lag_seconds", "How late timers of the event loop fired."
        )
        _add(lag, (), self._lag.distribution)
        longest = GaugeMetricFamily(
            "serai_event_loop_lag_longest_seconds", "The longest of these since the last scrape."
        )
        longest.add_metric((), self._lag.take_longest())
        yield from (lag, longest)
        for name, text, numbers in (
            ("serai_model_request_rows_skipped", "Model calls without a row.", reading.skipped),
            ("serai_trace_spans", "Spans, by what became of them.", reading.traces),
        ):
            family = CounterMetricFamily(name, text, labels=("reason",))
            for reason, number in numbers.items():
                family.add_metric((reason,), number)
            yield family
        yield from self._process.collect()


class _Collected:
    """What an encoder of ``prometheus_client`` takes for a registry."""

    def __init__(self, families: "list[Metric]") -> None:
        self._families = families

    def collect(self) -> "list[Metric]":
        return self._families


def _labels(*more: str) -> tuple[str, ...]:
    return ("workspace", "model", "gen_ai_provider_name", "gen_ai_operation_name", *more)


Counted = Callable[[ModelSeries], Iterable[tuple[tuple[str, ...], float]]]
_COUNTERS: tuple[tuple[str, str, tuple[str, ...] | None, Counted], ...] = (
    (
        "serai_model_requests",
        "Model calls that were sent to a provider or answered from the cache, by HTTP status.",
        ("status",),
        lambda series: [((str(name),), number) for name, number in series.statuses.items()],
    ),
    (
        "serai_model_errors",
        "Those that failed, by code and by whose fault it was.",
        ("code", "origin"),
        lambda series: list(series.errors.items()),
    ),
    (
        "serai_model_refusals",
        "Model calls that were refused before they were sent, for example by a policy.",
        ("code",),
        lambda series: [((name,), number) for name, number in series.refusals.items()],
    ),
    (
        "serai_model_cache",
        "Model calls of models with a cache, by whether it had the answer.",
        ("result",),
        lambda series: [((name,), number) for name, number in series.cache.items()],
    ),
    (
        "serai_model_attempts",
        "How often model calls were sent to a provider.",
        None,
        lambda series: [((), series.attempts)],
    ),
    (
        "serai_model_cached_tokens",
        "Of the input tokens, those that the provider had in its own cache.",
        None,
        lambda series: [((), series.cached_tokens)],
    ),
    (
        "serai_model_reasoning_tokens",
        "Of the output tokens, those that were thought and not said.",
        None,
        lambda series: [((), series.reasoning_tokens)],
    ),
)


def _gauges(reading: Reading) -> Iterator["Metric"]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    flying = GaugeMetricFamily(
        "serai_model_requests_in_flight", "Model calls under way.", labels=("workspace", "model")
    )
    for (workspace, model), number in reading.in_flight.items():
        if workspace in reading.workspaces:
            flying.add_metric((workspace, model), number)
    sandboxes = GaugeMetricFamily(
        "serai_sandboxes", "Sandboxes, by state.", labels=("workspace", "state")
    )
    for (workspace, state), number in reading.sandboxes.items():
        if workspace in reading.workspaces:
            sandboxes.add_metric((workspace, state), number)
    egress = CounterMetricFamily(
        "serai_sandbox_egress",
        "Connections and requests to the outside of sandboxes that are awake, by decision.",
        labels=("workspace", "decision"),
    )
    for workspace, (allowed, refused) in reading.egress.items():
        if workspace in reading.workspaces:
            egress.add_metric((workspace, "allowed"), allowed)
            egress.add_metric((workspace, "refused"), refused)
    yield from (flying, sandboxes, egress)


def _add(family: Any, labels: tuple[str, ...], numbers: Distribution) -> None:
    family.add_metric(labels, buckets=numbers.buckets(), sum_value=numbers.total)
