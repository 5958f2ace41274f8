"""A real database per test, on each engine, and per example where hypothesis runs many."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.pool import StaticPool

from postgres_server import NoPostgres, Postgres, postgres_server
from serai.metering.store import UsageStore
from serai.store.database import Database
from serai.store.engines import postgresql_engine
from serai.store.migrations import USAGE, migrate

ENGINES = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server, where there is one."""
    try:
        with postgres_server() as server:
            yield server
    except NoPostgres as reason:
        pytest.skip(str(reason))


@pytest.fixture(params=ENGINES)
def usage_url(request: pytest.FixtureRequest) -> str | None:
    """Each engine in turn: ``None`` for the file in the data directory, or a PostgreSQL URL."""
    if request.param == "sqlite":
        return None
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database()


@pytest.fixture
def db(tmp_path: Path, usage_url: str | None) -> Iterator[UsageStore]:
    """An opened usage store on each engine, closed afterwards."""
    database = UsageStore(tmp_path, usage_url)
    database.open()
    yield database
    database.close()


@pytest.fixture
def outage(
    db: UsageStore, usage_url: str | None, request: pytest.FixtureRequest
) -> Callable[[], AbstractContextManager[None]]:
    """A time in which the usage store cannot be written: read-only, or its server is down."""

    @contextmanager
    def read_only() -> Iterator[None]:
        db.submit(lambda conn: conn.exec_driver_sql("PRAGMA query_only = ON")).result()
        yield
        db.submit(lambda conn: conn.exec_driver_sql("PRAGMA query_only = OFF")).result()

    @contextmanager
    def down() -> Iterator[None]:
        server: Postgres = request.getfixturevalue("postgres")
        server.stop()
        yield
        server.resume()

    return read_only if usage_url is None else down


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Database]:
    """An opened platform database, closed afterwards."""
    database = Database(tmp_path / "serai.db")
    database.open()
    yield database
    database.close()


@pytest.fixture(scope="session", params=ENGINES)
def fresh(
    request: pytest.FixtureRequest,
) -> Iterator[Callable[[], AbstractContextManager[Connection]]]:
    """Opens empty tables on each engine; for one hypothesis example each."""
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        engine = postgresql_engine(server.new_database())
        migrate(engine, USAGE)
        yield lambda: _undone(engine)
        engine.dispose()
        return
    with _memory() as engine:
        migrate(engine, USAGE)
        with engine.connect() as conn:
            template = _driver(conn).serialize()

    @contextmanager
    def opened() -> Iterator[Connection]:
        with _memory() as engine, engine.connect() as conn:
            _driver(conn).deserialize(template)
            yield conn

    yield opened


@contextmanager
def _undone(engine: Engine) -> Iterator[Connection]:
    with engine.connect() as conn:
        yield conn
        conn.rollback()


@contextmanager
def _memory() -> Iterator[Engine]:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    yield engine
    engine.dispose()


def _driver(conn: Connection) -> sqlite3.Connection:
    driver = conn.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver
