"""The sandboxes that run now, in memory: derived from rows, used for expiry and wake-up."""

import asyncio
from datetime import datetime, timedelta

import msgspec

from serai.compute.ports import RunningSandbox
from serai.kernel.background import NamedLocks


class LiveSandbox(msgspec.Struct, kw_only=True):
    """A running sandbox with what decides its end. ``active_at`` moves with every request."""

    sandbox: RunningSandbox
    active_at: datetime
    expires_at: datetime | None
    idle: timedelta | None

    def due(self, now: datetime) -> bool:
        """Whether its time is over."""
        if self.expires_at is not None and now >= self.expires_at:
            return True
        return self.idle is not None and now >= self.active_at + self.idle


class LiveTable:
    """Running sandboxes by id and by name, and one lock per name."""

    def __init__(self) -> None:
        self.by_id: dict[str, LiveSandbox] = {}
        self.by_name: dict[tuple[str, str], LiveSandbox] = {}
        self._locks = NamedLocks()

    def put(self, live: LiveSandbox) -> None:
        """Add or replace."""
        self.by_id[live.sandbox.id] = live
        self.by_name[live.sandbox.workspace, live.sandbox.name] = live

    def remove(self, sandbox_id: str) -> LiveSandbox | None:
        """Remove and return it."""
        live = self.by_id.pop(sandbox_id, None)
        if live is not None:
            self.by_name.pop((live.sandbox.workspace, live.sandbox.name), None)
        return live

    def lock(self, workspace: str, name: str) -> asyncio.Lock:
        """The lock under which the sandbox of this name changes."""
        return self._locks.of((workspace, name))
