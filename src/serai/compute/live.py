"""The sandboxes that have not ended, in memory: derived from rows, used for expiry and wake-up."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from serai.compute.ports import RunningSandbox
from serai.kernel.background import NamedLocks
from serai.kernel.clock import now

SAVING_SECONDS = 5.0


class LiveSandbox(msgspec.Struct, kw_only=True):
    """A sandbox whose processes are there, with what decides how long.

    Attributes:
        sandbox: the sandbox.
        used_at: when it was last used by a request.
        active_at: from when ``idle`` counts: its last use, resume or suspension.
        busy_at: when it last had a reason of its own to stay awake.
        expires_at: when it ends whatever happens.
        idle: after how much time without use it ends.
        asleep: it is suspended: it must be resumed before anything is sent to it.
        asked: somebody waits until it may be suspended.
        saving: the row of its resume on its way.
    """

    sandbox: RunningSandbox
    used_at: datetime
    active_at: datetime
    busy_at: datetime
    expires_at: datetime | None
    idle: timedelta | None
    asleep: bool = False
    asked: bool = False
    saving: "asyncio.Task[None] | None" = None

    @property
    def ends_at(self) -> datetime | None:
        """When it ends if nothing happens."""
        return ending(self.expires_at, self.active_at, self.idle)

    async def saved(self) -> None:
        """Wait until its row says what it is, or cannot be written now."""
        if self.saving is not None:
            await asyncio.wait([self.saving], timeout=SAVING_SECONDS)


def ending(
    expires_at: datetime | None, active_at: datetime, idle: timedelta | None
) -> datetime | None:
    """When a sandbox ends that is not used any more after ``active_at``."""
    moments = [expires_at, active_at + idle if idle is not None else None]
    return min((moment for moment in moments if moment is not None), default=None)


class Prospect(NamedTuple):
    """When a sandbox ends if nothing happens (``None`` for never), and when it was last used."""

    ends_at: datetime | None
    used_at: datetime


class LiveTable:
    """Sandboxes by id and by name, one lock per name, and who uses what.

    Those that are stopped, and start on their next request, have no processes and no entry: only
    their prospects are kept.
    """

    def __init__(self) -> None:
        self.by_id: dict[str, LiveSandbox] = {}
        self.by_name: dict[tuple[str, str], LiveSandbox] = {}
        self.stopped: dict[tuple[str, str], Prospect] = {}
        self._open: dict[str, int] = {}
        self._locks = NamedLocks()

    def put(self, live: LiveSandbox) -> None:
        """Add or replace."""
        key = (live.sandbox.workspace, live.sandbox.name)
        self.by_id[live.sandbox.id] = self.by_name[key] = live
        self.stopped.pop(key, None)

    def remove(self, sandbox_id: str) -> LiveSandbox | None:
        """Remove and return it."""
        live = self.by_id.pop(sandbox_id, None)
        if live is not None:
            self.by_name.pop((live.sandbox.workspace, live.sandbox.name), None)
        return live

    def forget(self, workspace: str, name: str) -> None:
        """There is no sandbox of that name any more."""
        self.stopped.pop((workspace, name), None)

    def prospect(self, workspace: str, name: str) -> Prospect | None:
        """What is to be expected of a sandbox; ``None`` when there is none that lives."""
        live = self.by_name.get((workspace, name))
        if live is not None:
            return Prospect(live.ends_at, live.used_at)
        return self.stopped.get((workspace, name))

    def is_due(self, workspace: str, name: str) -> bool:
        """Whether the time of a sandbox is over."""
        prospect = self.prospect(workspace, name)
        return prospect is not None and prospect.ends_at is not None and prospect.ends_at <= now()

    def due(self) -> list[tuple[str, str]]:
        """Workspace and name of those whose time is over."""
        moment = now()
        ends = [(key, live.ends_at) for key, live in self.by_name.items()]
        ends += [(key, stopped.ends_at) for key, stopped in self.stopped.items()]
        return [key for key, ends_at in ends if ends_at is not None and ends_at <= moment]

    def awake(self) -> int:
        """How many run."""
        return sum(1 for live in self.by_id.values() if not live.asleep)

    def use(self, sandbox_id: str, change: int) -> LiveSandbox | None:
        """Somebody begins (1) or ends (-1) to use a sandbox, or goes on (0); the sandbox."""
        if change:
            count = self._open.get(sandbox_id, 0) + change
            if count > 0:
                self._open[sandbox_id] = count
            else:
                self._open.pop(sandbox_id, None)
        live = self.by_id.get(sandbox_id)
        if live is not None:
            live.used_at = live.active_at = now()
        return live

    @contextmanager
    def using(self, sandbox_id: str) -> Iterator[None]:
        """Use a sandbox; it stays awake as long."""
        self.use(sandbox_id, 1)
        try:
            yield
        finally:
            self.use(sandbox_id, -1)

    def users(self, sandbox_id: str) -> int:
        """How many use a sandbox now."""
        return self._open.get(sandbox_id, 0)

    def lock(self, workspace: str, name: str) -> asyncio.Lock:
        """The lock under which the sandbox of this name changes."""
        return self._locks.of((workspace, name))
