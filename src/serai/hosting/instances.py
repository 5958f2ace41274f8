"""One instance of a revision: a box with its program, and who uses it."""

import asyncio
from time import monotonic
from typing import Literal

from serai.hosting.boxes import Box
from serai.hosting.bridging import BRIDGED, answers, entry_of
from serai.hosting.runs import Run

State = Literal["ready", "doubted", "asleep", "ending"]


class Instance:
    """An instance that runs, or stands.

    Attributes:
        id: of its row and its box.
        box: what it runs in.
        run: its program.
        port: where it listens; ``BRIDGED`` when the API in its box serves it.
        has_sessions: it told callers of sessions, which end with it.
        state: ``ready`` takes requests, ``doubted`` could not be reached and is looked at,
            ``asleep`` stands, ``ending`` takes no more.
        in_flight: requests and connections that use it.
        used_at: when that last changed, by the monotonic clock.
        since: when it began to serve, by the same.
        stands: its processes are stopped where they stand.
        lock: under which it is put to sleep and woken.
    """

    def __init__(self, box: Box, run: Run, port: int) -> None:
        self.id = box.id
        self.box = box
        self.run = run
        self.port = port
        self.state: State = "ready"
        self.stands = False
        self.has_sessions = False
        self.in_flight = 0
        self.used_at = self.since = monotonic()
        self.lock = asyncio.Lock()
        self.noted_lines = run.seen
        self._unused = asyncio.Event()
        self._unused.set()

    @property
    def socket(self) -> str:
        """Unix socket by which it is reached."""
        handle = self.box.handle
        return handle.api_socket if self.port == BRIDGED else handle.port_socket

    def path(self, asked: bytes) -> bytes:
        """What to ask it for. Raises NotFound when nothing of it is there."""
        return entry_of(asked) if self.port == BRIDGED else asked

    async def serves(self) -> bool:
        """Whether it takes requests."""
        if self.port == BRIDGED:
            return await answers(self.box)
        return await self.box.accepts(self.port)

    def enter(self) -> None:
        """A request begins to use it."""
        self.in_flight += 1
        self.used_at = monotonic()
        self._unused.clear()

    def leave(self) -> None:
        """A request is over."""
        self.in_flight -= 1
        self.used_at = monotonic()
        if not self.in_flight:
            self._unused.set()

    def idle_for(self, now: float) -> float:
        """Seconds without a request."""
        return 0.0 if self.in_flight else now - self.used_at

    async def unused(self, seconds: float) -> bool:
        """Wait until nobody uses it, for so long at most; whether that is so."""
        try:
            async with asyncio.timeout(seconds):
                await self._unused.wait()
        except TimeoutError:
            return False
        return True
