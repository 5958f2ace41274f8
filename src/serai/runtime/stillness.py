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
        with _stopped(trace.pid):
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
def _stopped(first: int) -> Iterator[None]:
    """Stop the first process of a pid namespace and all below it, until nobody is left to fork."""
    ours: list[int] = []
    try:
        _wait(lambda: _all_rest(first, ours))
        yield
    finally:
        for pid in reversed(ours):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def _all_rest(first: int, ours: list[int]) -> bool:
    """Whether all rest; those that do not are stopped, and told in ``ours``."""
    busy = [pid for pid, state in _family(first).items() if state not in _RESTING]
    for pid in busy:
        if pid not in ours:
            ours.append(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
    return not busy


_RESTING = "TtZXx"


def _family(first: int) -> dict[int, str]:
    """A process and all below it, with their states."""
    states: dict[int, str] = {}
    below: dict[int, list[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError, ValueError):
            stat = Path(f"/proc/{name}/stat").read_bytes()
            state, parent = stat[stat.rindex(b")") + 2 :].split(None, 2)[:2]
            states[int(name)] = state.decode()
            below.setdefault(int(parent), []).append(int(name))
    found: dict[int, str] = {}
    pending = [first]
    while pending:
        pid = pending.pop()
        if pid in states:
            found[pid] = states[pid]
            pending += below.get(pid, [])
    return found
