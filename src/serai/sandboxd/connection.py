"""One client's connection: requests of HTTP/1.1 in turn, with httptools as the parser.

Requests of one connection are served one after the other, so pipelining is safe. Bodies are
read on demand: while a handler does not read, the socket is paused. While a client does not
read, the handler waits in ``write``. There is no idle timeout: the only client is the gateway
behind a Unix socket, and a timer that fires after a long freeze would cut a request that is
just arriving.
"""

import asyncio
import contextlib
import sys
import traceback
from collections import deque
from collections.abc import MutableSet

import httptools

from serai.kernel.errors import BadRequest, SeraiError
from serai.sandboxd.errors import HeadersTooLarge
from serai.sandboxd.handover import ConnectionState, RequestState
from serai.sandboxd.http import (
    JSON_TYPE,
    Answer,
    Handler,
    Response,
    Stream,
    Upgrade,
    encode_error,
    error_answer,
    head,
)
from serai.sandboxd.requests import Disconnected, Request, hung_up

HEADER_LIMIT = 256 * 1024
"""Bytes of request line and headers together."""
HANGUP_SECONDS = 1.0
"""How often a connection whose client sends no more is checked for being dead."""
BODY_HIGH_WATER = 1024 * 1024
"""Unread body bytes after which the socket is paused."""
Transports = MutableSet[asyncio.Transport]


class Connection(asyncio.Protocol):
    """One client connection; calls ``handler`` for each request in turn.

    Args:
        known: where its transport is noted, for whoever wants to know all that are open.
    """

    def __init__(self, handler: Handler, known: Transports | None = None) -> None:
        self._handler = handler
        self._known = known
        self._parser = httptools.HttpRequestParser(self)
        self._request: Request | None = None
        self._waiting: deque[Request] = deque()
        self._task: asyncio.Task[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._writable = True
        self._reading = True
        self._eof = False
        self._switching = False
        self._header_bytes = 0
        self._active: Request | None = None
        self._answering = False
        self.closed = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self._known is not None:
            self._known.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.resume_writing()
        if self._request is not None:
            self._request.finish()
        if self._task is not None:
            self._task.cancel()

    def eof_received(self) -> bool:
        """A client may close its half after sending: what it asked for is still answered."""
        self._eof = True
        busy = self._task is not None and self._request is None
        if not busy and self._task is not None:
            self._task.cancel()
        if busy:
            self._check_hangup()
        return busy

    def _check_hangup(self) -> None:
        """Tell a client that closed its half from one that is gone; nobody waits for the latter."""
        if self.closed or self.transport.get_protocol() is not self:
            return
        if hung_up(self.transport):
            self.transport.abort()
        else:
            asyncio.get_running_loop().call_later(HANGUP_SECONDS, self._check_hangup)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._switch(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            cause = error.__context__
            if isinstance(cause, HeadersTooLarge):
                self._refuse(cause.status, cause.message)
            else:
                self._refuse(400, f"malformed HTTP request: {error}")
        self.update_reading()

    def _switch(self, rest: bytes) -> None:
        """The newest request asks for another protocol; ``rest`` is that protocol's already."""
        request = self._waiting[-1] if self._waiting else None
        if request is None or request.headers.get("upgrade", "").lower() != "websocket":
            self._refuse(400, "protocol upgrade is not supported here, only to 'websocket'")
            return
        self._switching = request.upgrade = True
        request.trailing, request.keep_alive = rest, False

    def on_message_begin(self) -> None:
        self._request = Request(self)
        self._header_bytes = 0

    def on_url(self, url: bytes) -> None:
        assert self._request is not None
        self._count(len(url))
        self._request.add_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        assert self._request is not None
        self._count(len(name) + len(value))
        self._request.headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > HEADER_LIMIT:
            raise HeadersTooLarge(f"request line and headers are over {HEADER_LIMIT} bytes")

    def on_headers_complete(self) -> None:
        request = self._request
        assert request is not None
        request.knows_chunks = self._parser.get_http_version() != "1.0"
        request.begin(self._parser.get_method().decode(), self._parser.should_keep_alive())
        self._waiting.append(request)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._serve())

    def on_body(self, body: bytes) -> None:
        assert self._request is not None
        self._request.feed(body)

    def on_message_complete(self) -> None:
        assert self._request is not None
        self._request.finish()
        self._request = None

    def allow_body(self, request: Request) -> None:
        """The handler wants the body: tell a client that waits for leave to send it."""
        if request.expects_continue:
            request.expects_continue = False
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.update_reading()

    def update_reading(self) -> None:
        """Pause the socket while enough is buffered, resume it when there is room."""
        buffered = self._request.buffered if self._request else 0
        wanted = buffered < BODY_HIGH_WATER and len(self._waiting) < 2 and not self._switching
        if self.closed or self._eof or wanted == self._reading or self.transport.is_closing():
            return
        self._reading = wanted
        if wanted:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    async def write(self, data: bytes) -> None:
        """Send bytes; returns when the client has taken enough of them.

        Raises:
            Disconnected: when the client is gone.
        """
        if self.closed or self.transport.is_closing():
            raise Disconnected
        self._answering = True
        self.transport.write(data)
        while not self._writable and not self.closed:
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained
            self._drained = None

    def _refuse(self, status: int, message: str) -> None:
        if self.closed or self.transport.is_closing():
            return
        if self._active is None:
            body = encode_error(message)
            tail = f"Content-Length: {len(body)}\r\nConnection: close\r\n".encode()
            self.transport.write(head(status, JSON_TYPE, {}, tail) + body)
        self.transport.close()

    def interrupt(self, why: str) -> None:
        """Come to an end now: what has no answer yet gets 503, and what has half of one is cut."""
        if self.closed or self.transport.is_closing() or self.transport.get_protocol() is not self:
            return
        if self._active is not None and not self._answering:
            self._active = None
            self._refuse(503, why)
        self.transport.close()
        if self._task is not None:
            self._task.cancel()

    async def _serve(self) -> None:
        keep = True
        try:
            while keep and self._waiting and not self.closed:
                request = self._active = self._waiting.popleft()
                self._answering = request.begun
                keep = await self._serve_one(request)
                self._active = None
                self.update_reading()
        except (Disconnected, asyncio.CancelledError):
            keep = False
        except Exception:
            traceback.print_exc(file=sys.stderr)
            self.transport.abort()
        self._task = self._active = None
        if self.transport.get_protocol() is self and (not keep or self._eof or self.closed):
            self.transport.close()

    async def _serve_one(self, request: Request) -> bool:
        answer = await self._answer(request)
        if request.expects_continue:  # it may now send the body or not: do not guess
            request.keep_alive = False
        if isinstance(answer, Upgrade):
            await self._hand_over(request, answer)
            return False
        if isinstance(answer, Stream):
            await self._send_stream(request, answer)
        else:
            await self._send(request, answer)
        await self._drain(request)
        return request.keep_alive

    async def _hand_over(self, request: Request, answer: Upgrade) -> None:
        await self.write(head(101, None, answer.headers, b"Connection: Upgrade\r\n"))
        transport, protocol = self.transport, answer.protocol
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if request.trailing:
            protocol.data_received(request.trailing)
        if not transport.is_closing():
            transport.resume_reading()

    async def _answer(self, request: Request) -> Answer:
        try:
            return await self._handler(request)
        except SeraiError as error:
            return error_answer(error)
        except (Disconnected, asyncio.CancelledError):
            raise
        except RecursionError:
            return error_answer(BadRequest("invalid request body: it is nested too deeply"))
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            return Response(encode_error(f"internal error: {error}"), 500)

    async def _send(self, request: Request, answer: Response) -> None:
        bodiless = answer.status == 204 or answer.status == 304
        tail = b"" if bodiless else b"Content-Length: %d\r\n" % len(answer.body)
        start = head(
            answer.status, answer.content_type, answer.headers, tail + self._closing(request)
        )
        await self.write(start if request.method == "HEAD" else start + answer.body)

    @staticmethod
    def _closing(request: Request) -> bytes:
        return b"" if request.keep_alive else b"Connection: close\r\n"

    async def _send_stream(self, request: Request, answer: Stream) -> None:
        chunked = answer.length is None and request.knows_chunks
        tail = b"Transfer-Encoding: chunked\r\n" if chunked else b""
        if answer.length is None and not chunked:  # the end of the connection ends the body
            request.keep_alive = False
        if answer.length is not None:
            tail = b"Content-Length: %d\r\n" % answer.length
        start = head(
            answer.status, answer.content_type, answer.headers, tail + self._closing(request)
        )
        try:
            if not request.begun:
                await self.write(start)
            request.begun = True
            await self._send_pieces(answer, chunked)
        except (Disconnected, asyncio.CancelledError):
            raise
        except Exception:
            # The status line is gone: a cut connection is the only honest sign of failure left.
            traceback.print_exc(file=sys.stderr)
            self.transport.abort()
            raise Disconnected from None
        finally:
            if answer.release is not None:
                answer.release()

    async def _send_pieces(self, answer: Stream, chunked: bool) -> None:
        sent = 0
        async with contextlib.aclosing(answer.pieces) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                sent += len(piece)
                if piece:
                    await self.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        if chunked:
            await self.write(b"0\r\n\r\n")
        elif answer.length is not None and sent != answer.length:
            raise OSError(f"body ended after {sent} of {answer.length} bytes")

    @staticmethod
    async def _drain(request: Request) -> None:
        """Skip what the handler left of the body, so that the client gets to read the answer."""
        while not request.complete and not request.expects_continue:
            await request.read_chunk()

    def carry(self) -> ConnectionState | None:
        """All there is to know for going on in a successor; None while that is impossible."""
        half_way = self._request is not None or self._waiting or self._eof
        if half_way or self._drained is not None or self.transport.get_write_buffer_size():
            return None
        state = ConnectionState(fd=self.transport.get_extra_info("socket").fileno())
        if self._task is None:
            return state
        request = self._active
        if request is None or request.carry is None or not request.complete:
            return None
        state.request = RequestState(
            method=request.method,
            target=request.target,
            headers=request.headers,
            keep_alive=request.keep_alive,
            knows_chunks=request.knows_chunks,
            begun=request.begun,
            going=request.carry(),
        )
        return state

    def go_on(self, state: RequestState) -> None:
        """Answer what a predecessor began to answer."""
        request = Request(self)
        request.add_url(state.target.encode("latin-1"))
        request.headers, request.knows_chunks = state.headers, state.knows_chunks
        request.begin(state.method, state.keep_alive)
        request.expects_continue = False
        request.begun, request.going = state.begun, state.going
        request.finish()
        self._waiting.append(request)
        self._task = asyncio.get_running_loop().create_task(self._serve())
