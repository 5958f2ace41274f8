"""Calls of models on their way into the database: bounded in number, in memory and in rate.

Whoever sees calls asks ``room`` how many rows it may make, makes them, and ``add``s them. Each
second they are written in one transaction. More calls than the rate allows are counted and not
kept, as a row costs a good part of what a call costs; sums and metrics know of all of them.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import structlog
from sqlalchemy import Connection

from serai.kernel.errors import ServiceUnavailable
from serai.kernel.saving import keep_saving
from serai.store.database import Database
from serai.store.dialect import upsert_many
from serai.store.tables.requests import model_requests

Row = tuple[Any, ...]
"""Values in the order of the columns of ``model_requests``."""

INTERVAL = 1.0
BURST_SECONDS = 10
MAX_WAITING = 20_000
"""Rows that wait while the database cannot be written; the oldest go first."""
_COUNTER = 1023
log = structlog.get_logger(__name__)


class RequestBuffer:
    """Rows that wait to be written. All but ``save`` from the event loop's thread only.

    Args:
        rate: rows that are kept a second at most, over ten seconds; 0 for none.
        clock: seconds that pass evenly.
    """

    def __init__(self, rate: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.waiting: list[Row] = []
        self.skipped = 0
        """Calls of which no row was made, as there were too many."""
        self.lost = 0
        """Rows that were made and could not be kept until the database was back."""
        self.on_saved: Callable[[Sequence[Row]], None] = lambda _: None
        """Told of rows that have just been written."""
        self._rate = rate
        self._clock = clock
        self._allowed = float(rate * BURST_SECONDS)
        self._asked = clock()
        self._count = count()

    def number(self, started: float) -> int:
        """The number of a call that came in at ``started``, in seconds since 1970."""
        return int(started * 1e6) << 10 | next(self._count) & _COUNTER

    def room(self, wanted: int) -> int:
        """How many of so many calls may become rows; the others are counted as skipped."""
        now = self._clock()
        most = self._rate * BURST_SECONDS
        self._allowed = min(most, self._allowed + (now - self._asked) * self._rate)
        self._asked = now
        granted = min(wanted, int(self._allowed))
        self._allowed -= granted
        self.skipped += wanted - granted
        return granted

    def add(self, rows: Sequence[Row]) -> None:
        """Take rows; it never blocks."""
        self.waiting += rows
        self._bound()

    def _bound(self) -> None:
        excess = len(self.waiting) - MAX_WAITING
        if excess > 0:
            del self.waiting[:excess]
            self.lost += excess

    async def save(self, store: Database) -> int:
        """Write what waits; returns how many rows.

        Raises:
            ServiceUnavailable: the database cannot be written; the rows go on waiting.
        """
        batch, self.waiting = self.waiting, []
        if not batch:
            return 0
        try:
            await store.write(lambda conn: write_rows(conn, batch))
        except (ServiceUnavailable, asyncio.CancelledError):
            self._put_back(batch)
            raise
        except Exception:
            log.exception("model_requests_one_by_one", rows=len(batch))
            return await self._save_apart(store, batch)
        self.on_saved(batch)
        return len(batch)

    def _put_back(self, rows: list[Row]) -> None:
        self.waiting = rows + self.waiting
        self._bound()

    async def _save_apart(self, store: Database, rows: list[Row]) -> int:
        """One row cannot be stored: it must not keep the others waiting for ever."""
        saved = 0
        for at, row in enumerate(rows):
            try:
                await store.write(lambda conn, row=row: write_rows(conn, [row]))  # type: ignore[misc]
            except (ServiceUnavailable, asyncio.CancelledError):
                self._put_back(rows[at:])
                raise
            except Exception:
                self.lost += 1
            else:
                saved += 1
        return saved

    async def run(self, store: Database) -> None:
        """Save each second until cancelled, then once more."""
        await keep_saving(
            "model_requests_wait", INTERVAL, lambda: self.save(store), lambda: len(self.waiting)
        )


def write_rows(conn: Connection, rows: Sequence[Row]) -> None:
    """Store rows; one that is there already stays once."""
    upsert_many(conn, model_requests, rows, "set")
