"""HTTP/1 in the open: every request is judged, changed and passed on, one after the other."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import cast
from urllib.parse import urlsplit

import h11

from serai.egress.gate import REQUEST_ID, Gate, Refused, Request
from serai.egress.injection import Headers
from serai.egress.streams import READ_SIZE, Stream, splice
from serai.egress.upstreams import Unreachable

_HEAD_SECONDS = 60.0
_IDLE_SECONDS = 120.0
_MAX_HEAD = 64 * 1024

Connect = Callable[[str, int], Awaitable[Stream]]
"""Opens a connection to a host and port, or raises ``Unreachable`` or ``Refused``."""


class _End:
    """One side: bytes and what HTTP makes of them."""

    def __init__(self, stream: Stream, role: type[h11.CLIENT] | type[h11.SERVER]) -> None:
        self.stream = stream
        self.http = h11.Connection(role, max_incomplete_event_size=_MAX_HEAD)

    async def next(self, seconds: float | None = None) -> h11.Event:
        """The next event; bytes are read as they are needed."""
        while True:
            event = self.http.next_event()
            if event is not h11.NEED_DATA:
                return cast(h11.Event, event)
            async with asyncio.timeout(seconds):
                self.http.receive_data(await self.stream.reader.read(READ_SIZE))

    async def send(self, event: h11.Event) -> None:
        """Write an event."""
        data = self.http.send(event)
        if data:
            self.stream.writer.write(data)
            await self.stream.writer.drain()


class Http1:
    """The requests of one connection.

    Args:
        gate: what decides.
        stream: the client's side.
        connect: how to reach a host.
        port: where requests go unless they say otherwise.
        name: the only host they may name (the one of the certificate); any when empty.
        address: what a request without a host is for.
        first: a connection that is there already, for ``name``.
    """

    def __init__(
        self,
        gate: Gate,
        stream: Stream,
        connect: Connect,
        port: int,
        *,
        name: str = "",
        address: str = "",
        first: Stream | None = None,
    ) -> None:
        self._gate = gate
        self._client = _End(stream, h11.SERVER)
        self._connect = connect
        self._port = port
        self._name = name
        self._address = address
        self._secure = bool(name)
        self._upstream = _End(first, h11.CLIENT) if first else None
        self._reached = (name, port) if first else ("", 0)

    async def run(self) -> None:
        """Serve until one side closes."""
        try:
            while await self._serve_one():
                self._client.http.start_next_cycle()
        except h11.RemoteProtocolError as error:
            await self._answer_problem(error.error_status_hint, f"{error}\n")
        except h11.LocalProtocolError:  # its text may quote what was added to the request
            await self._answer_problem(502, "The request could not be passed on.\n")
        finally:
            if self._upstream is not None:
                self._upstream.stream.close()

    async def _serve_one(self) -> bool:
        try:
            event = await self._client.next(_IDLE_SECONDS)
        except TimeoutError:
            return False
        if not isinstance(event, h11.Request):
            return False
        names = {name.lower() for name, _ in event.headers}
        if {b"content-length", b"transfer-encoding"} <= names:
            await self._answer(400, "malformed", b"The length is given in two ways.\n")
            return False
        if event.method == b"CONNECT":
            await self._answer(501, "unsupported", b"This is no proxy.\n")
            return False
        host, port, target = self._destination(event)
        method = event.method.decode("ascii")
        if self._name and host.rpartition(":")[0] != self._name and host != self._name:
            await self._answer(421, "misdirected", b"This connection is for another host.\n")
            return False
        try:
            request = self._gate.admit(
                host, port, method, target, event.headers.raw_items(), secure=self._secure
            )
            upstream = await self._reach(request.host, port)
        except Refused as refused:
            await self._answer(403, refused.reason, b"Blocked by the network rules.\n")
            return False
        except Unreachable as problem:
            await self._answer(502, "unreachable", f"{problem}\n".encode())
            return False
        return await self._exchange(event, target, request, upstream)

    def _destination(self, event: h11.Request) -> tuple[str, int, str]:
        """Host, port and origin-form target of a request."""
        target = event.target.decode("latin-1")
        if not target.startswith("/") and "://" in target:
            parts = urlsplit(target)
            path = parts.path or "/"
            origin_form = f"{path}?{parts.query}" if parts.query else path
            return parts.hostname or "", _port_of(parts.netloc, 80), origin_form
        named = dict(event.headers).get(b"host", b"").decode("latin-1").strip().lower()
        return named or self._name or self._address, self._port, target

    async def _reach(self, host: str, port: int) -> _End:
        """The upstream connection for ``host``; the same one as long as requests name the same."""
        upstream = self._upstream
        if upstream is not None and self._reached == (host, port):
            if upstream.http.our_state is h11.DONE and upstream.http.their_state is h11.DONE:
                upstream.http.start_next_cycle()
            if upstream.http.our_state is h11.IDLE and not upstream.stream.reader.at_eof():
                return upstream
        if upstream is not None:
            upstream.stream.close()
            self._upstream = None
        self._upstream = _End(await self._connect(host, port), h11.CLIENT)
        self._reached = (host, port)
        return self._upstream

    async def _exchange(
        self, event: h11.Request, target: str, request: Request, upstream: _End
    ) -> bool:
        method = event.method.decode("ascii")
        headers = request.headers
        body: bytes | None = None
        if request.injection.wants_body(method, headers):
            body = request.injection.body(await self._whole_body(event), headers)
            headers = [each for each in headers if each[0].lower() != b"content-length"]
            headers.append((b"Content-Length", str(len(body)).encode()))
        sending = asyncio.create_task(
            self._send(h11.Request(method=method, target=target, headers=headers), body, upstream)
        )
        try:
            return await self._receive(request, upstream, sending)
        finally:
            sending.cancel()
            with contextlib.suppress(Exception, asyncio.CancelledError):
                await sending

    async def _whole_body(self, event: h11.Request) -> bytes:
        if dict(event.headers).get(b"expect", b"").lower() == b"100-continue":
            await self._client.send(h11.InformationalResponse(status_code=100, headers=[]))
        data = bytearray()
        try:
            while isinstance(part := await self._client.next(_HEAD_SECONDS), h11.Data):
                data += part.data
                self._gate.held += len(part.data)
        finally:
            self._gate.held -= len(data)
        return bytes(data)

    async def _send(self, head: h11.Request, body: bytes | None, upstream: _End) -> None:
        await upstream.send(head)
        if body is not None:
            await upstream.send(h11.Data(data=body))
            await upstream.send(h11.EndOfMessage())
            return
        while isinstance(part := await self._client.next(), h11.Data):
            self._gate.journal.sent += len(part.data)
            await upstream.send(part)
        if isinstance(part, h11.EndOfMessage):
            await upstream.send(part)
        elif isinstance(part, h11.ConnectionClosed):
            upstream.stream.close()

    async def _receive(
        self, request: Request, upstream: _End, sending: "asyncio.Task[None]"
    ) -> bool:
        while True:
            event = await upstream.next()
            if isinstance(event, h11.InformationalResponse):
                await self._client.send(event)
                if event.status_code == 101:
                    await self._switch(upstream)
                    return False
            elif isinstance(event, h11.Response):
                marks = [(REQUEST_ID, request.id), *request.injection.echoes]
                headers = [*event.headers.raw_items(), *marks]
                await self._client.send(
                    h11.Response(
                        status_code=event.status_code, headers=headers, reason=event.reason
                    )
                )
                if upstream.http.their_state is h11.SWITCHED_PROTOCOL:
                    await self._switch(upstream)
                    return False
            elif isinstance(event, h11.Data):
                self._gate.journal.received += len(event.data)
                await self._client.send(event)
            elif isinstance(event, h11.EndOfMessage):
                await self._client.send(event)
                done = await _soon(sending)
                return done and self._client.http.their_state is h11.DONE
            else:
                return False

    async def _switch(self, upstream: _End) -> None:
        """Both sides speak something else from here on, such as WebSocket."""
        left, _ = self._client.http.trailing_data
        right, _ = upstream.http.trailing_data
        upstream.stream.writer.write(left)
        self._client.stream.writer.write(right)
        await splice(self._client.stream, upstream.stream, self._gate.journal)

    async def _answer_problem(self, status: int, text: str) -> None:
        if self._client.http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            await self._answer(status, "malformed", text.encode())

    async def _answer(self, status: int, reason: str, body: bytes) -> None:
        """An answer of our own, after which the connection ends."""
        headers: Headers = [
            (b"Content-Type", b"text/plain; charset=utf-8"),
            (b"Content-Length", str(len(body)).encode()),
            (b"Connection", b"close"),
            (b"Proxy-Error", reason.encode()),
        ]
        with contextlib.suppress(OSError, h11.LocalProtocolError):
            await self._client.send(h11.Response(status_code=status, headers=headers))
            await self._client.send(h11.Data(data=body))
            await self._client.send(h11.EndOfMessage())


async def _soon(task: "asyncio.Task[None]") -> bool:
    """Whether the request went out whole; a moment is given, as the answer may overtake its end."""
    done, _ = await asyncio.wait({task}, timeout=1.0)
    return bool(done) and task.exception() is None


def _port_of(netloc: str, default: int) -> int:
    _, _, port = netloc.rpartition("@")[2].rpartition(":")
    return int(port) if port.isdigit() and int(port) < 65536 else default
