"""How much happened in the last so many seconds, in a sliding window of little memory."""

from collections import deque

SLOTS = 60
"""Parts of a window; an amount is forgotten at most one part late, and never too early."""


class SlidingWindow:
    """Amounts of the last ``span`` nanoseconds; times are nanoseconds of one steady clock.

    Amounts are summed by slot, a sixtieth of the span, and count until every moment of their slot
    is at least a span ago. So whoever adds only what fits below a limit never has more than the
    limit in any stretch of one span, wherever it begins, and what is counted leaves after a span
    and one slot at the latest.
    """

    __slots__ = ("_slot", "_slots", "_total")

    def __init__(self, span: int) -> None:
        self._slot = -(-span // SLOTS)
        self._slots: deque[list[int]] = deque()
        self._total = 0

    def used(self, now: int) -> int:
        """What counts at this moment."""
        slots, oldest = self._slots, now // self._slot - SLOTS
        while slots and slots[0][0] < oldest:
            self._total -= slots.popleft()[1]
        return self._total

    def add(self, now: int, amount: int) -> None:
        """Count an amount from now on."""
        self.used(now)
        number = now // self._slot
        if self._slots and self._slots[-1][0] >= number:
            self._slots[-1][1] += amount
        else:
            self._slots.append([number, amount])
        self._total += amount

    def wait(self, now: int, room: int) -> int:
        """How long until at most ``room`` is counted, if nothing is added; in nanoseconds."""
        left = self.used(now)
        for number, amount in self._slots:
            if left <= room:
                break
            left -= amount
            end = (number + SLOTS + 1) * self._slot
            if left <= room:
                return end - now
        return 0
