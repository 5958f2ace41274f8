"""A server whose store is filled once for all of these tests.

``SERAI_TEST_IMAGES`` names a data directory to keep what was built in, for the next run.
"""

import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from client_venv import client_venv
from platform_server import COMMAND, Server

BUILD_SECONDS = 1800


def own_address() -> str:
    """An address of this machine that a sandbox does not take for its own."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing
        return str(probe.getsockname()[0])


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if shutil.which("mmdebstrap") is None:
        pytest.skip("NOT TESTED: needs mmdebstrap: apt-get install mmdebstrap")
    kept = os.environ.get("SERAI_TEST_IMAGES")
    data_dir = Path(kept) if kept else tmp_path_factory.mktemp("hub") / "data"
    data_dir.mkdir(parents=True, exist_ok=True)
    # As an operator does whose API is not on the internet.
    (data_dir / "network.toml").write_text(f'[egress]\nallow = ["{own_address()}"]\n')
    running = Server(data_dir, SERAI_IMAGE_SOURCE="built").start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def build(server: Server) -> Callable[[str], str]:
    """Builds an image by the command line; answers what that printed."""
    import subprocess

    def build(name: str) -> str:
        done = subprocess.run(
            [*COMMAND, "images", "build", name, "--data-dir", str(server.data_dir)],
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        sys.stdout.write(done.stdout)
        return done.stdout

    return build


@pytest.fixture
def sdk(server: Server) -> Callable[..., str]:
    """Runs a program of ``programs`` with the official Python SDK."""
    import subprocess

    from platform_server import environment

    python = client_venv() / "bin/python"

    def run(program: str, *arguments: str) -> str:
        script = Path(__file__).parent / "programs" / program
        options = ["exec", "--data-dir", str(server.data_dir), "--"]
        done = subprocess.run(
            [*COMMAND, *options, str(python), str(script), *arguments],
            env=environment(**server.environ),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    return run
