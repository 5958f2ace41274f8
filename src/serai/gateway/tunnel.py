"""A WebSocket (or any upgraded connection) carried through as raw bytes."""

import asyncio
from collections.abc import Callable


class TunnelEnd(asyncio.Protocol):
    """Passes everything that arrives on one transport on to the other.

    Args:
        other: where the bytes go.
        over: called when this end's connection is gone.
        heard: called for what arrives first after ``listening`` was set.

    A half-close is passed on as one where the other transport can do that (TLS cannot); when
    ``peer``, the other end, is half-closed too, the tunnel is over.
    """

    def __init__(
        self, other: asyncio.Transport, over: Callable[[], None], heard: Callable[[], None]
    ) -> None:
        self.other = other
        self.over = over
        self.heard = heard
        self.listening = True
        self.peer: TunnelEnd = self
        self.ended = False

    def data_received(self, data: bytes) -> None:
        if self.listening:
            self.listening = False
            self.heard()
        if not self.other.is_closing():
            self.other.write(data)

    def eof_received(self) -> bool:
        self.ended = True
        if self.peer.ended and self.peer is not self:
            return False
        if self.other.is_closing() or not self.other.can_write_eof():
            return False
        self.other.write_eof()
        return True

    def pause_writing(self) -> None:
        self.other.pause_reading()

    def resume_writing(self) -> None:
        if not self.other.is_closing():
            self.other.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.over()
