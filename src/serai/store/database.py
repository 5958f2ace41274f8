"""The database behind two functions: ``read`` and ``write``.

A transaction is one plain function of a Connection; nothing awaits inside it. SQLite has one
writer thread, which commits whatever is waiting together (one fsync for a burst), and reads run
where they are called: a read of one document takes microseconds, a thread hop costs more.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from serai.kernel.errors import ServiceUnavailable
from serai.store.guard import guard
from serai.store.migrations import migrate
from serai.store.reach import Reach, current, within

T = TypeVar("T")
Job = tuple[Callable[[Connection], Any], "Future[Any]", Reach | None]
log = structlog.get_logger(__name__)

MAX_BATCH = 64


class Database:
    """One SQLite file in WAL mode with ``synchronous=FULL``: what was answered survives kill -9."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._engine = _engine(path)
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._reader: Connection | None = None
        self._reader_thread = 0
        self._writer = threading.Thread(target=self._write_loop, name="serai-writer", daemon=True)

    def open(self) -> None:
        """Create or upgrade the schema and start the writer."""
        migrate(self._engine)
        self.path.chmod(0o600)
        self._writer.start()

    def close(self) -> None:
        """Finish what is queued, fold the log into the database and release the file."""
        if self._writer.is_alive():
            self._queue.put(None)
            self._writer.join()
        if self._reader is not None:
            self._reader.close()
        self._engine.dispose()

    async def read(self, fn: Callable[[Connection], T]) -> T:
        """Run ``fn`` in a read transaction on the calling thread."""
        return self.read_now(fn)

    def read_now(self, fn: Callable[[Connection], T]) -> T:
        """Run ``fn`` in a read transaction; for callers outside the event loop too."""
        if threading.get_ident() != self._reader_thread:
            if self._reader is not None:
                with self._engine.connect() as conn:
                    return fn(conn)
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

        def run() -> T:
            with self._engine.connect() as conn:
                return fn(conn)

        return await asyncio.to_thread(run)

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
                if batch:
                    _commit(conn, batch)


def _commit(conn: Connection, batch: list[Job]) -> None:
    """Run each job in its own savepoint, commit once, then tell the callers."""
    done: list[tuple[Future[Any], Any]] = []
    try:
        for fn, future, reach in batch:
            if not future.set_running_or_notify_cancel():
                continue
            try:
                with conn.begin_nested(), within(reach):
                    result = fn(conn)
            except Exception as problem:
                future.set_exception(_translated(problem))
            else:
                done.append((future, result))
        conn.commit()
    except Exception as problem:
        log.exception("commit_failed")
        conn.rollback()
        for _, future, _ in batch:
            if not future.done():
                future.set_exception(_translated(problem))
        return
    for future, result in done:
        future.set_result(result)


def _translated(problem: Exception) -> Exception:
    if not (isinstance(problem, DBAPIError) and isinstance(problem.orig, sqlite3.OperationalError)):
        return problem
    if getattr(problem.orig, "sqlite_errorcode", None) != sqlite3.SQLITE_ERROR:
        return ServiceUnavailable(
            f"The data directory cannot be written right now: {problem.orig}. "
            "Nothing was changed; free some disk space and try again.",
            code="STORAGE_UNAVAILABLE",
        )
    return problem


def _engine(path: Path) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        poolclass=QueuePool,
        pool_size=4,
        connect_args={"check_same_thread": False, "timeout": 30},
    )

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "busy_timeout=30000",
            "cache_size=-8000",
            "temp_store=MEMORY",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(conn: Connection) -> None:
        conn.exec_driver_sql("BEGIN")

    guard(engine)
    return engine
