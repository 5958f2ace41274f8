"""A real database file per test, and per example where hypothesis runs many."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import StaticPool

from serai.store.database import Database
from serai.store.migrations import migrate


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """An opened database, closed afterwards."""
    database = Database(tmp_path / "serai.db")
    database.open()
    yield database
    database.close()


@contextmanager
def _fresh() -> Iterator[Connection]:
    engine = create_engine(
        "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
    )
    migrate(engine)
    with engine.connect() as conn:
        yield conn
    engine.dispose()


@pytest.fixture(scope="session")
def fresh() -> Callable[[], "contextmanager[Connection]"]:
    """Opens a migrated in-memory database; for one hypothesis example each."""
    return _fresh  # type: ignore[return-value]
