"""Handing spans to a collector over OTLP/HTTP, without anything waiting for that.

Spans wait in a bounded queue. Once a second they are encoded in a thread and sent, some hundred at
a time. What the collector cannot take right now is tried again with growing pauses; when the queue
is full, new spans are counted and dropped. Source: OpenTelemetry Protocol specification 1.x.
"""

import asyncio
import random
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import structlog

import serai
from serai.telemetry.tracing import Finished, Value

if TYPE_CHECKING:
    import aiohttp

INTERVAL = 1.0
AT_ONCE = 200
MOST_WAITING = 10_000
ATTEMPTS = 5
PAUSE, LONGEST_PAUSE = 1.0, 30.0
TIMEOUT = 10.0
FLUSH_SECONDS = 3.0
"""How long a stop waits for the last spans."""
RETRYABLE = frozenset({429, 502, 503, 504})
_CLIENT, _ERROR = 3, 2
log = structlog.get_logger(__name__)


class SpanExporter:
    """Sends spans to ``endpoint``. From the event loop's thread only.

    Args:
        endpoint: a collector's base URL; ``/v1/traces`` is appended unless it is there.
        headers: sent with every request.
        pause: seconds before the second attempt; for tests.
    """

    def __init__(self, endpoint: str, headers: Mapping[str, str], pause: float = PAUSE) -> None:
        self.numbers: Counter[str] = Counter()
        """Spans by what became of them: ``sent``, ``rejected``, ``failed``, ``dropped``."""
        self._url = traces_url(endpoint)
        self._headers = {"content-type": "application/x-protobuf", **headers}
        self._pause = pause
        self._waiting: deque[Finished] = deque()

    def add(self, finished: Finished) -> None:
        """Take a span; never blocks."""
        if len(self._waiting) >= MOST_WAITING:
            self.numbers["dropped"] += 1
            return
        self._waiting.append(finished)

    async def run(self) -> None:
        """Send until cancelled, then once more for a short time."""
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=TIMEOUT)
        async with aiohttp.ClientSession(timeout=timeout, headers=self._headers) as session:
            try:
                while True:
                    await asyncio.sleep(INTERVAL)
                    await self._send_all(session, ATTEMPTS)
            finally:
                await self._flush(session)

    async def _flush(self, session: "aiohttp.ClientSession") -> None:
        try:
            async with asyncio.timeout(FLUSH_SECONDS):
                await self._send_all(session, 1)
        except TimeoutError:
            pass
        if self._waiting:
            self.numbers["failed"] += len(self._waiting)
            log.warning("spans_lost", spans=len(self._waiting))

    async def _send_all(self, session: "aiohttp.ClientSession", attempts: int) -> None:
        while self._waiting:
            batch = [self._waiting[at] for at in range(min(AT_ONCE, len(self._waiting)))]
            result, rejected = await self._export(session, batch, attempts)
            for _ in batch:
                self._waiting.popleft()
            self.numbers[result] += len(batch) - rejected
            self.numbers["rejected"] += rejected

    async def _export(
        self, session: "aiohttp.ClientSession", batch: Sequence[Finished], attempts: int
    ) -> tuple[str, int]:
        try:
            body = await asyncio.to_thread(encode, batch)
        except Exception:  # it must not end the task that others wait for
            log.exception("spans_not_encoded", spans=len(batch))
            return "failed", 0
        return await self._deliver(session, body, attempts)

    async def _deliver(
        self, session: "aiohttp.ClientSession", body: bytes, attempts: int
    ) -> tuple[str, int]:
        """Send one request, several times if need be; what became of it, and spans not taken."""
        problem = ""
        for attempt in range(attempts):
            status, told, asked = await self._post(session, body)
            if status == 200:
                return "sent", await asyncio.to_thread(_rejected, told)
            problem = told.decode("utf-8", "replace")[:200] if status else told.decode()
            if status and status not in RETRYABLE:
                break
            if attempt + 1 < attempts:
                await asyncio.sleep(asked or self._wait(attempt))
        log.warning("spans_not_taken", url=self._url, status=status, problem=problem)
        return "failed", 0

    def _wait(self, attempt: int) -> float:
        longest: float = min(LONGEST_PAUSE, self._pause * 2.0**attempt)
        return longest * (0.5 + random.random() / 2)  # noqa: S311

    async def _post(
        self, session: "aiohttp.ClientSession", body: bytes
    ) -> tuple[int, bytes, float | None]:
        """Status (0 for no answer), body or cause, and how long we are asked to wait."""
        import aiohttp

        try:
            async with session.post(self._url, data=body, allow_redirects=False) as answer:
                told = await answer.content.read(64 * 1024)
                return answer.status, told, _asked(answer.headers.get("retry-after", ""))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return 0, (str(error) or type(error).__name__).encode()[:200], None


def _asked(text: str) -> float | None:
    return min(LONGEST_PAUSE, float(text)) if text.isascii() and text.isdecimal() else None


def traces_url(endpoint: str) -> str:
    """Where a collector takes traces."""
    path = urlsplit(endpoint).path.rstrip("/")
    return endpoint if path.endswith("/v1/traces") else endpoint.rstrip("/") + "/v1/traces"


def encode(batch: Sequence[Finished]) -> bytes:
    """An ``ExportTraceServiceRequest``."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add()
    _put(spans.resource.attributes, "service.name", "serai")
    _put(spans.resource.attributes, "service.version", serai.__version__)
    scope = spans.scope_spans.add()
    scope.scope.name, scope.scope.version = "serai.gateway", serai.__version__
    for finished in batch:
        _fill(scope.spans.add(), finished)
    body: bytes = request.SerializeToString()
    return body


def _fill(span: Any, finished: Finished) -> None:
    place, about = finished.span, finished.about
    span.trace_id = bytes.fromhex(place.trace_id)
    span.span_id = bytes.fromhex(place.span_id)
    span.parent_span_id = bytes.fromhex(place.parent_id)
    span.flags = 1
    span.name, span.kind = about.name, _CLIENT
    span.start_time_unix_nano = int(about.started * 1e9)
    span.end_time_unix_nano = max(finished.end, span.start_time_unix_nano)
    for name, value in about.attributes.items():
        if value != "":
            _put(span.attributes, name, value)
    if about.error:
        span.status.code, span.status.message = _ERROR, about.error


def _put(attributes: Any, name: str, value: Value) -> None:
    added = attributes.add()
    added.key = name
    if isinstance(value, bool):
        added.value.bool_value = value
    elif isinstance(value, int):
        added.value.int_value = value
    elif isinstance(value, float):
        added.value.double_value = value
    else:
        added.value.string_value = value


def _rejected(body: bytes) -> int:
    """How many spans a collector did not take of a request that it took."""
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

    response = ExportTraceServiceResponse()
    try:
        response.ParseFromString(body)
    except DecodeError:
        return 0
    return int(response.partial_success.rejected_spans)
