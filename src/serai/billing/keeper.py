"""Billing's housekeeping: budgets each minute, and the closing of months each hour."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import structlog

from serai.billing.alerts import BudgetWatch
from serai.billing.closing import Closing
from serai.billing.spending import Spending
from serai.kernel.errors import ServiceUnavailable

log = structlog.get_logger(__name__)

EVERY = timedelta(minutes=1)
CLOSE_EVERY = timedelta(hours=1)
SHORTEST = 0.1
"""Seconds between two turns at the least."""


class BillingKeeper:
    """Runs until cancelled; whatever fails is logged and tried again on the next turn."""

    def __init__(
        self,
        watch: BudgetWatch,
        closing: Closing,
        spending: Spending,
        clock: Callable[[], datetime],
    ) -> None:
        self._watch = watch
        self._closing = closing
        self._spending = spending
        self._clock = clock
        self._wake = asyncio.Event()
        self._due: datetime | None = None

    def wake(self) -> None:
        """Do not wait for the minute to pass; from the event loop's thread only."""
        self._wake.set()

    async def run(self) -> None:
        """Take turns until cancelled."""
        next_closing = self._clock()
        while True:
            self._wake.clear()
            if self._clock() >= next_closing:
                next_closing = self._clock() + CLOSE_EVERY
                await _attempt("closing_waits", self._closing.close_due)
            await _attempt("spending_waits", self._spending.reload)
            await _attempt("budgets_wait", self._watch.notice)
            self._due = None
            await _attempt("alerts_wait", self._tell)
            await self._rest()

    async def _tell(self) -> None:
        await self._watch.tell()
        self._due = await self._watch.next_due()

    async def _rest(self) -> None:
        now = self._clock()
        until = now + EVERY if self._due is None else min(self._due, now + EVERY)
        try:
            seconds = (until - now).total_seconds()
            await asyncio.wait_for(self._wake.wait(), max(SHORTEST, seconds))
        except TimeoutError:
            pass


async def _attempt(event: str, work: Callable[[], Awaitable[object]]) -> None:
    try:
        await work()
    except ServiceUnavailable as problem:
        log.warning(event, problem=problem.message)
    except Exception:
        log.exception(event)
