"""Fixtures around a real server. A folder's conftest imports them, and has a server of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from platform_server import KEY, Server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server for the tests that do not stop it."""
    shared = Server(tmp_path_factory.mktemp("serai") / "data").start()
    yield shared
    shared.stop()


@pytest.fixture
def api(server: Server) -> Iterator[httpx.Client]:
    """An admin's client of the shared server."""
    with server.client_for(KEY) as client:
        yield client


@pytest.fixture
def new_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Makes servers of this test's own; they end with it."""
    made: list[Server] = []

    def make(name: str | None = None, **environ: str) -> Server:
        made.append(Server(tmp_path / (name or f"data-{len(made)}"), **environ))
        return made[-1]

    yield make
    for one in made:
        one.stop()
