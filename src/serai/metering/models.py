"""Usage of models: calls are added up in memory and written in batches.

``add`` is called for every model call and only adds numbers, per resource, provider and second.
Every 0.8 seconds the sums are written in one transaction. A crash loses at most what was added
since the last write: about one second. While the database cannot be written, what waits is kept,
by hour once it gets long, so memory stays bounded and usage does not get lost.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import msgspec
import structlog
from sqlalchemy import Connection

from serai.kernel.ids import token
from serai.kernel.saving import keep_saving
from serai.metering.callers import CallerAmounts, ModelCaller, record_callers
from serai.metering.dimensions import MODEL_INPUT_TOKENS, MODEL_OUTPUT_TOKENS, MODEL_REQUESTS
from serai.metering.events import Series, UsageEvent
from serai.metering.records import record
from serai.metering.store import UsageStore
from serai.metering.times import HOUR, SECOND

T = TypeVar("T")
log = structlog.get_logger(__name__)

INTERVAL = 0.8
"""Seconds between writes: with the time that a write takes, less than the second that a crash may
lose."""

MAX_WAITING = 20_000
"""Events kept while the database cannot be written, before they are added up by hour."""

MAX_TOKENS = 10**9
"""Most tokens that one call counts for; what a provider claims beyond is not believed."""

MAX_STARTED = 2**35
"""Seconds since 1970 that no call can have started after."""


class ModelCall(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One call of a model, when its answer has ended; or several alike, with their tokens added up.

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
        credential_id: of the API key or grant that called.
        labels: the model's, as a JSON object.
        calls: how many it stands for, of one second; ``started`` is that of the first.
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
    credential_id: str = ""
    labels: str = ""
    calls: int = 1


class UsageBuffer:
    """Collects model calls and writes them. ``add`` from the event loop's thread only."""

    def __init__(self, max_waiting: int = MAX_WAITING) -> None:
        self._seconds: dict[tuple[str, str, str, int], _Second] = {}
        self._callers: CallerAmounts = {}
        self._saving = asyncio.Lock()
        self.waiting: list[UsageEvent] = []
        """Events whose write failed and will be tried again."""
        self._max_waiting = max_waiting
        self._run = token(8)
        self._batches = 0

    def add(self, call: ModelCall) -> None:
        """Count a call; it never blocks."""
        started = call.started
        if not call.resource_id or not 0 <= started < MAX_STARTED:
            reason = "no resource or bad time"
            log.error("usage_dropped", request_id=call.request_id, reason=reason)
            return
        key = call.resource_id, call.provider, call.credential_id, int(started)
        second = self._seconds.get(key)
        if second is None:
            second = self._seconds[key] = _Second(call)
        elif started < second.started:
            second.started = started
        second.add(call)

    def flush(self) -> list[UsageEvent]:
        """Everything added since the last flush, summed per resource, dimension and second.

        An event starts with the first of its calls.
        """
        seconds, self._seconds = self._seconds, {}
        amounts: dict[tuple[Series, int], int] = defaultdict(int)
        callers = self._callers
        for second in seconds.values():
            start = int(second.started * SECOND)
            for dimension, amount in second.amounts():
                amounts[_series(second.call, dimension), start] += amount
                key = _caller(second.call), start // HOUR, dimension
                callers[key] = callers.get(key, 0) + amount
        return self._events(amounts)

    async def save(self, usage: UsageStore) -> int:
        """Write what was added and what waits from failed writes. Returns events written.

        Raises:
            ServiceUnavailable: the database cannot be written; everything is kept for later.
        """
        async with self._saving:
            return await self._save(usage)

    async def settled(
        self, usage: UsageStore, begin: Callable[[], None], read: Callable[[], Awaitable[T]]
    ) -> T:
        """Read what is stored when all calls up to one moment are in it, and no later ones.

        Args:
            usage: the usage store.
            begin: called at that moment.
            read: run before anything else is written.

        Raises:
            ServiceUnavailable: as ``save``.
        """
        async with self._saving:
            begin()
            await self._save(usage)
            return await read()

    async def _save(self, usage: UsageStore) -> int:
        self.waiting += self.flush()
        if not self.waiting:
            return 0
        batch, callers = self.waiting, self._callers
        self.waiting, self._callers = [], {}
        try:
            return await usage.write(lambda conn: _record(conn, batch, callers))
        except BaseException as problem:
            for key, amount in callers.items():
                self._callers[key] = self._callers.get(key, 0) + amount
            kept = batch + self.waiting
            is_cut = isinstance(problem, asyncio.CancelledError)
            self.waiting = kept if is_cut else self._bounded(kept)
            raise

    async def run(self, usage: UsageStore) -> None:
        """Save again and again until cancelled, then once more; cancel and await it at shutdown."""
        await keep_saving(
            "usage_waits", INTERVAL, lambda: self.save(usage), lambda: len(self.waiting)
        )

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
                id=f"{series.resource_id}/{series.dimension}/{start}/{suffix}-{number}",
                series=series,
                start=start,
                end=start,
                quantity=amount,
            )
            for number, ((series, start), amount) in enumerate(amounts.items())
        ]


class _Second:
    """The calls of one model in one second, added up."""

    __slots__ = ("call", "input", "output", "requests", "started")

    def __init__(self, call: ModelCall) -> None:
        self.call = call
        self.started = call.started
        self.requests = self.input = self.output = 0

    def add(self, call: ModelCall) -> None:
        if call.status < 400:
            self.requests += call.calls
        if call.counted:
            output = max(call.output_tokens, call.total_tokens - call.input_tokens)
            self.input += min(max(call.input_tokens, 0), MAX_TOKENS)
            self.output += min(max(output, 0), MAX_TOKENS)

    def amounts(self) -> Iterable[tuple[str, int]]:
        """What was used of each dimension; zeros left out."""
        for dimension, amount in (
            (MODEL_REQUESTS, self.requests),
            (MODEL_INPUT_TOKENS, self.input),
            (MODEL_OUTPUT_TOKENS, self.output),
        ):
            if amount:
                yield dimension, amount


def amounts_of(call: ModelCall) -> list[tuple[str, int]]:
    """What one call used of each dimension, as it is counted; zeros left out."""
    second = _Second(call)
    second.add(call)
    return list(second.amounts())


def _record(conn: Connection, batch: list[UsageEvent], callers: CallerAmounts) -> int:
    """Both halves at once; a batch that was written already is not added to its callers again."""
    written = record(conn, batch)
    if written:
        record_callers(conn, callers)
    return written


def _caller(call: ModelCall) -> ModelCaller:
    return ModelCaller(
        account_id=call.account_id,
        workspace=call.workspace,
        resource_id=call.resource_id,
        model=call.model_name,
        provider=call.provider,
        credential_id=call.credential_id,
        labels=call.labels,
    )


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
