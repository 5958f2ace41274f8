"""Processes under measurement: where they run, and what they use."""

import contextlib
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from bench.platform import children

STARTED_WITHIN = 60.0
"""Seconds that a target may take to listen."""


def pin(pid: int, core: int) -> None:
    """Keep a process (0: this one), and what it starts from now on, on one core."""
    cores = sorted(os.sched_getaffinity(0))
    for thread in [int(task.name) for task in Path(f"/proc/{pid}/task").glob("*")] if pid else [0]:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(thread, {cores[core % len(cores)]})


def tree(pid: int) -> list[int]:
    """A process and all that it started, their children too."""
    with contextlib.suppress(OSError):
        return [pid, *(found for child in children(pid) for found in tree(child))]
    return [pid]


def cpu_ns(pid: int) -> int:
    """Time on the CPU of all threads of a process tree, in nanoseconds, from the scheduler."""
    spent = 0
    for process in tree(pid):
        for task in Path(f"/proc/{process}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):
                spent += int(task.read_text().split()[0])
    return spent


def resident_kb(pid: int) -> int:
    """Resident memory of a process tree, in KB."""
    total = 0
    for process in tree(pid):
        with contextlib.suppress(OSError):
            found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process}/status").read_text())
            total += int(found[1]) if found else 0
    return total


@contextlib.contextmanager
def running(
    command: list[str],
    port: int | Path,
    core: int,
    *,
    log: Path,
    environ: dict[str, str] | None = None,
    cwd: Path | None = None,
) -> Iterator[int]:
    """A process on one core, from when it listens; its output goes to a file.

    ``port`` may be a file, in which the process writes the one that it has chosen.

    Raises:
        RuntimeError: it ended, or did not listen in time; with the end of its output.
    """
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            env=os.environ | (environ or {}),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: pin(0, core),
        )
    try:
        _await_port(port, process, log)
        yield process.pid
    finally:
        family = tree(process.pid)
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pid in family[1:]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)


def _listens(port: int | Path) -> bool:
    if isinstance(port, Path):
        return port.exists() and bool(port.read_text())
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _await_port(port: int | Path, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + STARTED_WITHIN
    while time.monotonic() < deadline and process.poll() is None:
        if _listens(port):
            return
        time.sleep(0.05)
    last = log.read_text("utf-8", "replace")[-800:]
    raise RuntimeError(f"{Path(process.args[0]).name} did not start to listen: {last}")  # type: ignore[index,arg-type]
