"""A crash of the server between two runs of a client's program."""

from pathlib import Path

import pytest

from platform_server import Server

from .conftest import connected
from .environments import PYTHON_VERSIONS, directory

pytestmark = [pytest.mark.clients, pytest.mark.sandbox]


def test_what_was_answered_is_there_after_kill_9(tmp_path: Path) -> None:
    interpreter = directory("py", PYTHON_VERSIONS[0]) / "bin" / "python"
    server = Server(tmp_path / "data").start()
    try:
        run = connected(server, tmp_path, str(interpreter))
        run("remember.py", "write", "lasting")
        server.kill()
        server.start()
        run("remember.py", "read", "lasting")
    finally:
        server.stop()
