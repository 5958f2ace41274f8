"""An API that goes before its programs on the CPU, and programs that never do."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from .client import Sandbox, running
from .test_succession import Versions, completed, versions
from .test_terminal import Shell

__all__ = ["versions"]

OWN = "cut -d' ' -f19 /proc/self/stat"
QUICK = -11


@pytest.fixture
def quick(versions: Versions, tmp_path: Path) -> Iterator[Sandbox]:
    """One with such a priority, as the embedded runtime gives it."""
    with running(tmp_path, "--successors", str(versions[0])) as sandbox:
        try:
            os.setpriority(os.PRIO_PROCESS, sandbox.pid, QUICK)
        except PermissionError:
            pytest.skip("this user may not raise priorities")
        yield sandbox


def priorities(sandbox: Sandbox) -> list[int]:
    """Of all threads of the API."""
    found = []
    for task in Path(f"/proc/{sandbox.pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(os.getpriority(os.PRIO_PROCESS, int(task.name)))
    return found


async def in_a_terminal(sandbox: Sandbox) -> str:
    """What a shell on a terminal says about its priority."""
    connector = aiohttp.UnixConnector(str(sandbox.api))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.ws_connect("http://box/terminal/ws") as connected,
    ):
        shell = Shell(connected)
        await shell.type(f"echo has $({OWN}) n''ow\n")
        return await shell.until(" now\r\n")


async def test_programs_begin_with_the_usual_one(quick: Sandbox, versions: Versions) -> None:
    """Not lowered after their start: who had it for a moment could keep it as another user."""
    for _ in range(2):
        assert quick.run(OWN)["stdout"] == "0\n"
        assert quick.run(f"(({OWN} &) & wait); sleep 0.1")["stdout"] == "0\n"
        assert "has 0 now" in await in_a_terminal(quick)
        completed(quick, versions)


def test_threads_of_the_api_keep_it(quick: Sandbox, versions: Versions) -> None:
    """Those for files among them, begun before or after the first program, and after an upgrade."""
    for runs_programs in (False, True, True):
        if runs_programs:
            quick.run("true")
        found = quick.call("GET", f"/filesystem-find/{quick.workdir}")
        assert found.status == 200, found.body
        assert len(threads := priorities(quick)) >= 2
        assert set(threads) == {QUICK}
        completed(quick, versions)
