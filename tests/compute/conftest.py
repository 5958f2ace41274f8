"""A server for the tests that share one, a factory for those that stop theirs, and a sandbox."""

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
    shared = Server(tmp_path_factory.mktemp("compute") / "data").start()
    yield shared
    shared.stop()


@pytest.fixture
def api(server: Server) -> Iterator[httpx.Client]:
    """An admin's client of the shared server."""
    with server.client_for(KEY) as client:
        yield client


@pytest.fixture
def browser() -> Iterator[httpx.Client]:
    """Somebody without any key."""
    with httpx.Client(timeout=30, trust_env=False) as client:
        yield client


@pytest.fixture
def new_server(tmp_path: Path) -> Iterator[Callable[[], Server]]:
    """Makes a server of this test's own; it ends with it."""
    made: list[Server] = []

    def make() -> Server:
        made.append(Server(tmp_path / f"data{len(made)}"))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def name(api: httpx.Client) -> Iterator[str]:
    """A fresh name whose sandbox goes away with the test."""
    fresh = f"part-{next(numbers)}"
    yield fresh
    api.delete(f"/v0/sandboxes/{fresh}")


@pytest.fixture
def box(api: httpx.Client, name: str) -> str:
    """A running sandbox."""
    create(api, name)
    return name


def create(api: httpx.Client, name: str, **query: str) -> dict[str, object]:
    """A new sandbox."""
    body = {"metadata": {"name": name}, "spec": {"runtime": {"memory": 512}}}
    response = api.post("/v0/sandboxes", json=body, params=query)
    assert response.status_code == 200, response.text
    made: dict[str, object] = response.json()
    return made
