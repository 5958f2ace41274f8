"""Programs go before the API when memory runs out."""

import contextlib
import os

from serai.sandboxd.nursery import Nursery

SCORE = b"500"
"""Of 1000, added to the share of memory that a program uses; the API has 0 or less."""
_PASSES = 8
"""How often we look for programs that were started meanwhile, before we give up."""
_MOST = 64
"""Of them in one pass. Who starts more in no time is a bomb, and only its own sandbox suffers."""


class Expendable:
    """Gives the program just started, and what it has started by now, the score.

    What they start from then on has the same. Attribute ``proc`` is a descriptor of a ``/proc``
    that can be written to, where the one that programs see cannot: then none can change its
    score. Without it there is nothing to guard, and only the program itself gets the score.

    Args:
        nursery: makes the kernel give programs the usual priority.
    """

    def __init__(self, nursery: Nursery) -> None:
        self.proc: int | None = None
        self._nursery = nursery

    def ready(self) -> None:
        """To be called before a program is started.

        Raises:
            OSError: none can be.
        """
        self._nursery.ready()

    def __call__(self, pid: int) -> None:
        if self.proc is None:
            with contextlib.suppress(OSError), open(f"/proc/{pid}/oom_score_adj", "wb", 0) as file:
                file.write(SCORE)
            return
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
            flags = os.O_WRONLY | os.O_CLOEXEC
            file = os.open(f"{pid}/oom_score_adj", flags, dir_fd=self.proc)
            try:
                os.write(file, SCORE)
            finally:
                os.close(file)
