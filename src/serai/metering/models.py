"""Usage of models: calls are collected in memory and written in batches.

``add`` is on the path of every model call and only appends. Each second the calls are added up
per resource, dimension and second, and written in one transaction. A crash loses at most what
was added since the last write: about one second. While the database cannot be written, what
waits is kept, by hour once it gets long, so memory stays bounded and usage does not get lost.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable

import msgspec
import structlog

from serai.kernel.errors import ServiceUnavailable
from serai.kernel.ids import token
from serai.metering.dimensions import MODEL_INPUT_TOKENS, MODEL_OUTPUT_TOKENS, MODEL_REQUESTS
from serai.metering.events import Series, UsageEvent
from serai.metering.records import record
from serai.metering.store import UsageStore
from serai.metering.times import HOUR, SECOND

log = structlog.get_logger(__name__)

INTERVAL = 1.0
"""Seconds between writes."""

MAX_WAITING = 20_000
"""Events kept while the database cannot be written, before they are added up by hour."""

MAX_TOKENS = 10**9
"""Most tokens that one call counts for; what a provider claims beyond is not believed."""

MAX_STARTED = 2**35
"""Seconds since 1970 that no call can have started after."""


class ModelCall(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a model, when its answer has ended.

    Attributes:
        account_id: account that pays.
        workspace: workspace name.
        resource_id: the model's internal id.
        model_name: the model's name in the workspace.
        request_id: of the call, for logs.
        started: when it came in, seconds since 1970 UTC.
        input_tokens: as the provider counted them.
        output_tokens: the same.
        total_tokens: the same; what exceeds the two others counts as output (hidden reasoning).
        counted: whether the answer told its tokens.
        status: HTTP status of the answer; calls that failed (400 and above) are no requests to
            pay for, but the tokens they told are.
        provider: integration type, for example ``openai``; prices may depend on it.
    """

    account_id: str
    workspace: str
    resource_id: str
    model_name: str
    request_id: str
    started: float
    input_tokens: int
    output_tokens: int
    total_tokens: int
    counted: bool
    status: int
    provider: str = ""


class UsageBuffer:
    """Collects model calls and writes them. ``add`` from the event loop's thread only."""

    def __init__(self, max_waiting: int = MAX_WAITING) -> None:
        self._calls: list[ModelCall] = []
        self.waiting: list[UsageEvent] = []
        """Events whose write failed and will be tried again."""
        self._max_waiting = max_waiting
        self._run = token(8)
        self._batches = 0
        self.add = self._calls.append
        """``add(call: ModelCall)``: remember a call; a plain list append, it never blocks."""

    def flush(self) -> list[UsageEvent]:
        """Everything added since the last flush, summed per resource, dimension and second.

        An event starts with the first of its calls.
        """
        seconds: dict[tuple[str, int], _Second] = {}
        for call in filter(_sound, self._calls):
            key = call.resource_id, int(call.started)
            second = seconds.get(key)
            if second is None:
                second = seconds[key] = _Second(call)
            second.add(call)
        self._calls.clear()
        return self._events(
            {
                (_series(second.call, dimension), second.start): amount
                for second in seconds.values()
                for dimension, amount in second.amounts.items()
            }
        )

    async def save(self, usage: UsageStore) -> int:
        """Write what was added and what waits from failed writes. Returns events written.

        Raises:
            ServiceUnavailable: the database cannot be written; everything is kept for later.
        """
        self.waiting += self.flush()
        if not self.waiting:
            return 0
        batch = self.waiting
        self.waiting = []
        try:
            return await usage.write(lambda conn: record(conn, batch))
        except asyncio.CancelledError:
            self.waiting = batch + self.waiting
            raise
        except Exception:
            self.waiting = self._bounded(batch + self.waiting)
            raise

    async def run(self, usage: UsageStore) -> None:
        """Save each second until cancelled, then once more; cancel and await it at shutdown."""
        try:
            while True:
                await asyncio.sleep(INTERVAL)
                await self._try_to_save(usage)
        finally:
            await self._try_to_save(usage)

    async def _try_to_save(self, usage: UsageStore) -> None:
        try:
            await self.save(usage)
        except ServiceUnavailable as problem:
            log.warning("usage_waits", events=len(self.waiting), problem=problem.message)
        except Exception:
            log.exception("usage_waits", events=len(self.waiting))

    def _bounded(self, events: list[UsageEvent]) -> list[UsageEvent]:
        if len(events) <= self._max_waiting:
            return events
        amounts: dict[tuple[Series, int], int] = defaultdict(int)
        for event in events:
            amounts[event.series, event.start // HOUR * HOUR] += event.quantity
        return self._events(amounts)

    def _events(self, amounts: dict[tuple[Series, int], int]) -> list[UsageEvent]:
        self._batches += 1
        suffix = f"{self._run}-{self._batches}"
        return [
            UsageEvent(
                id=f"{series.resource_id}/{series.dimension}/{start}/{suffix}",
                series=series,
                start=start,
                end=start,
                quantity=amount,
            )
            for (series, start), amount in amounts.items()
        ]


class _Second:
    """The calls of one model in one second."""

    def __init__(self, call: ModelCall) -> None:
        self.call = call
        self.start = int(call.started * SECOND)
        self.amounts: dict[str, int] = defaultdict(int)

    def add(self, call: ModelCall) -> None:
        self.start = min(self.start, int(call.started * SECOND))
        for dimension, amount in amounts_of(call):
            self.amounts[dimension] += amount


def amounts_of(call: ModelCall) -> Iterable[tuple[str, int]]:
    """The dimensions that a call uses and how much of each; never negative, zeros left out."""
    if call.status < 400:
        yield MODEL_REQUESTS, 1
    if call.counted:
        output = max(call.output_tokens, call.total_tokens - call.input_tokens)
        for dimension, tokens in (
            (MODEL_INPUT_TOKENS, call.input_tokens),
            (MODEL_OUTPUT_TOKENS, output),
        ):
            if tokens > 0:
                yield dimension, min(tokens, MAX_TOKENS)


def _sound(call: ModelCall) -> bool:
    sound = bool(call.resource_id) and 0 <= call.started < MAX_STARTED
    if not sound:
        log.error("usage_dropped", request_id=call.request_id, reason="no resource or bad time")
    return sound


def _series(call: ModelCall, dimension: str) -> Series:
    return Series(
        account_id=call.account_id,
        workspace=call.workspace,
        resource_type="model",
        resource_name=call.model_name,
        resource_id=call.resource_id,
        dimension=dimension,
        provider=call.provider,
        model=call.model_name,
    )
