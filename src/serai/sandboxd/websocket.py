"""WebSocket (RFC 6455), the server's side: handshake, frames, and one connection."""

import asyncio
import base64
import hashlib
from collections.abc import Iterator
from typing import Protocol

import msgspec

from serai.kernel.errors import BadRequest
from serai.sandboxd.handover import ViewerState
from serai.sandboxd.requests import Request, hung_up

MESSAGE_LIMIT = 1024 * 1024
"""Bytes of one message from a client, all its fragments together."""
HELD_LIMIT = 16 * MESSAGE_LIMIT
"""Bytes of unfinished messages, of all clients together."""
CONTROL_LIMIT = 125
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
NORMAL, PROTOCOL_ERROR, TOO_BIG, TRY_LATER = 1000, 1002, 1009, 1013
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY_BYTES = 16


class Violation(Exception):
    """A client broke the protocol; ``code`` is that of the close frame it gets."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Message(msgspec.Struct, frozen=True):
    """A whole message, or a control frame."""

    opcode: int
    data: bytes


def accept_key(request: Request) -> str:
    """The ``Sec-WebSocket-Accept`` of a handshake (RFC 6455, section 4.2.2).

    Raises:
        BadRequest: when the request is no WebSocket handshake.
    """
    if not request.upgrade:
        raise BadRequest("Bad Request: connect with a WebSocket client")
    if request.headers.get("sec-websocket-version") != "13":
        raise BadRequest("Sec-WebSocket-Version: only version 13 is spoken here")
    key = request.headers.get("sec-websocket-key", "")
    try:
        right = len(base64.b64decode(key, validate=True)) == _KEY_BYTES
    except ValueError:
        right = False
    if not right:
        raise BadRequest("Sec-WebSocket-Key: 16 bytes in base64 are required")
    digest = hashlib.sha1(key.encode() + _MAGIC, usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


def frame(opcode: int, data: bytes) -> bytes:
    """One unmasked, final frame."""
    size = len(data)
    if size <= CONTROL_LIMIT:
        return bytes((0x80 | opcode, size)) + data
    if size < 1 << 16:
        return bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big") + data
    return bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big") + data


def unmask(data: bytes, mask: bytes) -> bytes:
    """Apply a four-byte mask; doing it twice gives the data back."""
    size = len(data)
    key = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
    return (int.from_bytes(data, "big") ^ key).to_bytes(size, "big")


class FrameReader:
    """Turns a client's bytes, in whatever pieces they come, into messages."""

    def __init__(
        self,
        limit: int = MESSAGE_LIMIT,
        buffer: bytes = b"",
        parts: bytes = b"",
        opcode: int = CONTINUATION,
    ) -> None:
        self._limit = limit
        self._buffer = bytearray(buffer)
        self._parts = bytearray(parts)
        self._opcode = opcode

    def rest(self) -> tuple[bytes, bytes, int]:
        """What was fed of a message that is not complete: frame, earlier fragments, their kind."""
        return bytes(self._buffer), bytes(self._parts), self._opcode

    @property
    def held(self) -> int:
        """Bytes of a message that is not complete."""
        return len(self._buffer) + len(self._parts)

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that ``data`` completes.

        Raises:
            Violation: when the client broke the protocol; nothing more may be fed then.
        """
        self._buffer += data
        while (found := self._next_frame()) is not None:
            message = self._assemble(*found)
            if message is not None:
                yield message

    def _next_frame(self) -> tuple[bool, int, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        final, opcode, size = bool(buffer[0] & 0x80), buffer[0] & 0x0F, buffer[1] & 0x7F
        self._check(buffer[0], buffer[1], size)
        start = 2 + {126: 2, 127: 8}.get(size, 0)
        if len(buffer) < start:
            return None
        if start > 2:
            size = int.from_bytes(buffer[2:start], "big")
        if size + len(self._parts) > self._limit:
            raise Violation(TOO_BIG, f"a message may have {self._limit} bytes")
        if len(buffer) < start + 4 + size:
            return None
        mask = bytes(buffer[start : start + 4])
        payload = unmask(bytes(buffer[start + 4 : start + 4 + size]), mask)
        del buffer[: start + 4 + size]
        return final, opcode, payload

    def _check(self, first: int, second: int, size: int) -> None:
        opcode = first & 0x0F
        if first & 0x70:
            raise Violation(PROTOCOL_ERROR, "reserved bits are set, no extension was agreed on")
        if not second & 0x80:
            raise Violation(PROTOCOL_ERROR, "frames of a client must be masked")
        if opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
            raise Violation(PROTOCOL_ERROR, f"unknown opcode {opcode}")
        if opcode >= CLOSE and (not first & 0x80 or size > CONTROL_LIMIT):
            raise Violation(PROTOCOL_ERROR, "control frames must be short and whole")
        if opcode < CLOSE and (opcode == CONTINUATION) != (self._opcode != CONTINUATION):
            raise Violation(PROTOCOL_ERROR, "fragments of a message are out of order")

    def _assemble(self, final: bool, opcode: int, payload: bytes) -> Message | None:
        if opcode >= CLOSE:
            return Message(opcode, payload)
        self._opcode = self._opcode or opcode
        self._parts += payload
        if not final:
            return None
        message = Message(self._opcode, bytes(self._parts))
        self._opcode = CONTINUATION
        self._parts.clear()
        return message


class Endpoint(Protocol):
    """What a WebSocket talks to."""

    def opened(self, socket: "WebSocket") -> None:
        """The handshake is done."""

    def received(self, data: bytes) -> None:
        """A text or binary message."""

    def writable(self) -> None:
        """The client has taken enough to be sent more."""

    def left(self) -> None:
        """The connection is over."""

    def state(self) -> ViewerState | None:
        """What a later version of this API needs for going on, if it can."""


class Held:
    """What unfinished messages of many clients take in memory."""

    def __init__(self) -> None:
        self.bytes = 0


class WebSocket(asyncio.Protocol):
    """One connection after its handshake. ``is_writable`` is False while the client lags.

    Args:
        held: shared by all connections; over ``HELD_LIMIT`` who sends more is turned away.
    """

    def __init__(self, endpoint: Endpoint, held: Held, frames: FrameReader | None = None) -> None:
        self._endpoint = endpoint
        self._frames = frames or FrameReader()
        self._held = held
        self._own = 0
        self._transport: asyncio.Transport | None = None
        self._closing = False
        self.is_writable = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._endpoint.opened(self)

    def data_received(self, data: bytes) -> None:
        try:
            for message in self._frames.feed(data):
                if self._closing:
                    return
                self._take(message)
        except Violation as violation:
            self.close(violation.code, violation.reason)
        self._hold(self._frames.held)
        if self._held.bytes > HELD_LIMIT:
            self.close(TRY_LATER, "too many messages are unfinished")

    def _hold(self, size: int) -> None:
        self._held.bytes += size - self._own
        self._own = size

    def _take(self, message: Message) -> None:
        if message.opcode == CLOSE:
            self.close()
        elif message.opcode == PING and self.is_writable:
            self._write(frame(PONG, message.data))
        elif message.opcode in (TEXT, BINARY):
            self._endpoint.received(message.data)

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def send(self, text: bytes) -> None:
        """Send one text message; the caller minds :attr:`is_writable`."""
        if not self._closing:
            self._write(frame(TEXT, text))

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Say why, and end the connection."""
        if self._closing or self._transport is None:
            return
        self._closing = True
        text = reason.encode()[: CONTROL_LIMIT - 2]
        self._write(frame(CLOSE, code.to_bytes(2, "big") + text))
        self._transport.close()

    def pause(self) -> None:
        """Take nothing more from the client for now."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Take what the client sends again."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def abort_if_hung_up(self) -> None:
        """Notice a client that went away while it was paused or could not be written to."""
        if self._transport is not None and hung_up(self._transport):
            self._transport.abort()

    def pause_writing(self) -> None:
        self.is_writable = False

    def resume_writing(self) -> None:
        self.is_writable = True
        self._endpoint.writable()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self._hold(0)
        self._endpoint.left()

    def carry(self) -> ViewerState | None:
        """All there is to know for going on in a successor; None while that is impossible."""
        transport = self._transport
        if transport is None or self._closing or transport.get_write_buffer_size():
            return None
        state = self._endpoint.state()
        if state is not None:
            state.fd = transport.get_extra_info("socket").fileno()
            state.buffer, state.parts, state.opcode = self._frames.rest()
        return state
