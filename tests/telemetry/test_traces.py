"""Traces of model calls: continued from the client, handed to the provider, sent to a collector."""

import asyncio
import itertools
import re
import socket
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_server import KEY, Server
from serai.kernel.collectors import header_fields
from serai.telemetry import otlp
from serai.telemetry.otlp import SpanExporter, encode, traces_url
from serai.telemetry.tracing import Description, Finished, Span, Tracer

from .calls import call, until
from .collector import Collector, attributes
from .provider import Provider

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"
HEADER = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-01")


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


@pytest.fixture
def traced(new_server: Callable[..., Server], collector: Collector) -> Server:
    headers = "x-api-key=s%20ecret, x-team=blue"
    return new_server(SERAI_OTLP_ENDPOINT=collector.url, SERAI_OTLP_HEADERS=headers).start()


def test_a_call_becomes_a_span_of_its_clients_trace(
    traced: Server, collector: Collector, provider: Provider
) -> None:
    before = time.time_ns()
    with traced.client_for(KEY) as api:
        model = provider.model(api)
        answer = call(api, model, headers={"traceparent": SAMPLED, "tracestate": "a=b"})
    assert answer.status_code == 200
    (span,) = until(lambda: collector.spans)
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert (span.name, span.kind, span.status.code) == ("chat gpt-real", 3, 0)
    assert before < span.start_time_unix_nano < span.end_time_unix_nano < time.time_ns()
    told, _ = provider.seen[-1]
    assert told["traceparent"] == f"00-{TRACE}-{span.span_id.hex()}-01"
    assert told["tracestate"] == "a=b"
    found = attributes(span)
    assert found.pop("serai.time_to_first_byte") > 0
    port = int(provider.url.split(":")[2].split("/")[0])
    assert found == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-real",
        "gen_ai.response.model": "gpt-real-2026",
        "gen_ai.usage.input_tokens": 11,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "gen_ai.usage.reasoning.output_tokens": 2,
        "server.address": "127.0.0.1",
        "server.port": port,
        "http.response.status_code": 200,
        "serai.request_id": answer.headers["x-request-id"],
        "serai.workspace": "main",
        "serai.model": model,
        "serai.attempts": 1,
        "serai.stream": False,
    }
    assert collector.resources[0]["service.name"] == "serai"
    assert collector.headers[0]["x-api-key"] == "s ecret"
    assert collector.headers[0]["x-team"] == "blue"


def test_traces_begin_here_and_tell_of_failures(
    traced: Server, collector: Collector, provider: Provider
) -> None:
    with traced.client_for(KEY) as api:
        model = provider.model(api)
        call(api, model, "fail")
        call(api, model, stream=True)
        call(api, model, headers={"traceparent": "00-zz-1-01"})
    spans = until(lambda: collector.spans if len(collector.spans) == 3 else None)
    failed = next(span for span in spans if span.status.code == 2)
    assert attributes(failed)["error.type"] == failed.status.message == "slow_down"
    sent = {HEADER.fullmatch(headers["traceparent"])[1] for headers, _ in provider.seen[-3:]}
    assert {span.trace_id.hex() for span in spans} == sent
    assert len(sent) == 3
    assert all(span.parent_span_id == b"" for span in spans)


def test_each_attempt_has_a_span_below_that_of_the_call(
    traced: Server, collector: Collector, provider: Provider
) -> None:
    with traced.client_for(KEY) as api:
        up = provider.model(api)
        connection = api.get(f"/v0/integrations/connections/{up}").json()["spec"]
        nowhere = connection | {"config": {"baseUrl": "http://127.0.0.1:9/v1"}, "secret": {}}
        made = {"metadata": {"name": "nowhere"}, "spec": nowhere}
        assert api.post("/v0/integrations/connections", json=made).is_success
        spec = {"runtime": {"type": "openai", "model": "gpt-lost"}}
        spec["gateway"] = {"fallbacks": [up], "retries": {"attempts": 1, "backoffMs": 1}}
        spec["integrationConnections"] = ["nowhere"]
        lost = {"metadata": {"name": "lost"}, "spec": spec}
        assert api.post("/v0/models", json=lost).is_success
        answer = call(api, "lost", headers={"traceparent": SAMPLED})
        assert answer.headers["x-serai-attempts"] == "3"
        refused = call(api, "lost", "fail", stream=True)
    spans = until(lambda: collector.spans if len(collector.spans) == 8 else None)
    mine = [span for span in spans if span.trace_id.hex() == TRACE]
    (whole,) = [span for span in mine if span.parent_span_id.hex() == PARENT]
    assert attributes(whole)["serai.attempts"] == 3
    tries = [span for span in mine if span.parent_span_id == whole.span_id]
    tries.sort(key=lambda span: attributes(span)["serai.attempt"])
    assert [span.name for span in tries] == ["chat gpt-lost"] * 2 + ["chat gpt-real"]
    first, again, last = map(attributes, tries)
    assert first["error.type"] == again["error.type"] == "UPSTREAM_CONNECT_FAILED"
    assert (first["server.port"], "http.response.status_code" in first) == (9, False)
    assert ("http.request.resend_count" in first, again["http.request.resend_count"]) == (False, 1)
    assert last["gen_ai.response.model"] == "gpt-real-2026"
    assert (last["http.response.status_code"], last["serai.model"]) == (200, up)
    assert [span.status.code for span in tries] == [2, 2, 0]
    assert not any("usage" in name for name in last), "tokens are told once, of the call"
    for one, other in itertools.pairwise(tries):
        assert whole.start_time_unix_nano <= one.start_time_unix_nano <= one.end_time_unix_nano
        assert one.end_time_unix_nano <= other.start_time_unix_nano <= whole.end_time_unix_nano
    told, _ = provider.seen[-2]
    assert told["traceparent"] == f"00-{TRACE}-{tries[-1].span_id.hex()}-01"
    others = [attributes(span) for span in spans if span.trace_id.hex() != TRACE]
    found = [each["error.type"] for each in others if each.get("serai.attempt") == 3]
    assert (found, refused.status_code) == (["slow_down"], 429)


def test_what_the_client_does_not_record_is_passed_on_and_not_recorded(
    traced: Server, collector: Collector, provider: Provider
) -> None:
    with traced.client_for(KEY) as api:
        model = provider.model(api)
        call(api, model, headers={"traceparent": UNSAMPLED})
        assert provider.seen[-1][0]["traceparent"] == UNSAMPLED
        call(api, model, headers={"traceparent": SAMPLED})
    until(lambda: collector.spans)
    assert len(collector.spans) == 1


def test_without_a_collector_the_header_passes_untouched(api, provider: Provider) -> None:
    model = provider.model(api)
    call(api, model, headers={"traceparent": SAMPLED})
    assert provider.seen[-1][0]["traceparent"] == SAMPLED
    call(api, model)
    assert "traceparent" not in provider.seen[-1][0]


def test_the_last_spans_are_sent_at_a_stop(
    traced: Server, collector: Collector, provider: Provider
) -> None:
    with traced.client_for(KEY) as api:
        model = provider.model(api)
        for _ in range(5):
            call(api, model)
    assert traced.stop() == 0
    assert len(collector.spans) == 5


def test_a_dead_collector_holds_nothing_up(
    new_server: Callable[..., Server], provider: Provider
) -> None:
    with socket.socket() as taken:  # it listens to nobody, so that connections are refused
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        server = new_server(SERAI_OTLP_ENDPOINT=url).start()
        with server.client_for(KEY) as api:
            model = provider.model(api)
            assert [call(api, model).status_code for _ in range(20)] == [200] * 20
        assert server.stop() == 0


def finished(number: int = 1) -> Finished:
    span = Span(f"{number:032x}", f"{number:016x}", "")
    about = Description(name="chat m", started=1.5, attributes={"a": 1, "b": "", "c": 0.5})
    return Finished(span, about, 2_000_000_000)


async def exported(exporter: SpanExporter, enough: Callable[[], bool]) -> None:
    task = asyncio.create_task(exporter.run())
    async with asyncio.timeout(20):
        while not enough():
            await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_busy_collector_is_asked_again(collector: Collector) -> None:
    collector.answers.extend([503, 429, 502])
    exporter = SpanExporter(collector.url, {}, pause=0.01)
    exporter.add(finished())
    await exported(exporter, lambda: exporter.numbers["sent"] == 1)
    assert len(collector.headers) == 4
    assert len(collector.spans) == 1
    assert "b" not in attributes(collector.spans[0])


async def test_a_collector_that_says_no_is_not_asked_again(collector: Collector) -> None:
    collector.answers.append(400)
    exporter = SpanExporter(collector.url, {}, pause=0.01)
    exporter.add(finished())
    await exported(exporter, lambda: exporter.numbers["failed"] == 1)
    assert (len(collector.headers), collector.spans) == (1, [])


async def test_spans_that_a_collector_rejects_are_counted(collector: Collector) -> None:
    collector.rejects = 2
    exporter = SpanExporter(collector.url, {})
    for number in range(1, 6):
        exporter.add(finished(number))
    await exported(exporter, lambda: exporter.numbers["rejected"] == 2)
    assert exporter.numbers["sent"] == 3


async def test_the_queue_is_bounded(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "MOST_WAITING", 450)
    exporter = SpanExporter(collector.url, {})
    for number in range(1, 501):
        exporter.add(finished(number))
    await exported(exporter, lambda: exporter.numbers["sent"] == 450)
    assert exporter.numbers["dropped"] == 50
    assert len({span.span_id for span in collector.spans}) == 450


class Kept:
    def __init__(self) -> None:
        self.spans: list[Finished] = []

    def add(self, finished: Finished) -> None:
        self.spans.append(finished)


def tracer(ratio: float) -> Tracer:
    return Tracer(Kept(), ratio, lambda *_: Description("n", 0.0, {}))


@given(st.binary(max_size=80) | st.from_regex(
    rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?", fullmatch=True))  # fmt: skip
def test_any_header_gives_a_valid_span_or_none(header: bytes) -> None:
    span = tracer(1.0).begin(header)
    if span is None:
        assert not int(header[53:55], 16) & 1
        return
    assert HEADER.fullmatch(span.header().decode())
    assert not re.fullmatch("0+", span.trace_id)
    if span.parent_id:
        assert header[3:35].decode() == span.trace_id
    encode([Finished(span, Description("n", 0.0, {}), 1)])


def test_the_share_of_traces_is_that_of_the_setting() -> None:
    assert all(tracer(0).begin(None) is None for _ in range(100))
    taken = sum(tracer(0.3).begin(None) is not None for _ in range(3000))
    assert 700 < taken < 1100
    assert tracer(0).begin(SAMPLED.encode()) is not None
    assert tracer(0).begin(b"00-" + b"0" * 32 + b"-" + b"1" * 16 + b"-01") is None


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://c:4318", "http://c:4318/v1/traces"),
        ("http://c:4318/", "http://c:4318/v1/traces"),
        ("https://c/otlp", "https://c/otlp/v1/traces"),
        ("https://c/otlp/v1/traces", "https://c/otlp/v1/traces"),
    ],
)
def test_traces_have_their_path(endpoint: str, url: str) -> None:
    assert traces_url(endpoint) == url


@pytest.mark.parametrize("text", ["a", "=b", "a b=c", "a=b\nc", "ä=b", "a=%0A"])
def test_headers_without_sense_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="name=value"):
        header_fields(text + ",x=y")
