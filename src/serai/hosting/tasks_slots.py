"""Places for boxes of jobs on this machine, shared among executions."""

import asyncio
import os
from collections import Counter, deque

PER_PROCESSOR = 4


class Slots:
    """At most so many boxes at a time; who waits longest is next.

    Args:
        most: how many; 0 for some per processor.
    """

    def __init__(self, most: int) -> None:
        self.most = most or PER_PROCESSOR * (os.cpu_count() or 1)
        self._held: Counter[str] = Counter()
        self._waiting: deque[tuple[str, asyncio.Future[None]]] = deque()

    @property
    def used(self) -> int:
        """How many places are taken."""
        return self._held.total()

    async def take(self, execution_id: str) -> None:
        """Return with a place."""
        if self.used < self.most and not self._waiting:
            self._held[execution_id] += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((execution_id, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(execution_id)
            else:
                self._waiting = deque(each for each in self._waiting if each[1] is not turn)
            raise

    def occupy(self, execution_id: str) -> None:
        """Count a box that an earlier run of the platform opened, even above the limit."""
        self._held[execution_id] += 1

    def give_back(self, execution_id: str) -> None:
        """A place is free again."""
        self._held[execution_id] -= 1
        if not self._held[execution_id]:
            del self._held[execution_id]
        while self._waiting and self.used < self.most:
            waiter, turn = self._waiting.popleft()
            if not turn.done():
                self._held[waiter] += 1
                turn.set_result(None)

    def should_yield(self, execution_id: str) -> bool:
        """Whether others wait, and this one has more than its share."""
        others = {waiter for waiter, _ in self._waiting} - {execution_id}
        if not others:
            return False
        share = max(1, self.most // len(self._held.keys() | others))
        return self._held[execution_id] > share
