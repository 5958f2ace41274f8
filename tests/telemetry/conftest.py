"""One server for this folder, a factory for tests with settings of their own, and a provider."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from postgres_server import NoPostgres, Postgres, postgres_server
from serai.telemetry.lines.store import LineStore
from server_fixtures import api, new_server, server

from .provider import Provider

__all__ = ["api", "new_server", "server"]


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    """A server that speaks the OpenAI protocol, as far as these tests need it."""
    with Provider() as running:
        yield running


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server, where there is one."""
    try:
        with postgres_server() as running:
            yield running
    except NoPostgres as reason:
        pytest.skip(str(reason))


@pytest.fixture(params=["sqlite", "postgresql"])
def lines(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LineStore]:
    """An opened store of lines on each engine, closed afterwards."""
    url = None
    if request.param == "postgresql":
        running: Postgres = request.getfixturevalue("postgres")
        url = running.new_database()
    store = LineStore(tmp_path, url, rate=1_000_000)
    store.open()
    yield store
    store.close()
