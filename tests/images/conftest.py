"""A server with neighbours to share images with."""

from collections.abc import Iterator

import httpx
import pytest

from neighbours import add_account, add_workspace
from platform_server import KEY, Server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server shared by the session."""
    shared = Server(tmp_path_factory.mktemp("images") / "data").start()
    yield shared
    shared.stop()


@pytest.fixture
def api(server: Server) -> Iterator[httpx.Client]:
    """An admin's client in workspace main."""
    with server.client_for(KEY, **{"X-Blaxel-Workspace": "main"}) as client:
        yield client


@pytest.fixture(scope="session")
def neighbour(server: Server) -> Iterator[httpx.Client]:
    """A client in workspace beside, of the same account."""
    with server.client_for(add_workspace(server, "beside")) as client:
        yield client


@pytest.fixture(scope="session")
def foreign(server: Server) -> Iterator[tuple[str, httpx.Client]]:
    """Another account's id, and a client of an admin in its workspace elsewhere."""
    account, key = add_account(server, "elsewhere")
    with server.client_for(key) as client:
        yield account, client


@pytest.fixture(scope="session")
def foreign_member(server: Server) -> Iterator[tuple[str, httpx.Client]]:
    """Another account's id, and a client of a mere member of its workspace lowly."""
    account, key = add_account(server, "lowly", role="member")
    with server.client_for(key) as client:
        yield account, client
