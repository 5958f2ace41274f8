"""A server for each module, as limits count what is there, and one for tests that stop theirs."""

from collections.abc import Iterator

import pytest

from platform_server import Server
from server_fixtures import api, new_server

__all__ = ["api", "new_server"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server shared by one module."""
    shared = Server(tmp_path_factory.mktemp("serai") / "data").start()
    yield shared
    shared.stop()
