"""One server for these tests, and a factory for those that stop theirs."""

from collections.abc import Iterator

import pytest

from platform_server import Server
from server_fixtures import api, new_server

__all__ = ["api", "new_server"]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server; many builds at once, as each of them is shown for some seconds."""
    folder = tmp_path_factory.mktemp("builds") / "data"
    shared = Server(folder, SERAI_BUILD_SLOTS="16", SERAI_BUILD_MEMORY_MB="512").start()
    yield shared
    shared.stop()
