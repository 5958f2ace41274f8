"""A running demo server, on the event loop we ship with and on the standard one."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from serai.connect.environment import ClientEnvironment, client_environment

SERVER = Path(__file__).with_name("demo_server.py")
PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy")


class Running(NamedTuple):
    port: int
    data_dir: Path

    @property
    def bundle(self) -> Path:
        return self.data_dir / "ca" / "bundle.pem"

    def environment(self, **extra: str) -> ClientEnvironment:
        url = f"http://127.0.0.1:{self.port}"
        return client_environment(
            origin=url,
            proxy=url,
            api_key="key",
            workspace="main",
            data_dir=self.data_dir,
            environ=clean_environment(**extra),
        )

    def run(self, *command: str, **extra: str) -> subprocess.CompletedProcess[str]:
        environ = self.environment(**extra).apply(clean_environment(**extra))
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)


def clean_environment(**extra: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in PROXY_VARIABLES}
    return kept | extra


Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    processes = []

    def begin(loop: str = "uvloop", host: str = "127.0.0.1", **extra: str) -> Running:
        data_dir = tmp_path / f"data-{len(processes)}"
        data_dir.mkdir()
        process = subprocess.Popen(
            [sys.executable, str(SERVER), str(data_dir), loop, host],
            stdout=subprocess.PIPE,
            text=True,
            env=clean_environment(**extra),
        )
        processes.append(process)
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip().isdigit():
                return Running(int(line), data_dir)
        raise AssertionError("the server did not start")

    yield begin
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(params=["uvloop", "asyncio"])
def server(request: pytest.FixtureRequest, start: Start) -> Running:
    return start(request.param)
