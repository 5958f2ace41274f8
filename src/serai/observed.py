"""What the gateway does with models, told to the bill, the rows, the metrics and the traces."""

import asyncio
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import islice

from serai.billing.spending import Spending
from serai.gateway.models.attempts import Attempt
from serai.gateway.models.naming import provider_name
from serai.gateway.models.outcome import Content
from serai.gateway.models.plans import origin_of
from serai.gateway.routes import ModelRoute, RouteTable, connection_of
from serai.gateway.usage import ModelUsage
from serai.identity.principal import Principal
from serai.kernel.errors import SeraiError
from serai.metered import model_call, model_calls
from serai.metering.models import MAX_TOKENS, UsageBuffer
from serai.telemetry.logs import DAYS, Kept, RequestLogs
from serai.telemetry.metrics import SECONDS, TOKENS, ModelMetrics, ModelSeries
from serai.telemetry.requests import RequestBuffer, Row
from serai.telemetry.tracing import Description

DELAY = 0.02
"""Seconds that calls wait to be looked at together; short, as that stops everything else."""

Call = tuple[ModelRoute, Principal, ModelUsage]


class ObservedCalls:
    """Takes each call with one append, and works through them a little later, off its path."""

    def __init__(
        self,
        bill: UsageBuffer,
        rows: RequestBuffer,
        logs: RequestLogs,
        metrics: ModelMetrics,
        routes: RouteTable,
    ) -> None:
        self._bill = bill
        self._rows = rows
        self._logs = logs
        self._metrics = metrics
        self._routes = routes
        self._calls: list[Call] = []
        self._refused: list[Call] = []
        self._numbers: dict[int, int] = {}
        """Numbers of rows whose calls have a log, by the identity of their usage."""
        self._due = False
        self._spending: Spending | None = None

    def pay_from(self, spending: Spending) -> None:
        """Have budgets that refuse told of each call at once."""
        self._spending = spending
        spending.collect = self.work

    def add(self, route: ModelRoute, principal: Principal, usage: ModelUsage) -> None:
        """A call has ended."""
        self._calls.append((route, principal, usage))
        spending = self._spending
        if spending is not None and spending.watched:
            spending.note(model_call(route, principal, usage))
        if not self._due:
            self._come_back()

    def refused(self, route: ModelRoute, principal: Principal, usage: ModelUsage) -> None:
        """A call was refused before it was sent."""
        self._refused.append((route, principal, usage))
        if not self._due:
            self._come_back()

    def content(self, route: ModelRoute, usage: ModelUsage, content: Content) -> None:
        """What a call said that ``add`` will be told of next."""
        wanted = route.gateway.request_log
        if wanted is None:
            return
        number = self._numbers[id(usage)] = self._rows.number(usage.started)
        self._logs.add(
            Kept(
                workspace=route.workspace,
                resource_id=route.resource_id,
                number=number,
                request=content.request,
                answer=content.answer,
                answer_length=content.length,
                streamed=usage.streamed,
                content=bool(wanted.content),
                days=wanted.retention_days or DAYS,
            )
        )

    def _come_back(self) -> None:
        self._due = True
        asyncio.get_running_loop().call_later(DELAY, self.work)

    def work(self) -> None:
        """Look at what has come; at a stop once more, before the bill is written."""
        self._due = False
        calls, self._calls = self._calls, []
        refused, self._refused = self._refused, []
        for call in model_calls(calls):
            self._bill.add(call)
        self._count_calls(calls)
        for route, _, usage in refused:
            series = self._series(route, usage)
            if series is not None:
                series.refused(usage.error)
        self._make_rows([*calls, *refused])

    def _count_calls(self, calls: Sequence[Call]) -> None:
        """Add up calls of one model and operation at once: most are like the one before."""
        route: ModelRoute | None = None
        operation, alike = "", list[ModelUsage]()
        runs: list[tuple[ModelSeries, list[ModelUsage]]] = []
        for each, _, usage in calls:
            if each is not route or usage.operation is not operation:
                route, operation, alike = each, usage.operation, []
                series = self._series(route, usage)
                if series is not None:
                    runs.append((series, alike))
            alike.append(usage)
        for series, usages in runs:
            observe(series, usages)

    def _series(self, route: ModelRoute, usage: ModelUsage) -> ModelSeries | None:
        """The numbers of a model; None of one that was deleted meanwhile.

        Its name may be another model's by now.
        """
        known = self._routes.models.get((route.workspace, route.name))
        if known is not route and (known is None or known.resource_id != route.resource_id):
            return None
        key = (route.workspace, route.name, route.provider, usage.operation)
        return self._metrics.series.get(key) or self._metrics.of(*key)

    def _make_rows(self, calls: Sequence[Call]) -> None:
        """Rows of all calls with a log, and of as many as there is room for: failures first."""
        if self._numbers:  # what is kept of a call is found by its row
            logged = [call for call in calls if id(call[2]) in self._numbers]
            calls = [call for call in calls if id(call[2]) not in self._numbers]
            self._rows.add([self._row(*call) for call in logged])
            self._numbers.clear()
        granted = self._rows.room(len(calls))
        if not granted:
            return
        if granted < len(calls):
            failed = [call for call in calls if call[2].status >= 400]
            others = (call for call in calls if call[2].status < 400)
            calls = [*failed, *islice(others, max(0, granted - len(failed)))][:granted]
        self._rows.add([self._row(*call) for call in calls])

    def _row(self, route: ModelRoute, principal: Principal, usage: ModelUsage) -> Row:
        number = self._numbers.get(id(usage), 0) if self._numbers else 0
        called = usage.called or route.name
        return (
            route.workspace,
            number or self._rows.number(usage.started),
            route.account_id,
            usage.request_id,
            called,
            route.resource_id,
            route.name if called != route.name else "",
            route.provider,
            route.model or "",
            _text(usage.answered_by),
            usage.operation,
            usage.status,
            _text(usage.error),
            usage.origin,
            int(usage.first_byte * 1e6),
            int(usage.duration * 1e6),
            _count(usage.input_tokens),
            _count(usage.written()),
            _count(usage.cached_tokens),
            _count(usage.reasoning_tokens),
            usage.counted,
            usage.estimated,
            usage.attempts,
            usage.cache,
            usage.streamed,
            principal.credential_id,
            principal.subject,
            route.labels,
        )


def _count(claimed: int) -> int:
    """A number of tokens as a column can hold it, whatever a provider claims."""
    return min(max(claimed, 0), MAX_TOKENS)


def _text(claimed: str) -> str:
    """A name that a provider gave, without what PostgreSQL cannot hold."""
    return claimed.replace("\0", "")


def observe(series: ModelSeries, usages: Iterable[ModelUsage]) -> None:
    """Add calls that were sent, or answered from the cache, to their model's numbers.

    What is done for nearly every call is written out, as it is a good part of what a call costs.
    """
    statuses, durations, firsts = series.statuses, series.duration, series.first_byte
    received, sent = series.input, series.output
    for usage in usages:
        statuses[usage.status] += 1
        series.attempts += usage.attempts
        duration, first_byte = usage.duration, usage.first_byte
        place = bisect_left(SECONDS, duration)
        durations.counts[place] += 1
        durations.total += duration
        if first_byte:
            if first_byte != duration:
                place = bisect_left(SECONDS, first_byte)
            firsts.counts[place] += 1
            firsts.total += first_byte
        if usage.counted:
            tokens = usage.input_tokens
            hidden = usage.total_tokens - tokens
            received.counts[bisect_left(TOKENS, tokens)] += 1
            received.total += tokens
            tokens = usage.output_tokens
            if hidden > tokens:  # as ``written`` has it
                tokens = hidden
            sent.counts[bisect_left(TOKENS, tokens)] += 1
            sent.total += tokens
            if usage.cached_tokens or usage.reasoning_tokens:
                series.cached_tokens += usage.cached_tokens
                series.reasoning_tokens += usage.reasoning_tokens
        if usage.cache:
            series.cache[usage.cache] += 1
        if usage.error:
            series.failed(usage.error, usage.origin)


def described(route: ModelRoute, usage: ModelUsage) -> Description:
    """A call as a span; attributes as in the conventions for generative AI, ours below ``serai``.

    Source: OpenTelemetry semantic conventions, ``gen_ai.client`` spans.
    """
    model = route.model or route.name
    failed = usage.error if usage.status >= 400 or usage.error else ""
    return Description(
        name=f"{usage.operation} {model}",
        started=usage.started,
        attributes={
            "gen_ai.operation.name": usage.operation,
            "gen_ai.provider.name": provider_name(route.provider),
            "gen_ai.request.model": model,
            "gen_ai.response.model": usage.answered_by,
            **(_tokens(usage) if usage.counted else {}),
            **_server(route),
            "http.response.status_code": usage.status,
            "error.type": failed,
            "serai.error.origin": usage.origin,
            "serai.request_id": usage.request_id,
            "serai.workspace": route.workspace,
            "serai.model": usage.called or route.name,
            "serai.stand_in": route.name if usage.called not in ("", route.name) else "",
            "serai.attempts": usage.attempts,
            "serai.cache": usage.cache,
            "serai.stream": usage.streamed,
            "serai.time_to_first_byte": usage.first_byte,
        },
        error=failed,
    )


def attempted(attempt: Attempt) -> Description:
    """One attempt of a call as a span below the call's; tokens are told of the call alone."""
    route = attempt.route
    model = route.model or route.name
    told = {"http.response.status_code": attempt.status} if attempt.status else {}
    again = {"http.request.resend_count": attempt.number - 1} if attempt.number > 1 else {}
    return Description(
        name=f"{attempt.operation} {model}",
        started=attempt.started,
        attributes={
            "gen_ai.operation.name": attempt.operation,
            "gen_ai.provider.name": provider_name(route.provider),
            "gen_ai.request.model": model,
            "gen_ai.response.model": attempt.answered_by,
            **_server(route),
            **told,
            **again,
            "error.type": attempt.error,
            "serai.error.origin": attempt.origin,
            "serai.request_id": attempt.request_id,
            "serai.workspace": route.workspace,
            "serai.model": route.name,
            "serai.connection": connection_of(route),
            "serai.attempt": attempt.number,
        },
        error=attempt.error,
    )


def _server(route: ModelRoute) -> dict[str, str | int]:
    try:
        address = origin_of(route.base_url).address
    except SeraiError:
        return {}
    return {"server.address": address.host, "server.port": address.port}


def _tokens(usage: ModelUsage) -> dict[str, int]:
    return {
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.written(),
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
    }
