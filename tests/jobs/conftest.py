"""One server for the tests that do not stop it, and a factory for those that do."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from platform_server import KEY, Server

numbers = itertools.count()


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server shared by the package."""
    shared = Server(tmp_path_factory.mktemp("serai") / "data").start()
    yield shared
    shared.stop()


@pytest.fixture
def api(server: Server) -> Iterator[httpx.Client]:
    """An admin's client of the shared server."""
    with server.client_for(KEY) as client:
        yield client


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return f"r-{next(numbers)}"


@pytest.fixture
def new_server(tmp_path: Path) -> Iterator[Callable[[], Server]]:
    """Makes servers of this test's own; they end with it."""
    made: list[Server] = []

    def make() -> Server:
        made.append(Server(tmp_path / f"data-{len(made)}"))
        return made[-1]

    yield make
    for one in made:
        one.stop()
