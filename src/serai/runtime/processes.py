"""Helpers of our own, and any process by pid and start time, so that a reused pid is never hit."""

import contextlib
import errno
import os
import select
import signal
import sys
import time
from pathlib import Path

PLAIN_ENVIRONMENT = {"LANG": "C.UTF-8", "PATH": os.defpath}


def python_command(code: str) -> list[str]:
    """A command that runs ``code`` in a Python like this one, which imports what we can."""
    path = [entry for entry in sys.path if os.path.isabs(entry)]
    whole = f"import sys;sys.path[:]={path!r};{code}"
    return [sys.executable, "-I", "-S", "-X", "frozen_modules=on", "-c", whole]


def boot_id() -> str:
    """The kernel's random id of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_time(pid: int) -> int | None:
    """Start time of a running process in ticks since boot; None if gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def thread_states(pid: int) -> set[str]:
    """The letters of its threads' states, as ``ps`` shows them; none when it is gone."""
    found = set()
    for file in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):
            stat = file.read_text(errors="replace")
            found.add(stat[stat.rindex(")") + 2])
    return found


def is_pending(pid: int, number: int) -> bool:
    """Whether a signal waits for a process to take notice of it."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines():
            if line.startswith("ShdPnd:"):
                return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


def children(pid: int) -> list[int]:
    """The processes that a process, or a thread of it, has started and not yet lost."""
    found: list[int] = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, file.read_text().split())
    return found


def family(first: int) -> list[int]:
    """A process and all below it, each after its parent."""
    found = [first]
    for pid in found:
        found += children(pid)
    return found


def kill_and_wait(pid: int, started: int, timeout: float) -> bool:
    """SIGKILL the process if it is still the same one; True when it is gone.

    Waits at most ``timeout`` seconds. Ending the first process of a pid namespace ends
    every other one in it before it is itself gone.
    """
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return True
    try:
        if start_time(pid) != started:
            return True
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        return _wait(descriptor, timeout)
    except ProcessLookupError:
        return True
    finally:
        os.close(descriptor)


def _wait(descriptor: int, timeout: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    deadline = time.monotonic() + timeout
    while (left := deadline - time.monotonic()) > 0:
        if poll.poll(left * 1000):
            return True
    return False
