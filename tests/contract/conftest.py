"""One server for these tests, what it says of itself, and the contract beside the checkout."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from contract.specs import Json, spec_folder
from platform_server import Server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server shared by the session."""
    shared = Server(tmp_path_factory.mktemp("serai") / "data").start()
    yield shared
    shared.stop()


@pytest.fixture(scope="session")
def ours(server: Server) -> Json:
    """The document that the server serves, fetched without a key."""
    answer = httpx.get(f"{server.url}/v0/openapi.json", trust_env=False)
    assert answer.status_code == 200
    document: Json = answer.json()
    return document


@pytest.fixture(scope="session")
def specs() -> Path:
    """The folder with the contract."""
    folder = spec_folder()
    if folder is None:
        pytest.skip("THE CONTRACT IS NOT HERE: parity needs shared/spec beside the checkout")
    return folder
