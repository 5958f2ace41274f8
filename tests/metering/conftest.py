"""A real database file per test, and per example where hypothesis runs many."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.pool import StaticPool

from serai.metering.store import UsageStore
from serai.store.database import Database
from serai.store.migrations import USAGE, migrate


@pytest.fixture
def db(tmp_path: Path) -> Iterator[UsageStore]:
    """An opened usage store, closed afterwards."""
    database = UsageStore(tmp_path)
    database.open()
    yield database
    database.close()


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Database]:
    """An opened platform database, closed afterwards."""
    database = Database(tmp_path / "serai.db")
    database.open()
    yield database
    database.close()


@pytest.fixture(scope="session")
def fresh() -> Callable[[], AbstractContextManager[Connection]]:
    """Opens a migrated in-memory database; for one hypothesis example each."""
    with _memory() as engine:
        migrate(engine, USAGE)
        with engine.connect() as conn:
            template = _driver(conn).serialize()

    @contextmanager
    def opened() -> Iterator[Connection]:
        with _memory() as engine, engine.connect() as conn:
            _driver(conn).deserialize(template)
            yield conn

    return opened


@contextmanager
def _memory() -> Iterator[Engine]:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    yield engine
    engine.dispose()


def _driver(conn: Connection) -> sqlite3.Connection:
    driver = conn.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver
