"""Telling those who follow logs of lines, once they are stored."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from serai.telemetry.lines.records import Stored

MOST_WAITING = 5_000
"""Lines that wait for one reader; the oldest go first, and it is told how many."""


class Follower:
    """Somebody who follows: lines that they want, until they have read them."""

    def __init__(self, wants: Callable[[Stored], bool]) -> None:
        self.wants = wants
        self.missed = 0
        self._lines: deque[Stored] = deque()
        self._news = asyncio.Event()

    def tell(self, lines: Sequence[Stored]) -> None:
        """Keep those of the lines that are wanted."""
        for line in lines:
            if self.wants(line):
                self._lines.append(line)
        while len(self._lines) > MOST_WAITING:
            self._lines.popleft()
            self.missed += 1
        if self._lines:
            self._news.set()

    def wake(self) -> None:
        """Let it look, though there is nothing new."""
        self._news.set()

    async def read(self, seconds: float) -> list[Stored]:
        """What there is, as soon as there is something; nothing after so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return []
        self._news.clear()
        found, self._lines = list(self._lines), deque()
        return found


class Feed:
    """All who follow. Used on the event loop's thread only."""

    def __init__(self) -> None:
        self.closed = False
        self._followers: set[Follower] = set()

    def join(self, wants: Callable[[Stored], bool]) -> Follower:
        """Follow from now on."""
        follower = Follower(wants)
        self._followers.add(follower)
        return follower

    def leave(self, follower: Follower) -> None:
        """Follow no more."""
        self._followers.discard(follower)

    def publish(self, lines: Sequence[Stored]) -> None:
        """These lines are stored."""
        for follower in self._followers:
            follower.tell(lines)

    def publish_late(self, lines: Callable[[], Sequence[Stored]]) -> None:
        """The same for lines that are only made when somebody follows."""
        if self._followers:
            self.publish(lines())

    def close(self) -> None:
        """The server stops: whoever follows comes to an end."""
        self.closed = True
        for follower in self._followers:
            follower.wake()
