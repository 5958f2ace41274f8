"""Snapshots with processes and memory through the official Python SDK, on a server with gVisor."""

import os
from pathlib import Path

import pytest

from platform_server import Server
from serai.runtime.host import is_host_root
from serai.runtime.oci.program import find

from .conftest import connected
from .environments import PYTHON_VERSIONS, directory

pytestmark = [pytest.mark.clients, pytest.mark.sandbox]


def test_a_program_goes_on_in_a_fork_and_after_a_restore(tmp_path: Path) -> None:
    if "runsc" not in os.environ.get("SERAI_TEST_DRIVERS", ""):
        pytest.skip("gVisor is tested by `make test-drivers`")
    if not is_host_root() or not find("runsc"):
        pytest.skip("needs root and runsc (Debian: bookworm-backports)")
    server = Server(tmp_path / "data", SERAI_RUNTIME="runsc", NO_PROXY="*", no_proxy="*").start()
    (work := tmp_path / "work").mkdir()
    try:
        python = connected(server, work, str(directory("py", PYTHON_VERSIONS[0]) / "bin/python"))
        assert "done" in python("live_snapshots.py")
    finally:
        server.stop()
