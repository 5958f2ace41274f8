"""The command in a process of its own, and something for it to talk to."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

HOLDER = Path(__file__).with_name("holder.py")
COMMAND = [sys.executable, "-c", "from serai.cli import main; main(prog_name='serai')"]

Serai = Callable[..., subprocess.CompletedProcess[str]]


class Holder(NamedTuple):
    data_dir: Path
    port: int
    pid: int
    kill: Callable[[], None]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def environment(**extra: str) -> dict[str, str]:
    dropped = ("SERAI_", "BL_", "XDG_")
    return {k: v for k, v in os.environ.items() if not k.startswith(dropped)} | extra


@pytest.fixture
def serai(tmp_path: Path) -> Serai:
    """Run `serai` with the given arguments in an empty directory."""
    working = tmp_path / "working"
    working.mkdir()

    def run(
        *arguments: str, cwd: Path = working, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *arguments],
            env=environment(HOME=str(tmp_path / "home"), **environ),
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Callable[..., Holder]]:
    processes = []

    def start(key: str = "bl_adminkey", name: str = "it's data") -> Holder:
        data_dir = tmp_path / name
        process = subprocess.Popen(
            [sys.executable, str(HOLDER), str(data_dir), key],
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stdout is not None
        port = next(int(line) for line in process.stdout if line.strip().isdigit())

        def kill() -> None:
            process.send_signal(signal.SIGKILL)
            process.wait()

        return Holder(data_dir, port, process.pid, kill)

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def holder(hold: Callable[..., Holder]) -> Holder:
    return hold()
