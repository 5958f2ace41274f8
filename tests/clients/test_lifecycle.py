"""Standby and the end of sandboxes, as the official Python SDK sees them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from platform_server import Server

from .conftest import connected
from .environments import PYTHON_VERSIONS, directory

pytestmark = [pytest.mark.clients, pytest.mark.sandbox]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Server]:
    quick = {"SERAI_STANDBY_SECONDS": "0.5", "NO_PROXY": "*", "no_proxy": "*"}
    server = Server(tmp_path / "data", **quick)
    yield server.start()
    server.stop()


def test_the_whole_life_of_a_sandbox(own: Server, tmp_path: Path) -> None:
    interpreter = directory("py", PYTHON_VERSIONS[0]) / "bin" / "python"
    work = tmp_path / "work"
    work.mkdir()
    assert "done" in connected(own, work, str(interpreter))("lifecycle.py")
