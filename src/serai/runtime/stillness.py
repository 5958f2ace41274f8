"""Holding a sandbox still for a moment, so that its files can be copied as of one point in time."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from serai.runtime.messages import Trace

_SECONDS = 10.0
_PAUSE = 0.0005


@contextlib.contextmanager
def still(trace: Trace) -> Iterator[None]:
    """Nothing of the sandbox runs meanwhile; what was frozen before stays frozen.

    Freezes a control group of the sandbox where there is one that can, else stops its processes
    by signal, which they notice only by the time.

    Raises:
        OSError: a process could not be held within ten seconds.
    """
    freezer = next(filter(None, map(_freezer, map(Path, trace.cgroups))), None)
    if freezer is None:
        with _stopped(trace):
            yield
        return
    file, frozen, thawed, state = freezer
    if file.read_text().strip() == frozen:
        yield
        return
    try:
        file.write_text(frozen)
        _wait(lambda: state in (file.parent / _EVENTS[frozen]).read_text())
        yield
    finally:
        file.write_text(thawed)


_EVENTS = {"1": "cgroup.events", "FROZEN": "freezer.state"}


def _freezer(group: Path) -> tuple[Path, str, str, str] | None:
    """The file to write, what freezes, what thaws, and what then stands in its events."""
    for name, frozen, thawed, state in (
        ("cgroup.freeze", "1", "0", "frozen 1"),
        ("freezer.state", "FROZEN", "THAWED", "FROZEN"),
    ):
        if (group / name).exists():
            return group / name, frozen, thawed, state
    return None


def _wait(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _SECONDS
    while not done():
        if time.monotonic() > deadline:
            raise OSError(f"a process of the sandbox could not be held within {_SECONDS:.0f} s")
        time.sleep(_PAUSE)


@contextlib.contextmanager
def _stopped(trace: Trace) -> Iterator[None]:
    """Stop every process by signal, until nobody is left to fork."""
    ours: list[int] = []
    try:
        _wait(lambda: _all_rest(trace, ours))
        yield
    finally:
        for pid in reversed(ours):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def _all_rest(trace: Trace, ours: list[int]) -> bool:
    """Whether all rest; those that do not are stopped, and told in ``ours``."""
    busy = [pid for pid in _members(trace) if _state(pid) not in _RESTING]
    for pid in busy:
        if pid not in ours:
            ours.append(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
    return not busy


_RESTING = "TtZX"


def _members(trace: Trace) -> list[int]:
    """The processes of a sandbox, its first one first; by its control group if it has one."""
    for group in trace.cgroups:
        with contextlib.suppress(OSError):
            others = map(int, Path(group, "cgroup.procs").read_text().split())
            return [trace.pid, *(pid for pid in others if pid != trace.pid)]
    below: dict[int, list[int]] = {}
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        below.setdefault(_parent(pid), []).append(pid)
    found = [trace.pid]
    for pid in found:
        found += below.get(pid, [])
    return found


def _state(pid: int) -> str:
    return (_stat(pid) or ["X"])[0]


def _parent(pid: int) -> int:
    return int((_stat(pid) or ["X", "0"])[1])


def _stat(pid: int) -> list[str]:
    """State, parent and more of a process; nothing when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return []
    return text[text.rindex(b")") + 2 :].decode().split()
