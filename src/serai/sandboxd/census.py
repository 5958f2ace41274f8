"""What runs in the sandbox, read from ``/proc``."""

import contextlib
import os
import signal

import msgspec

_PASSES = 3
"""How often a session is searched for processes that were started meanwhile."""


class Seen(msgspec.Struct, frozen=True):
    """One process: its name and the numbers of its parent, group and session."""

    name: str
    parent: int
    group: int
    session: int


def look_at(pid: int) -> Seen | None:
    """A process, None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError:
        return None
    name = text[text.index("(") + 1 : text.rindex(")")]
    fields = text[text.rindex(")") + 2 :].split()
    return Seen(name, int(fields[1]), int(fields[2]), int(fields[3]))


def everyone() -> dict[int, Seen]:
    """All processes by pid."""
    return {
        int(entry): seen
        for entry in os.listdir("/proc")
        if entry.isdecimal() and (seen := look_at(int(entry))) is not None
    }


def end_session(leader: int) -> None:
    """Kill every process of a session, even those that ignore all signals that can be."""
    for _ in range(_PASSES):
        members = [pid for pid, seen in everyone().items() if seen.session == leader]
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not members:
            return
