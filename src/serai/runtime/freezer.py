"""Stopping a whole sandbox where it stands, and letting it go on.

By the freezer of its control group (version 1 or 2), which no process notices. Where no group
can be written, every process is stopped by a signal from outside: the same for the processes,
but their parents inside may see it, and one that was stopped before goes on as well.

Whether a sandbox is frozen is always found by looking, so nothing of it can be lost in a crash.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from serai.runtime import processes
from serai.runtime.messages import Trace

FREEZE_SECONDS = 1.0
"""How long processes may take to stop: one that waits for a disk cannot before it has read.

No longer, as requests to the sandbox wait meanwhile."""
_PAUSE_SECONDS = 0.0005


def has_group(trace: Trace) -> bool:
    """Whether the sandbox is in a group that can be frozen: then thawing takes no time."""
    return _group_of(trace) is not None


def freeze(trace: Trace) -> None:
    """Stop every process of the sandbox; returns when all stand.

    Raises:
        OSError: some did not stop; all go on.
    """
    group = _group_of(trace)
    deadline = time.monotonic() + FREEZE_SECONDS
    while not (_freeze_group(group) if group else _stop_all(trace.pid)):
        if time.monotonic() > deadline:
            thaw(trace)
            raise TimeoutError(f"its processes did not stop within {FREEZE_SECONDS:g} s")
        time.sleep(_PAUSE_SECONDS)


def thaw(trace: Trace) -> None:
    """Let every process go on; nothing happens to one that runs."""
    group = _group_of(trace)
    if group is not None:
        thaw_group(group)
    elif processes.start_time(trace.pid) == trace.started:
        _continue_all(trace.pid)


def is_frozen(trace: Trace) -> bool:
    """Whether the sandbox is stopped, or on its way to it."""
    group = _group_of(trace)
    if group is None:
        return processes.start_time(trace.pid) == trace.started and _stands(trace.pid)
    for name, running in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
        with contextlib.suppress(FileNotFoundError):
            return (group / name).read_text().strip() != running
    return False


def thaw_group(group: Path) -> None:
    """Let the processes of a group go on; nothing happens where it cannot be frozen.

    In version 1 not even SIGKILL ends a frozen process.
    """
    for name, word in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
        with contextlib.suppress(FileNotFoundError):
            _write(group / name, word)


def _group_of(trace: Trace) -> Path | None:
    for text in trace.cgroups:
        if any(Path(text, name).exists() for name in ("freezer.state", "cgroup.freeze")):
            return Path(text)
    return None


def _freeze_group(group: Path) -> bool:
    """Ask for it, once more where it was asked already; whether all processes stand now."""
    version_1 = group / "freezer.state"
    if version_1.exists():
        _write(version_1, "FROZEN")
        return version_1.read_text().strip() == "FROZEN"
    _write(group / "cgroup.freeze", "1")
    return "frozen 1" in (group / "cgroup.events").read_text().splitlines()


def _write(file: Path, word: str) -> None:
    """Write into a file of the kernel, which must be there."""
    descriptor = os.open(file, os.O_WRONLY)
    try:
        os.write(descriptor, word.encode())
    finally:
        os.close(descriptor)


def _stop_all(first: int) -> bool:
    """Stop what runs, parents before their children; whether everything stood already."""
    running = [pid for pid in processes.family(first) if not _stands(pid)]
    _signal(running, signal.SIGSTOP)
    return not running


def _continue_all(first: int) -> None:
    """Children before their parents, which then never see them stopped."""
    _signal(reversed(processes.family(first)), signal.SIGCONT)


def _signal(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _stands(pid: int) -> bool:
    """Whether a process runs no more code of its own until it is continued.

    One thread that stands stops them all. One that the kernel holds (while a child of ``vfork``
    stands, say) stops before it comes back.
    """
    states = processes.thread_states(pid)
    if states <= {"Z", "X"} or states & {"T", "t"}:
        return True
    return "D" in states and processes.is_pending(pid, signal.SIGSTOP)
