"""The database behind two functions: ``read`` and ``write``.

A transaction is one plain function of a Connection; nothing awaits inside it. SQLite has one
writer thread, which commits whatever is waiting together (one fsync for a burst), and reads run
where they are called: a read of one document takes microseconds, a thread hop costs more.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, OperationalError

from serai.kernel.errors import ServiceUnavailable
from serai.store import changes
from serai.store.engines import (
    DatabaseUnusable,
    postgresql_engine,
    reading,
    sqlite_engine,
    translated,
)
from serai.store.guard import guard
from serai.store.migrations import PLATFORM, Chain, migrate, revision, revisions
from serai.store.reach import Reach, current, within

T = TypeVar("T")
Job = tuple[Callable[[Connection], Any], "Future[Any]", Reach | None]
log = structlog.get_logger(__name__)

MAX_BATCH = 64
TURN = text("SELECT pg_advisory_xact_lock(hashtext('serai'), hashtext(current_schema()))")


class Database:
    """One SQLite file, or one PostgreSQL database, with the schema of one migration chain.

    Args:
        place: path of the file, or URL of the database.
        chain: the migrations that make and upgrade its tables.
    """

    def __init__(self, place: Path | str, chain: Chain = PLATFORM) -> None:
        self.path = place if isinstance(place, Path) else None
        self._chain = chain
        self._engine = sqlite_engine(place) if isinstance(place, Path) else postgresql_engine(place)
        guard(self._engine)
        self._readers = reading(self._engine)
        self.after_commit: list[Callable[[list[Any]], None]] = []
        """Called in the writer's thread with what was noted, see ``serai.store.changes``."""
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._reader: Connection | None = None
        self._reader_thread = 0
        self._writer = threading.Thread(target=self._write_loop, name="serai-writer", daemon=True)

    def open(self) -> None:
        """Create or upgrade the schema and start the writer.

        Raises:
            DatabaseUnusable: PostgreSQL cannot be reached.
        """
        try:
            migrate(self._engine, self._chain)
        except OperationalError as problem:
            raise DatabaseUnusable(
                f"The database {self._engine.url!r} cannot be used: {str(problem.orig).strip()}. "
                "Check that it is there and may be written, and the settings that name it."
            ) from problem
        if self.path is not None:
            self.path.chmod(0o600)
        self._writer.start()

    def check(self) -> None:
        """Look whether the schema is this version's, without changing anything.

        Raises:
            DatabaseUnusable: it is not, or PostgreSQL cannot be reached.
        """
        newest = revisions(self._chain)[-1]
        found = self.read_now(lambda conn: revision(conn, self._chain))
        if found != newest:
            raise DatabaseUnusable(
                f"The database has schema {found} and this version of Serai needs {newest}: "
                "`serai up` of this version brings it there."
            )

    def close(self) -> None:
        """Finish what is queued, fold the log into the database and release the file."""
        if self._writer.is_alive():
            self._queue.put(None)
            self._writer.join()
        if self._reader is not None:
            self._reader.close()
        self._engine.dispose()

    async def read(self, fn: Callable[[Connection], T]) -> T:
        """Run ``fn`` in a read transaction: on the calling thread when the data is a local file."""
        return self.read_now(fn) if self.path is not None else await self.read_in_thread(fn)

    def read_now(self, fn: Callable[[Connection], T]) -> T:
        """Run ``fn`` in a read transaction; for callers outside the event loop too."""
        if self.path is None:
            return self._read_apart(fn)
        if threading.get_ident() != self._reader_thread:
            if self._reader is not None:
                return self._read_apart(fn)
            self._reader = self._engine.connect()
            self._reader_thread = threading.get_ident()
        reader = self._reader
        assert reader is not None
        try:
            return fn(reader)
        finally:
            reader.rollback()

    async def read_in_thread(self, fn: Callable[[Connection], T]) -> T:
        """Run a heavy read in a worker thread, on a connection of its own."""
        return await asyncio.to_thread(self._read_apart, fn)

    def _read_apart(self, fn: Callable[[Connection], T]) -> T:
        try:
            with self._readers.connect() as conn:
                return fn(conn)
        except DBAPIError as problem:
            if isinstance(better := translated(problem), ServiceUnavailable):
                raise better from problem
            raise

    async def write(self, fn: Callable[[Connection], T]) -> T:
        """Run ``fn`` in a write transaction; returns when it is durable.

        Raises:
            ServiceUnavailable: the disk is full or cannot be written; nothing was changed.
        """
        return await asyncio.wrap_future(self.submit(fn))

    def submit(self, fn: Callable[[Connection], T]) -> "Future[T]":
        """Queue a write from any thread, with the caller's reach; resolves after the commit."""
        future: Future[T] = Future()
        self._queue.put((fn, future, current.get()))
        return future

    def _write_loop(self) -> None:
        stop = False
        with self._engine.connect() as conn:
            while not stop:
                batch: list[Job] = []
                job = self._queue.get()
                while job is not None:
                    batch.append(job)
                    if len(batch) == MAX_BATCH or self._queue.empty():
                        break
                    job = self._queue.get()
                stop = job is None
                if batch and (noted := _commit(conn, batch)):
                    for tell in self.after_commit:
                        tell(noted)


def _commit(conn: Connection, batch: list[Job]) -> list[Any]:
    """Run each job in its own savepoint, commit once, then tell the callers.

    Returns:
        What the jobs noted that is durable now.
    """
    done: list[tuple[Future[Any], Any]] = []
    noted: list[Any] = []
    try:
        _take_turn(conn)
        for fn, future, reach in batch:
            if not future.set_running_or_notify_cancel():
                continue
            try:
                with _apart(conn, batch), within(reach):
                    result = fn(conn)
            except Exception as problem:
                changes.take(conn)
                future.set_exception(translated(problem))
            else:
                noted += changes.take(conn)
                done.append((future, result))
        conn.commit()
    except Exception as problem:
        better = translated(problem)
        if not isinstance(better, ServiceUnavailable):  # that one, callers wait out and tell
            log.exception("commit_failed")
        conn.rollback()
        for _, future, _ in batch:
            if not future.done():
                future.set_exception(better)
        return []
    for future, result in done:
        future.set_result(result)
    return noted


@contextmanager
def _apart(conn: Connection, batch: list[Job]) -> Iterator[None]:
    """What fails of one job leaves the others of its batch alone.

    One alone needs no savepoint: in it, SQLite slows down with every row that a job has written.
    """
    if len(batch) > 1:
        with conn.begin_nested():
            yield
        return
    try:
        yield
    except BaseException:
        conn.rollback()
        raise


def _take_turn(conn: Connection) -> None:
    """On PostgreSQL one process writes at a time, as on SQLite: what a write read stays true."""
    if conn.dialect.name == "postgresql":
        conn.execute(TURN)
