"""What a process printed, in bounded memory.

Each stream keeps its newest :data:`STREAM_LIMIT` bytes; what is dropped is the oldest and every
reader is told. Readers hold a position and pull: a slow one costs nothing and blocks nobody.
"""

import asyncio
from bisect import bisect_left

from serai.sandboxd.handover import LogState, PositionState

STREAM_LIMIT = 4 * 1024 * 1024
"""Bytes kept of each stream of one process, bookkeeping included."""
CHUNK_SIZE = 16 * 1024
"""Small writes of one stream in a row are joined up to this many bytes."""
CHUNK_OVERHEAD = 160
"""Bytes a chunk costs besides its content."""
LINE_LIMIT = 32 * 1024
"""Longest line of a log stream; longer ones are split (clients stop reading at 64 KiB)."""
STDOUT, STDERR = 0, 1
NAMES = ("stdout", "stderr")
DROPPED = "[... earlier output was dropped ...]\n"


class Chunk:
    """Consecutive output of one stream; ``order`` counts over both streams."""

    __slots__ = ("data", "order")

    def __init__(self, order: int, data: bytes) -> None:
        self.order = order
        self.data = bytearray(data)

    def cost(self) -> int:
        """Bytes of memory."""
        return len(self.data) + CHUNK_OVERHEAD


class Position:
    """Where a reader is: an offset in the chunk ``order``, and what loss it knows of."""

    __slots__ = ("offset", "order", "told")

    def __init__(self, state: PositionState | None = None) -> None:
        state = state or PositionState()
        self.order, self.offset, self.told = state.order, state.offset, state.told

    def state(self) -> PositionState:
        """The same for a later version of this API."""
        return PositionState(order=self.order, offset=self.offset, told=self.told)


class LogBuffer:
    """Both streams of one process in order of arrival."""

    def __init__(self, limit: int = STREAM_LIMIT) -> None:
        self._limit = limit
        self._chunks: tuple[list[Chunk], list[Chunk]] = ([], [])
        self._costs = [0, 0]
        self._lost = [-1, -1]
        self._next = 0
        self._last: tuple[int, Chunk] | None = None
        self._waiters: set[asyncio.Future[None]] = set()

    def state(self) -> LogState:
        """What is kept, for a later version of this API."""
        chunks = [
            (stream, chunk.order, bytes(chunk.data))
            for stream in (STDOUT, STDERR)
            for chunk in self._chunks[stream]
        ]
        return LogState(chunks=chunks, lost=(self._lost[0], self._lost[1]), next=self._next)

    @classmethod
    def restored(cls, state: LogState) -> "LogBuffer":
        """What an earlier version kept."""
        log = cls()
        for stream, order, data in state.chunks:
            chunk = Chunk(order, data)
            log._chunks[stream].append(chunk)
            log._costs[stream] += chunk.cost()
            if order == state.next - 1:
                log._last = (stream, chunk)
        log._lost[:] = state.lost
        log._next = state.next
        return log

    @property
    def cost(self) -> int:
        """Bytes of memory both streams use."""
        return self._costs[0] + self._costs[1]

    def append(self, stream: int, data: bytes) -> None:
        """Keep output; drops the oldest of the same stream when over the limit."""
        last = self._last
        if last and last[0] == stream and len(last[1].data) + len(data) <= CHUNK_SIZE:
            last[1].data += data
            self._costs[stream] += len(data)
        else:
            chunk = Chunk(self._next, data)
            self._next += 1
            self._chunks[stream].append(chunk)
            self._costs[stream] += chunk.cost()
            self._last = (stream, chunk)
        while self._costs[stream] > self._limit and len(self._chunks[stream]) > 1:
            self._drop_oldest(stream)
        self.wake()

    def _drop_oldest(self, stream: int) -> None:
        chunk = self._chunks[stream].pop(0)
        self._costs[stream] -= chunk.cost()
        self._lost[stream] = chunk.order

    def shrink(self, limit: int) -> None:
        """Drop the oldest of each stream down to ``limit`` bytes each; readers are told."""
        for stream in (STDOUT, STDERR):
            while self._chunks[stream] and self._costs[stream] > limit:
                self._drop_oldest(stream)
            if self._last and self._last[0] == stream and not self._chunks[stream]:
                self._last = None
        self.wake()

    def wake(self) -> None:
        """Let readers look again: there is output, or the process changed state."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    async def changed(self, seconds: float) -> bool:
        """Wait for the next :meth:`wake`; False when ``seconds`` pass first."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            done, _ = await asyncio.wait({waiter}, timeout=seconds)
            return bool(done)
        finally:
            self._waiters.discard(waiter)

    def read(self, position: Position) -> tuple[int, bytes] | None:
        """The next output at a position, which moves on; None when there is no more yet."""
        while (found := self._chunk_at(position.order)) is not None:
            stream, chunk = found
            if chunk.order != position.order:
                position.order, position.offset = chunk.order, 0
            start, position.offset = position.offset, len(chunk.data)
            if start < position.offset:
                return stream, bytes(chunk.data[start:])
            if chunk.order + 1 >= self._next:  # the newest chunk may still grow
                return None
            position.order, position.offset = chunk.order + 1, 0
        return None

    def _chunk_at(self, order: int) -> tuple[int, Chunk] | None:
        best: tuple[int, Chunk] | None = None
        for stream, chunks in enumerate(self._chunks):
            index = bisect_left(chunks, order, key=lambda chunk: chunk.order)
            if index < len(chunks) and (best is None or chunks[index].order < best[1].order):
                best = (stream, chunks[index])
        return best

    def missed(self, position: Position) -> bool:
        """Whether output after the position was dropped; says so once per loss."""
        lost = max(self._lost)
        if lost <= position.told or lost < position.order:
            return False
        position.told = lost
        return True

    def tail(self, stream: int, limit: int) -> str:
        """The newest ``limit`` bytes of a stream as text, with a note when there was more."""
        parts: list[bytes] = []
        size = 0
        for chunk in reversed(self._chunks[stream]):
            if size >= limit:
                break
            parts.append(bytes(chunk.data))
            size += len(chunk.data)
        data = b"".join(reversed(parts))
        kept = sum(len(chunk.data) for chunk in self._chunks[stream]) if size >= limit else size
        cut = kept > limit or self._lost[stream] >= 0
        return (DROPPED if cut else "") + data[-limit:].decode("utf-8", "replace")


class LineSplitter:
    """Turns output into prefixed lines such as ``stdout:hello``.

    Lines are whole and depend only on the output itself, so that a reader who connects again
    sees the same lines. A line over ``limit`` bytes is split, never inside a UTF-8 character.
    """

    def __init__(self, limit: int = LINE_LIMIT, partial: tuple[bytes, bytes] = (b"", b"")) -> None:
        self._limit = limit
        self._partial = (bytearray(partial[0]), bytearray(partial[1]))

    def partial(self) -> tuple[bytes, bytes]:
        """What was fed of lines that are not complete, of each stream."""
        return bytes(self._partial[0]), bytes(self._partial[1])

    def feed(self, stream: int, data: bytes) -> bytes:
        """The lines that ``data`` completes, each with prefix and newline."""
        lines = bytearray()
        *whole, rest = data.split(b"\n")
        partial = self._partial[stream]
        for line in whole:
            partial += line
            self._split(stream, partial, lines)
            lines += self._line(stream, partial)
            partial.clear()
        partial += rest
        self._split(stream, partial, lines)
        return bytes(lines)

    def flush(self) -> bytes:
        """Lines that never got their newline."""
        lines = bytearray()
        for stream, partial in enumerate(self._partial):
            if partial:
                lines += self._line(stream, partial)
                partial.clear()
        return bytes(lines)

    def _split(self, stream: int, partial: bytearray, lines: bytearray) -> None:
        while len(partial) > self._limit:
            cut = self._limit
            while cut > self._limit - 4 and partial[cut] & 0xC0 == 0x80:
                cut -= 1
            lines += self._line(stream, partial[:cut])
            del partial[:cut]

    @staticmethod
    def _line(stream: int, line: bytearray) -> bytes:
        return b"%b:%b\n" % (NAMES[stream].encode(), bytes(line))
