"""Programs go before the API when memory runs out, and after it when the CPU is scarce."""

import contextlib
import os
from collections.abc import Callable

SCORE = b"500"
"""Of 1000, added to the share of memory that a program uses; the API has 0 or less."""
_PASSES = 8
"""How often we look for programs that were started meanwhile, before we give up."""
_MOST = 64
"""Of them in one pass. Who starts more in no time is a bomb, and only its own sandbox suffers."""

Expend = Callable[[int], None]


class Expendable:
    """Gives the program just started, and what it has started by now, the score and no priority.

    What they start from then on has the same. Attribute ``proc`` is a descriptor of a ``/proc``
    that can be written to, where the one that programs see cannot: then none can change its
    score. Without it there is nothing to guard, and only the program itself gets the score.
    """

    def __init__(self) -> None:
        self.proc: int | None = None

    def __call__(self, pid: int) -> None:
        if self.proc is None:
            with contextlib.suppress(OSError), open(f"/proc/{pid}/oom_score_adj", "wb", 0) as file:
                file.write(SCORE)
            return
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PGRP, pid, 0)  # at once for all that it has started by now
        self._set(pid)
        newest = pid
        for _ in range(_PASSES):
            before, newest = newest, self._newest()
            if newest == before:
                return
            first = before + 1 if newest > before else 2  # numbers begin again
            for other in range(max(first, newest - _MOST), newest + 1):
                self._set(other)

    def _newest(self) -> int:
        """The number that the newest process or thread of this namespace got."""
        file = os.open("loadavg", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.proc)
        try:
            return int(os.read(file, 128).split()[4])
        finally:
            os.close(file)

    def _set(self, pid: int) -> None:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, pid, 0)
        with contextlib.suppress(OSError):
            flags = os.O_WRONLY | os.O_CLOEXEC
            file = os.open(f"{pid}/oom_score_adj", flags, dir_fd=self.proc)
            try:
                os.write(file, SCORE)
            finally:
                os.close(file)
