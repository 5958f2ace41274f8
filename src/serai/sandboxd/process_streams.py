"""A process's output as it is made: as prefixed lines, or as events.

What a stream has sent so far can be handed to a later version of this API, which goes on there.
"""

import asyncio
import codecs
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec

from serai.sandboxd.handover import EventsGoing, LinesGoing
from serai.sandboxd.logs import DROPPED, STDERR, STDOUT, LineSplitter, Position
from serai.sandboxd.processes import Process
from serai.wire.sandbox_api import ExecEvent

EVENT_SIZE = 8 * 1024
"""Output bytes in one event of a streaming exec: its line stays under 64 KiB when escaped."""
_KINDS = ("stdout", "stderr")
_encode = msgspec.json.Encoder().encode
_decoder_of = codecs.getincrementaldecoder("utf-8")


class _Follower:
    """Output from a position to the end of the process.

    Args:
        keepalive: seconds of silence after which a piece is None.
    """

    def __init__(self, process: Process, keepalive: float, position: Position) -> None:
        self.process = process
        self.position = position
        self._keepalive = keepalive

    async def pieces(self) -> AsyncIterator[tuple[int, bytes] | None]:
        """Stream and bytes of each piece, from the oldest kept."""
        log, ended = self.process.log, self.process.ended
        while True:
            if log.missed(self.position):
                yield STDOUT, DROPPED.encode()
            is_over = ended.is_set()
            if (piece := log.read(self.position)) is not None:
                yield piece
            elif is_over:
                return
            elif not await log.changed(self._keepalive):
                yield None


class Lines:
    """Output as prefixed lines."""

    def __init__(self, process: Process, keepalive: float, going: LinesGoing | None = None) -> None:
        self._follower = _Follower(process, keepalive, Position(going.position if going else None))
        self._splitter = LineSplitter(partial=going.partial if going else (b"", b""))

    def carry(self, place: int) -> LinesGoing:
        """How far it came; ``place`` is that of the process."""
        position = self._follower.position.state()
        return LinesGoing(process=place, position=position, partial=self._splitter.partial())

    async def pieces(self) -> AsyncIterator[bytes]:
        """The lines, until the process has ended."""
        note = DROPPED.encode()
        async for piece in self._follower.pieces():
            if piece is None:
                yield b"[keepalive]\n"
            elif piece[1] == note:
                yield note
            else:
                yield self._splitter.feed(*piece)
        yield self._splitter.flush()


class Events:
    """Output as events, and at last how the process ended.

    Args:
        describe: gives the last event's content.
        waiting: ends when the process has started, with an error when it cannot any more.
    """

    def __init__(
        self,
        process: Process,
        keepalive: float,
        describe: Callable[[], str],
        waiting: Awaitable[None] | None = None,
        going: EventsGoing | None = None,
    ) -> None:
        self._follower = _Follower(process, keepalive, Position(going.position if going else None))
        self._describe = describe
        self._decoders = (_decoder_of("replace"), _decoder_of("replace"))
        for decoder, partial in zip(self._decoders, going.partial if going else (), strict=False):
            decoder.decode(partial)
        self._waiting = asyncio.ensure_future(waiting) if waiting is not None else None
        if self._waiting is not None:
            self._waiting.add_done_callback(lambda _: process.log.wake())

    def carry(self, place: int, ports: list[int], before: set[str]) -> EventsGoing:
        """How far it came; ``place`` is that of the process."""
        waiting = self._waiting
        waits = waiting is not None and not (waiting.done() and waiting.exception() is None)
        return EventsGoing(
            process=place,
            position=self._follower.position.state(),
            partial=(self._decoders[0].getstate()[0], self._decoders[1].getstate()[0]),
            ports=ports,
            before=sorted(before),
            waits=waits,
        )

    async def pieces(self) -> AsyncIterator[bytes]:
        """The events, one line of JSON each."""
        waiting = self._waiting
        try:
            async for piece in self._output():
                yield piece
            if waiting is None or waiting.done():
                yield event("result", self._describe())
        finally:
            if waiting is not None:
                waiting.cancel()

    async def _output(self) -> AsyncIterator[bytes]:
        waiting = self._waiting
        async for piece in self._follower.pieces():
            if waiting is not None and waiting.done() and (error := waiting.exception()):
                yield event("error", str(error))
                return
            if piece is None:
                yield event("keepalive")
                continue
            stream, data = piece
            for start in range(0, len(data), EVENT_SIZE):
                text = self._decoders[stream].decode(data[start : start + EVENT_SIZE])
                if text:
                    yield event(_KINDS[stream], text)
        for stream in (STDOUT, STDERR):
            if rest := self._decoders[stream].decode(b"", final=True):
                yield event(_KINDS[stream], rest)


def event(kind: str, data: str = "") -> bytes:
    """One event as a line."""
    return _encode(ExecEvent(type=kind, data=data)) + b"\n"


async def failure(message: str) -> AsyncIterator[bytes]:
    """The events of a command that could not be started."""
    yield event("error", message)
