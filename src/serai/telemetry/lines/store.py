"""The store of lines: a database of its own, in the data directory or on PostgreSQL.

A line that is handed over waits in memory; twice a second what waits is written, on the database's
own thread. So ``kill -9`` loses half a second, or what had not been written yet of a flood. A stop
loses nothing.
"""

import asyncio
import contextvars
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import structlog
from sqlalchemy import Connection

from serai.kernel.errors import ServiceUnavailable
from serai.kernel.lines import LogLine
from serai.kernel.saving import keep_saving
from serai.store.database import Database
from serai.store.migrations import LOGS
from serai.telemetry.lines import records
from serai.telemetry.lines.entry import Entry, entry_of
from serai.telemetry.lines.feed import Feed
from serai.telemetry.lines.masks import Masks
from serai.telemetry.lines.queue import LineQueue
from serai.telemetry.lines.records import Known, Stored

T = TypeVar("T")
FILE = "logs.db"
INTERVAL = 0.5
"""Seconds between two writes of what waits."""
BATCH = 10_000
BATCH_BYTES = 8 * 1024 * 1024
"""Lines of one transaction, and what they take: others want to write too."""
READERS = 2
"""Searches at a time: they take a processor each."""
log = structlog.get_logger(__name__)


class LineStore(Database):
    """Lines of logs; ``read`` and ``write`` as of the platform's database.

    Args:
        data_dir: where the file ``logs.db`` is.
        url: of a PostgreSQL database to use instead.
        rate: lines of one resource that are kept a second, over ten seconds.
    """

    def __init__(self, data_dir: Path, url: str | None = None, rate: int = 5_000) -> None:
        super().__init__(url if url is not None else data_dir / FILE, LOGS)
        self.queue = LineQueue(rate)
        self.masks = Masks()
        self.feed = Feed()
        self.sink = LineStoreSink(self.queue)
        """Lines that no database takes."""
        self._known = Known()
        self._search = ThreadPoolExecutor(READERS, thread_name_prefix="serai-logs")

    def close(self) -> None:
        """Write nothing more; see ``Database.close``."""
        self._search.shutdown()
        super().close()

    async def search(self, fn: Callable[[Connection], T], database: Database | None = None) -> T:
        """Run a read that may take long, beside few others; of another database if one is given."""
        context, read = contextvars.copy_context(), (database or self).read_now
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._search, context.run, read, fn)

    async def save(self) -> int:
        """Write what waits; returns how many lines.

        Raises:
            ServiceUnavailable: the database cannot be written; the lines go on waiting.
        """
        saved = 0
        while batch := self.queue.take(BATCH, BATCH_BYTES):
            saved += await self._save(batch)
        return saved

    async def _save(self, batch: Sequence[Entry]) -> int:
        try:
            stored = await self._write(batch)
        except ServiceUnavailable:
            self.queue.put_back(batch)
            raise
        except Exception:
            if len(batch) == 1:
                log.exception("line_not_stored")
                return 0
            middle = len(batch) // 2
            return await self._save(batch[:middle]) + await self._save(batch[middle:])
        self.feed.publish(stored)
        return len(stored)

    async def _write(self, batch: Sequence[Entry]) -> list[Stored]:
        future = self.submit(lambda conn: records.write(conn, batch, self.masks, self._known))
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if future.cancel():  # else it is being written just now
                self.queue.put_back(batch)
            raise
        except Exception:
            self._known.forget()
            raise

    def forget_known(self) -> None:
        """Streams or origins were deleted; for who writes."""
        self._known.forget()

    async def run(self) -> None:
        """Save until cancelled, then once more."""
        await keep_saving("lines_wait", INTERVAL, self.save, lambda: len(self.queue))


class LineStoreSink:
    """What hands lines to a store; see ``kernel.lines.LineSink``."""

    def __init__(self, queue: LineQueue) -> None:
        self._queue = queue

    def write(self, lines: Sequence[LogLine]) -> None:
        """Keep lines; returns at once, from any thread."""
        self._queue.put([entry_of(line) for line in lines])
