"""Giving the memory of suspended sandboxes back to the host, where it has swap to keep it in.

Pages go out in small pieces, from one thread for all sandboxes and only of those that have slept
for a while. A sandbox that is resumed meanwhile goes on at once; what is out comes back page by
page as it is touched.
"""

import asyncio
import contextlib
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

from serai.runtime import linux, processes
from serai.runtime.messages import Trace

_PIECE = 4 << 20
"""Bytes at a time: some milliseconds, after which it is looked whether to go on."""
_OWN = re.compile(r"([0-9a-f]+)-([0-9a-f]+) rw.p ")
"""Memory of a process alone; programs and libraries are shared, and read again from their files."""


class Pager:
    """Pages out what sleeps; ``begin`` and ``end`` are called on the event loop.

    Args:
        after: seconds of sleep after which a sandbox's memory goes out. One that sleeps shorter
            would only wait for it to come back.
    """

    def __init__(self, after: float) -> None:
        self._after = after
        self._asleep: dict[str, tuple[asyncio.TimerHandle, Event]] = {}
        self._thread = ThreadPoolExecutor(1, "paging")

    def begin(self, sandbox_id: str, trace: Trace) -> None:
        """A sandbox sleeps from now on."""
        self.end(sandbox_id)
        if has_swap():
            woken = Event()
            loop = asyncio.get_running_loop()
            timer = loop.call_later(self._after, self._thread.submit, page_out, trace, woken)
            self._asleep[sandbox_id] = (timer, woken)

    def end(self, sandbox_id: str) -> None:
        """It does not sleep any more."""
        if sandbox_id in self._asleep:
            timer, woken = self._asleep.pop(sandbox_id)
            timer.cancel()
            woken.set()

    def close(self) -> None:
        """Page out nothing more."""
        for sandbox_id in list(self._asleep):
            self.end(sandbox_id)
        self._thread.shutdown(wait=False, cancel_futures=True)


def has_swap() -> bool:
    """Whether the host has any swap, on a disk or compressed in memory."""
    try:
        return len(Path("/proc/swaps").read_text().splitlines()) > 1
    except OSError:
        return False


def page_out(trace: Trace, woken: Event) -> None:
    """Have the memory of all its processes written to swap, until it is woken."""
    with _allowed_to_swap(trace):
        for pid in processes.family(trace.pid):
            with contextlib.suppress(OSError):
                _page_out(pid, woken)


def _page_out(pid: int, woken: Event) -> None:
    descriptor = os.pidfd_open(pid)
    try:
        for start, size in _pieces(pid):
            if woken.is_set():
                return
            with contextlib.suppress(OSError):
                linux.page_out(descriptor, start, size)
    finally:
        os.close(descriptor)


def _pieces(pid: int) -> Iterator[tuple[int, int]]:
    """Address and size of each piece of its own memory."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        if (match := _OWN.match(line)) is not None:
            first, end = int(match[1], 16), int(match[2], 16)
            for start in range(first, end, _PIECE):
                yield start, min(_PIECE, end - start)


@contextlib.contextmanager
def _allowed_to_swap(trace: Trace) -> Iterator[None]:
    """Version 2 counts swap apart, and sandboxes may use none: but what stands uses no more."""
    files = [Path(group, "memory.swap.max") for group in trace.cgroups]
    files = [file for file in files if file.exists()]
    for file in files:
        file.write_text("max")
    try:
        yield
    finally:
        for file in files:
            with contextlib.suppress(OSError):
                file.write_text("0")
