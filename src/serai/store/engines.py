"""How a SQLite file and a PostgreSQL server are opened."""

import sqlite3
from pathlib import Path

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, PendingRollbackError
from sqlalchemy.pool import QueuePool

from serai.kernel.errors import SeraiError, ServiceUnavailable

SCHEMES = ("postgresql://", "postgres://", "postgresql+psycopg://")
CONNECT_SECONDS = 10


class DatabaseUnusable(SeraiError):
    """A database of the settings cannot be opened; the message names the fix."""

    code = "DATABASE_UNUSABLE"


def sqlite_engine(path: Path) -> Engine:
    """A file in WAL mode with ``synchronous=FULL``: what was answered survives kill -9."""
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
    def begin(conn: object) -> None:
        conn.exec_driver_sql("BEGIN")  # type: ignore[attr-defined]

    return engine


def postgresql_engine(url: str) -> Engine:
    """A PostgreSQL database.

    Raises:
        DatabaseUnusable: the URL is none, or the driver is not installed.
    """
    rest = url.partition("://")[2]
    try:
        return create_engine(
            make_url(f"postgresql+psycopg://{rest}"),
            pool_size=4,
            pool_pre_ping=True,
            connect_args={"connect_timeout": CONNECT_SECONDS},
        )
    except ArgumentError:
        raise DatabaseUnusable(
            "The database URL cannot be read; it looks like postgresql://user:password@host/name."
        ) from None
    except ImportError as problem:
        raise DatabaseUnusable(
            "PostgreSQL needs the driver psycopg, which is not installed: "
            "pip install 'serai[postgresql]'."
        ) from problem


def reading(engine: Engine) -> Engine:
    """The engine for reads: a transaction sees one moment, as it does on SQLite by itself."""
    if engine.dialect.name == "sqlite":
        return engine
    return engine.execution_options(isolation_level="REPEATABLE READ")


def translated(problem: Exception) -> Exception:
    """What a failed transaction is to callers: ``ServiceUnavailable`` when trying again may help.

    A full disk and a server that is gone are such; a wrong statement is a defect and stays.
    """
    if isinstance(problem, PendingRollbackError):
        return _unavailable("the connection was lost")
    if not isinstance(problem, DBAPIError):
        return problem
    reason = problem.orig
    if isinstance(reason, sqlite3.OperationalError):
        wrong = getattr(reason, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR
    else:
        wrong = type(problem).__name__ not in {"OperationalError", "InterfaceError"}
    return problem if wrong else _unavailable(str(reason))


def _unavailable(reason: str) -> ServiceUnavailable:
    return ServiceUnavailable(
        f"The data directory or database cannot be written right now: {' '.join(reason.split())}. "
        "Nothing was changed; free some disk space or start the database, and try again.",
        code="STORAGE_UNAVAILABLE",
    )
