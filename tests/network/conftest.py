"""A server that asks a DNS server of ours, and workspaces to share with."""

from collections.abc import Iterator

import httpx
import pytest

from neighbours import add_account, add_workspace
from network_dns import Zone
from platform_server import KEY, Server

TARGET = "serai.example.net"


@pytest.fixture(scope="session")
def zone() -> Iterator[Zone]:
    """A DNS server on a port of its own."""
    with Zone() as served:
        yield served


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, zone: Zone) -> Iterator[Server]:
    """A server that checks domains against that zone."""
    directory = tmp_path_factory.mktemp("network") / "data"
    directory.mkdir(mode=0o700)
    settings = f'cname_target = "{TARGET}"\nnameservers = ["127.0.0.1:{zone.port}"]\n'
    (directory / "network.toml").write_text(settings)
    shared = Server(directory).start()
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
def stranger(server: Server) -> Iterator[httpx.Client]:
    """A client in workspace elsewhere, of another account."""
    with server.client_for(add_account(server, "elsewhere")[1]) as client:
        yield client
