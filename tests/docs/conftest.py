"""The repository, its pages, and one real server with a model for all of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from examples.demo.echo_model import EchoModel

from client_venv import ROOT, client_venv
from platform_server import Server

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def page_id(page: Path) -> str:
    """A page's path in the repository."""
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="session")
def clients() -> Path:
    """A virtual environment with the official SDK; without one the test is skipped."""
    return client_venv()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server."""
    shared = Server(tmp_path_factory.mktemp("docs") / "data").start()
    yield shared
    shared.stop()


@pytest.fixture(scope="session")
def model_url() -> Iterator[str]:
    """The base URL of an OpenAI-compatible server."""
    with EchoModel() as model:
        yield model.base_url
