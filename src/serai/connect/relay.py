"""Bytes between two connections: half-close and back-pressure both ways, nothing looked at."""

import asyncio
from typing import cast

_MOST_HELD = 256 * 1024


class Holding(asyncio.Protocol):
    """Keeps what a connection receives until somebody takes it over."""

    def __init__(self, data: bytes = b"") -> None:
        self._data = bytearray(data)
        self._transport: asyncio.Transport | None = None
        self.ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport, to stop a peer that sends too much."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Keep the data, and stop reading when there is too much."""
        self._data += data
        if self._transport is not None and len(self._data) > _MOST_HELD:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """Remember the half-close; the connection stays open for the other direction."""
        self.ended = True
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Remember that nothing more will come."""
        self.ended = True

    def take(self) -> bytes:
        """Everything received so far, once."""
        data, self._data = bytes(self._data), bytearray()
        return data


class Relay(asyncio.Protocol):
    """One end of a tunnel: what it receives is written to its peer, as fast as the peer reads."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._peer: Relay | None = None
        self._ended = False
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def join(self, peer: "Relay") -> None:
        """Connect both ends; call it before either reads."""
        self._peer, peer._peer = peer, self

    def data_received(self, data: bytes) -> None:
        """Pass the data on."""
        if self._peer is not None:
            self._peer._transport.write(data)

    def pause_writing(self) -> None:
        """Our reader is slow: let the peer's sender wait."""
        if self._peer is not None and not self._peer._ended:
            self._peer._transport.pause_reading()

    def resume_writing(self) -> None:
        """Our reader caught up."""
        if self._peer is not None and not self._peer._ended:
            self._peer._transport.resume_reading()

    def eof_received(self) -> bool:
        """Pass the half-close on; the tunnel ends when both directions have."""
        self._ended = True
        peer = self._peer
        if peer is None or peer._ended:
            self.close()
            return False
        if peer._transport.can_write_eof():
            peer._transport.write_eof()
            return True
        # TLS cannot be half-closed: the tunnel ends here.
        self.close()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Close the other end too; what is already written to it still goes out."""
        self._ended = True
        if self._peer is not None:
            self._peer._transport.close()
        if not self.finished.done():
            self.finished.set_result(None)

    def close(self) -> None:
        """Close both ends after their buffers went out."""
        self._transport.close()
        if self._peer is not None:
            self._peer._transport.close()
