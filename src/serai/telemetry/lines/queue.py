"""Lines that wait to be written: bounded in memory and in rate, and fair between resources.

Anybody may put lines in, from any thread; it never waits. Each resource may bring so many lines a
second. When the queue is full all the same, lines are taken from the resource that has the most in
it. What is dropped is counted, and a line in its place says so.
"""

import threading
import time
from collections.abc import Callable, Sequence
from itertools import chain

import msgspec

from serai.telemetry.lines.entry import SEVERITIES, Entry, Key

MOST_BYTES = 64 * 1024 * 1024
BURST_SECONDS = 10
MOST_REMEMBERED = 10_000
"""Resources whose rate is known; beyond that, those with nothing waiting begin anew."""
SHARE = 8
"""The fullest resource gives this part of its lines when there is no room."""


class Waiting(msgspec.Struct, kw_only=True):
    """What waits of one resource, and how much more it may bring."""

    allowed: float
    asked: float
    lines: list[Entry] = msgspec.field(default_factory=list)
    size: int = 0
    dropped: int = 0
    first_dropped: Entry | None = None

    def drop(self, entries: Sequence[Entry]) -> None:
        """Count lines that are not kept."""
        if entries and self.first_dropped is None:
            self.first_dropped = entries[0]
        self.dropped += len(entries)

    def told(self) -> list[Entry]:
        """The line that says how many were dropped, if any were; they are forgotten with it."""
        first = self.first_dropped
        if first is None:
            return []
        text = (
            f"[serai] {self.dropped:,} lines were dropped here: they came faster than lines of one "
            "resource are kept (log_rate)."
        )
        source, _, *rest = first.origin
        said = msgspec.structs.replace(
            first,
            origin=(source, "", *rest),
            severity=SEVERITIES["warning"],
            text=text,
            length=len(text),
            trace_id="",
            attributes="",
        )
        self.dropped, self.first_dropped = 0, None
        return [said]


class LineQueue:
    """Holds lines until they are written.

    Args:
        rate: lines of one resource that are kept a second, over ten seconds.
        most_bytes: what all of them may take.
        clock: seconds that pass evenly.
    """

    def __init__(
        self,
        rate: int,
        most_bytes: int = MOST_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.dropped = 0
        """Lines that were not kept since the start."""
        self._rate = rate
        self._most_bytes = most_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._of: dict[Key, Waiting] = {}
        self._size = 0

    def __len__(self) -> int:
        with self._lock:
            return sum(len(waiting.lines) for waiting in self._of.values())

    def put(self, entries: Sequence[Entry]) -> None:
        """Take lines, or count them as dropped."""
        now = self._clock()
        with self._lock:
            for entry in entries:
                self._put(entry, now)
            if self._size > self._most_bytes:
                self._make_room()

    def _put(self, entry: Entry, now: float) -> None:
        waiting = self._of.get(entry.key)
        most = float(self._rate * BURST_SECONDS)
        if waiting is None:
            self._forget_idle()
            waiting = self._of[entry.key] = Waiting(allowed=most, asked=now)
        elif waiting.asked != now:
            more = (now - waiting.asked) * self._rate
            waiting.allowed, waiting.asked = min(most, waiting.allowed + more), now
        if waiting.allowed < 1:
            waiting.drop([entry])
            self.dropped += 1
            return
        waiting.allowed -= 1
        waiting.lines.append(entry)
        waiting.size += entry.size
        self._size += entry.size

    def _forget_idle(self) -> None:
        if len(self._of) >= MOST_REMEMBERED:
            kept = {key: one for key, one in self._of.items() if one.lines or one.dropped}
            self._of = kept

    def _make_room(self) -> None:
        while self._size > self._most_bytes:
            fullest = max(self._of.values(), key=lambda waiting: waiting.size)
            count = max(1, len(fullest.lines) // SHARE)
            gone = fullest.lines[-count:]
            del fullest.lines[-count:]
            fullest.drop(gone)
            self.dropped += len(gone)
            freed = sum(entry.size for entry in gone)
            fullest.size -= freed
            self._size -= freed

    def take(self, most: int, most_bytes: int) -> list[Entry]:
        """Take out about so many lines, of every resource alike; empty when none wait."""
        with self._lock:
            ready = [one for one in self._of.values() if one.lines or one.dropped]
            if not ready:
                return []
            lines, room = max(1, most // len(ready)), max(1, most_bytes // len(ready))
            return list(chain.from_iterable(self._taken(one, lines, room) for one in ready))

    def _taken(self, waiting: Waiting, most: int, most_bytes: int) -> list[Entry]:
        count = size = 0
        for entry in waiting.lines[:most]:
            if count and size + entry.size > most_bytes:
                break
            count, size = count + 1, size + entry.size
        taken = waiting.lines[:count]
        del waiting.lines[:count]
        waiting.size -= size
        self._size -= size
        return taken + (waiting.told() if not waiting.lines else [])

    def put_back(self, entries: Sequence[Entry]) -> None:
        """Lines that could not be written wait again, before those that came meanwhile."""
        by_key: dict[Key, list[Entry]] = {}
        for entry in entries:
            by_key.setdefault(entry.key, []).append(entry)
        with self._lock:
            for key, lines in by_key.items():
                waiting = self._of.get(key)
                if waiting is None:
                    waiting = self._of[key] = Waiting(allowed=0, asked=self._clock())
                waiting.lines[:0] = lines
                size = sum(entry.size for entry in lines)
                waiting.size += size
                self._size += size
            self._make_room()

    def forget(self, workspace: str) -> None:
        """Drop what waits of a workspace that is gone."""
        with self._lock:
            for key in [key for key in self._of if key[0] == workspace]:
                self._size -= self._of.pop(key).size
