"""Processes that create sandboxes, and end or have fewer rights than this one."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from conftest import embedded

from serai.runtime.port import SandboxHandle

CREATOR = Path(__file__).with_name("creating_process.py")


def creator_of(
    python: list[str], data_dir: Path, driver: str = "embedded", **more: object
) -> "subprocess.Popen[bytes]":
    path = [str(CREATOR.parent), *(entry for entry in sys.path if entry)]
    return subprocess.Popen(
        [*python, str(CREATOR), str(data_dir), driver],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PYTHONPATH": os.pathsep.join(path), "PATH": f"{os.environ['PATH']}:{os.defpath}"},
        start_new_session=True,
        cwd="/",
        **more,  # type: ignore[arg-type]
    )


def facts_of(creator: "subprocess.Popen[bytes]") -> tuple[SandboxHandle, int, str]:
    assert creator.stdout is not None
    line = creator.stdout.readline()
    assert line, "it ended without a sandbox"
    handle, launcher, isolation = msgspec.json.decode(line)
    return msgspec.convert(handle, SandboxHandle), launcher, isolation


async def gone(pid: int) -> None:
    """Wait until a launcher noticed that its server died."""
    for _ in range(500):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return
        except OSError:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"launcher {pid} stayed")


@contextlib.asynccontextmanager
async def rootless_sandbox(driver: str) -> AsyncIterator[tuple[SandboxHandle, str]]:
    """A sandbox that a process without privileges started, and what that says of it."""
    python = shutil.which("python3", path="/usr/local/bin:/usr/bin")
    if python is None:
        pytest.skip("needs a Python of the system, which everyone may run")
    home = Path("/tmp") / f"serai-test-{os.urandom(4).hex()}"
    home.mkdir(mode=0o700)
    os.chown(home, 65534, 65534)
    try:
        arguments = {"user": 65534, "group": 65534, "driver": driver}
        with creator_of([python], home / "data", **arguments) as creator:
            try:
                handle, launcher, isolation = facts_of(creator)
            except AssertionError as error:
                said = creator.stderr.read().decode() if creator.stderr else ""
                pytest.skip(f"{python} cannot run Serai here: {error} {said[-300:]}")
            yield handle, isolation
            creator.kill()
        await gone(launcher)
        runtime = embedded(home / "data")
        await runtime.start()
        await runtime.destroy(handle.id, handle)
        assert not await runtime.alive(handle)
        await runtime.close()
    finally:
        shutil.rmtree(home)
