"""HTTP/2 in the open, gRPC and its streams included: each stream is judged and passed on.

Bytes are confirmed to their sender only when they went on to the other side, so that a slow
reader slows its sender down and little is held here. What moves nothing (pings, settings, empty
frames, streams that are given up) is read in small pieces, between which others get their turn,
and only as fast as ``Gate.pace`` allows.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Any

import msgspec
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    InformationalResponseReceived,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from serai.egress.gate import REQUEST_ID, Gate, Refused, Request
from serai.egress.injection import Headers
from serai.egress.patterns import host_of
from serai.egress.streams import Stream

_MAX_STREAMS = 100
_STREAM_WINDOW = 1 << 20
_CONNECTION_WINDOW = 2 << 20
_MAX_HEADERS = 64 * 1024
_LEAST_READ, _MOST_READ = 4 * 1024, 64 * 1024
_HEAD = 512
"""Bytes of a request's or an answer's headers that count as moved."""
_BACK = 16
"""One byte for so many of data is for what belongs to them: frames, and windows on the way back."""
_GIVEN_UP = 1024
"""Bytes that a stream counts for which the client gives up: that of a request, and some more."""


class _Channel(msgspec.Struct):
    """One request: its numbers on both sides and what waits to be sent.

    Attributes:
        request: as it was admitted.
        ended: whether the request has no body.
        head, body: what is held back until the whole body is here, for its change.
        waiting: by side (0 client, 1 server), what that side's window does not take yet.
    """

    inner: int
    outer: int
    request: Request
    head: Headers
    ended: bool
    body: bytearray | None = None
    waiting: tuple["deque[bytes | None]", "deque[bytes | None]"] = msgspec.field(
        default_factory=lambda: (deque(), deque())
    )
    trailers: list[Headers | None] = msgspec.field(default_factory=lambda: [None, None])


class Http2:
    """The requests of one connection, all for one server.

    Args:
        gate: what decides.
        client: the side inside the sandbox.
        server: the side outside; ``None`` refuses every request.
        name: the only host that requests may name.
        secure: whether the server proved to be ``name``.
        refused: the reason, where ``server`` is ``None``.
    """

    def __init__(
        self,
        gate: Gate,
        client: Stream,
        server: Stream | None,
        *,
        name: str,
        port: int,
        secure: bool = True,
        refused: str = "",
    ) -> None:
        self._gate = gate
        self._streams = (client, server)
        self._name = name
        self._port = port
        self._secure = secure
        self._refused = refused
        self._sides = (_side(client=False), _side(client=True))
        self._by_inner: dict[int, _Channel] = {}
        self._by_outer: dict[int, _Channel] = {}

    async def run(self) -> None:
        """Serve until one side closes."""
        for side in self._sides[: 1 if self._streams[1] is None else 2]:
            side.initiate_connection()
            side.increment_flow_control_window(_CONNECTION_WINDOW)
        await self._flush()
        reading = [asyncio.create_task(self._read(0))]
        if self._streams[1] is not None:
            reading.append(asyncio.create_task(self._read(1)))
        try:
            await asyncio.wait(reading, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in reading:
                task.cancel()
            await asyncio.gather(*reading, return_exceptions=True)
            for channel in self._by_inner.values():
                self._let_go(channel)
            for stream in self._streams:
                if stream is not None:
                    stream.close()

    async def _read(self, which: int) -> None:
        stream, side, most = self._streams[which], self._sides[which], _LEAST_READ
        assert stream is not None
        try:
            while data := await stream.reader.read(most):
                idle = len(data)
                for event in side.receive_data(data):
                    if isinstance(event, ConnectionTerminated):
                        return
                    idle -= _moved(which, event)
                    self._handle(which, event)
                await self._flush()
                most = min(2 * most, _MOST_READ) if idle * 4 < len(data) else _LEAST_READ
                await asyncio.sleep(self._gate.pace.take(idle))
        except ProtocolError:
            pass
        await self._flush()

    async def _flush(self) -> None:
        for stream, side in zip(self._streams, self._sides, strict=True):
            if stream is not None and (data := side.data_to_send()):
                stream.writer.write(data)
        for stream in self._streams:
            if stream is not None:
                await stream.writer.drain()

    def _handle(self, which: int, event: Event) -> None:
        if isinstance(event, RequestReceived):
            self._open(event)
        elif isinstance(event, WindowUpdated):
            self._window(which, event.stream_id)
        elif (channel := self._channel(which, getattr(event, "stream_id", 0))) is not None:
            self._forward(which, channel, event)
        elif isinstance(event, DataReceived):
            self._sides[which].acknowledge_received_data(
                event.flow_controlled_length, event.stream_id
            )

    def _channel(self, which: int, number: int) -> _Channel | None:
        return (self._by_outer if which else self._by_inner).get(number)

    def _open(self, event: RequestReceived) -> None:
        number = event.stream_id or 0
        raw = _pairs(event.headers)
        pseudo = {name: value.decode("latin-1") for name, value in raw if name[:1] == b":"}
        headers = [each for each in raw if each[0][:1] != b":"]
        method = pseudo.get(b":method", "")
        authority = pseudo.get(b":authority") or dict(raw).get(b"host", b"").decode("latin-1")
        try:
            if self._streams[1] is None:
                raise Refused(self._refused)
            if host_of(authority) != self._name:
                self._answer(number, 421, "misdirected")
                return
            if method == "CONNECT":
                self._answer(number, 501, "unsupported")
                return
            target = pseudo.get(b":path", "/")
            request = self._gate.admit(
                authority, self._port, method, target, headers, secure=self._secure
            )
        except Refused as refused:
            self._answer(number, 403, refused.reason)
            return
        head = [each for each in raw if each[0][:1] == b":"]
        head += [(name.lower(), value) for name, value in request.headers]
        self._start(number, method, head, request, ended=event.stream_ended is not None)

    def _start(
        self, number: int, method: str, head: Headers, request: Request, *, ended: bool
    ) -> None:
        server = self._sides[1]
        if server.open_outbound_streams >= server.remote_settings.max_concurrent_streams:
            self._sides[0].reset_stream(number, ErrorCodes.REFUSED_STREAM)
            return
        channel = _Channel(number, 0, request, head, ended)
        self._by_inner[number] = channel
        if not ended and request.injection.wants_body(method, request.headers):
            channel.body = bytearray()
            return
        self._send_head(channel, ended=ended)

    def _send_head(self, channel: _Channel, *, ended: bool) -> None:
        server = self._sides[1]
        channel.outer = server.get_next_available_stream_id()
        self._by_outer[channel.outer] = channel
        server.send_headers(channel.outer, channel.head, end_stream=ended)

    def _forward(self, which: int, channel: _Channel, event: Event) -> None:
        other = 1 - which
        if isinstance(event, DataReceived):
            self._data(which, channel, event)
        elif isinstance(event, StreamEnded):
            if which == 0 and channel.body is not None:
                self._send_changed(channel)
            elif which == 1 or not channel.ended:
                channel.waiting[other].append(None)
                self._pump(other, channel)
        elif isinstance(event, TrailersReceived):
            channel.trailers[other] = _pairs(event.headers)
        elif isinstance(event, ResponseReceived):
            marks = [(REQUEST_ID, channel.request.id), *channel.request.injection.echoes]
            headers = [*_pairs(event.headers), *[(n.lower(), v) for n, v in marks]]
            ended = event.stream_ended is not None
            self._sides[0].send_headers(channel.inner, headers, end_stream=ended)
            if ended:
                self._forget(channel)
        elif isinstance(event, InformationalResponseReceived):
            self._sides[0].send_headers(channel.inner, _pairs(event.headers))
        elif isinstance(event, StreamReset):
            self._reset(other, channel, event)

    def _data(self, which: int, channel: _Channel, event: DataReceived) -> None:
        journal, data = self._gate.journal, event.data or b""
        if which == 0:
            journal.sent += len(data)
        else:
            journal.received += len(data)
        if which == 0 and channel.body is not None:
            channel.body += data
            self._gate.held += len(data)
            self._sides[0].acknowledge_received_data(event.flow_controlled_length, channel.inner)
            return
        padding = event.flow_controlled_length - len(data)
        if padding:
            self._acknowledge(which, channel, padding)
        if data:
            channel.waiting[1 - which].append(data)
            self._pump(1 - which, channel)

    def _send_changed(self, channel: _Channel) -> None:
        request = channel.request
        body = request.injection.body(bytes(channel.body or b""), request.headers)
        self._let_go(channel)
        channel.head = [each for each in channel.head if each[0] != b"content-length"]
        channel.head.append((b"content-length", str(len(body)).encode()))
        self._send_head(channel, ended=not body)
        if body:
            channel.waiting[1].extend((body, None))
            self._pump(1, channel)

    def _let_go(self, channel: _Channel) -> None:
        """Its body is held no more."""
        if channel.body is not None:
            self._gate.held -= len(channel.body)
            channel.body = None

    def _window(self, which: int, number: int | None) -> None:
        if number:
            channels = [self._channel(which, number)]
        else:
            channels = list((self._by_outer if which else self._by_inner).values())
        for channel in channels:
            if channel is not None:
                self._pump(which, channel)

    def _pump(self, which: int, channel: _Channel) -> None:
        """Send what waits for one side as far as its window allows."""
        side, number = self._sides[which], channel.outer if which else channel.inner
        waiting = channel.waiting[which]
        while waiting:
            data = waiting[0]
            if data is None:
                waiting.popleft()
                self._end(which, channel)
                return
            room = min(side.local_flow_control_window(number), side.max_outbound_frame_size)
            if room <= 0:
                return
            part, rest = data[:room], data[room:]
            side.send_data(number, part)
            self._acknowledge(1 - which, channel, len(part))
            if rest:
                waiting[0] = rest
            else:
                waiting.popleft()

    def _acknowledge(self, which: int, channel: _Channel, count: int) -> None:
        number = channel.outer if which else channel.inner
        try:
            self._sides[which].acknowledge_received_data(count, number)
        except ProtocolError:
            pass

    def _end(self, which: int, channel: _Channel) -> None:
        side, number = self._sides[which], channel.outer if which else channel.inner
        trailers = channel.trailers[which]
        if trailers is not None:
            side.send_headers(number, trailers, end_stream=True)
        else:
            side.end_stream(number)
        if which == 0:
            self._forget(channel)

    def _forget(self, channel: _Channel) -> None:
        self._by_inner.pop(channel.inner, None)
        if self._by_outer.pop(channel.outer, None) is not None and channel.waiting[1]:
            self._cancel(1, channel.outer, ErrorCodes.NO_ERROR)

    def _reset(self, other: int, channel: _Channel, event: StreamReset) -> None:
        self._let_go(channel)
        self._by_inner.pop(channel.inner, None)
        self._by_outer.pop(channel.outer, None)
        code = event.error_code if event.error_code is not None else ErrorCodes.CANCEL
        if number := channel.outer if other else channel.inner:
            self._cancel(other, number, code)

    def _cancel(self, which: int, number: int, code: ErrorCodes | int) -> None:
        try:
            self._sides[which].reset_stream(number, code)
        except ProtocolError:
            pass

    def _answer(self, number: int, status: int, reason: str) -> None:
        side = self._sides[0]
        headers = [
            (b":status", str(status).encode()),
            (b"proxy-error", reason.encode()),
            (b"content-length", b"0"),
        ]
        side.send_headers(number, headers, end_stream=True)


def _moved(which: int, event: Event) -> int:
    """Bytes that an event moves on; less than none for what should be rare."""
    if isinstance(event, DataReceived):
        return len(event.data or b"") * (_BACK + 1) // _BACK
    if isinstance(event, RequestReceived | ResponseReceived | TrailersReceived):
        return _HEAD
    if isinstance(event, StreamReset) and which == 0:
        return -_GIVEN_UP
    return 0


def _side(*, client: bool) -> H2Connection:
    side = H2Connection(H2Configuration(client_side=client, header_encoding=None))
    settings = {
        SettingCodes.INITIAL_WINDOW_SIZE: _STREAM_WINDOW,
        SettingCodes.MAX_CONCURRENT_STREAMS: _MAX_STREAMS,
        SettingCodes.MAX_HEADER_LIST_SIZE: _MAX_HEADERS,
    }
    if client:
        settings[SettingCodes.ENABLE_PUSH] = 0
    side.local_settings = Settings(client=client, initial_values=settings)
    return side


def _pairs(headers: Iterable[tuple[Any, Any]] | None) -> Headers:
    return [(bytes(name), bytes(value)) for name, value in headers or ()]
