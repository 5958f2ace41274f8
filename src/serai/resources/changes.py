"""Which resources of a workspace change, as it happens.

An event says what is to be read again, not what it is now: nothing has to be asked for in vain, and
who may not read it learns its name and status at most. Changes of other processes of an
installation on PostgreSQL are not told; a client that must see those reads now and then.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from typing import Any

import msgspec

QUIET_SECONDS = 15.0
"""Between signs of life."""
BACKLOG = 1000
"""Events that a listener may be behind; then it is told to read everything again."""
MOST_LISTENERS = 500


class Change(msgspec.Struct, frozen=True):
    """One resource that was made, changed or deleted; ``*`` stands for all."""

    workspace: str
    kind: str
    name: str
    parent: str = ""
    status: str = ""
    deleted: bool = False


class Listener:
    """One open stream."""

    def __init__(self, workspace: str) -> None:
        self.workspace = workspace
        self.waiting: deque[Change] = deque()
        self.changed = asyncio.Event()

    def tell(self, change: Change) -> None:
        """Queue a change; when there are too many, one that stands for all."""
        if len(self.waiting) >= BACKLOG:
            self.waiting.clear()
            change = Change(self.workspace, "*", "*")
        self.waiting.append(change)
        self.changed.set()


class ChangeStream:
    """All open streams. ``publish`` may be called from any thread."""

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False

    def publish(self, changes: Iterable[Any]) -> None:
        """Tell what a transaction changed."""
        if self._loop is None or not self._listeners:
            return
        told = [change for change in changes if isinstance(change, Change)]
        if told:
            self._loop.call_soon_threadsafe(self._tell, told)

    def _tell(self, changes: list[Change]) -> None:
        for listener in self._listeners:
            for change in changes:
                if change.workspace == listener.workspace:
                    listener.tell(change)

    @property
    def is_full(self) -> bool:
        """Whether nobody else can listen."""
        return self._is_closed or len(self._listeners) >= MOST_LISTENERS

    def close(self) -> None:
        """End every stream, so that the server can stop."""
        self._is_closed = True
        for listener in self._listeners:
            listener.changed.set()

    async def events(self, workspace: str) -> AsyncIterator[bytes]:
        """The stream of a workspace, as server-sent events."""
        self._loop = asyncio.get_running_loop()
        listener = Listener(workspace)
        self._listeners.add(listener)
        try:
            yield b": listening\n\n"
            while not self._is_closed:
                listener.changed.clear()
                while listener.waiting:
                    yield _event(listener.waiting.popleft())
                try:
                    await asyncio.wait_for(listener.changed.wait(), QUIET_SECONDS)
                except TimeoutError:
                    yield b": quiet\n\n"
        finally:
            self._listeners.discard(listener)


def _event(change: Change) -> bytes:
    told = {
        "kind": change.kind,
        "name": change.name,
        "parent": change.parent or None,
        "status": change.status or None,
        "deleted": change.deleted or None,
    }
    body = msgspec.json.encode({key: value for key, value in told.items() if value is not None})
    return b"event: change\ndata: " + body + b"\n\n"
