"""The server's HTTP protocol: gateway requests are handled here, the rest goes to the ASGI app.

Give ``gateway_protocol(gateway)`` to ``uvicorn.Config(http=…)``. One connection may mix both
kinds of request and may pipeline them: answers come in the order of the requests, because a
request starts only when the one before it has been answered.
"""

import asyncio
from collections import deque
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from serai.gateway.exchange import Exchange
from serai.gateway.gateway import Gateway
from serai.gateway.hosting import HostedExchange
from serai.gateway.models import ModelExchange
from serai.gateway.problems import HeadersTooLarge, RequestTimeout, UriTooLong, render
from serai.gateway.request import Nobody, Request
from serai.gateway.sandboxes import SandboxExchange
from serai.gateway.targets import Target, origin_form, split
from serai.gateway.tunnel import TunnelEnd
from serai.kernel.errors import BadRequest, MethodNotAllowed, SeraiError

_EXCHANGES: dict[bytes, type[Exchange]] = {
    b"sandboxes": SandboxExchange,
    b"models": ModelExchange,
}
_BODY_HIGH_WATER = 64 * 1024


class _Ignored(list[tuple[bytes, bytes]]):
    """Swallows trailer fields."""

    def append(self, field: tuple[bytes, bytes]) -> None: ...


class AsgiSink:
    """Feeds a request's body to the ASGI app."""

    __slots__ = ("cycle", "flow")

    def __init__(self, cycle: RequestResponseCycle, flow: Any) -> None:
        self.cycle = cycle
        self.flow = flow

    def body(self, data: bytes) -> None:
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.body += data
            if len(cycle.body) > _BODY_HIGH_WATER:
                self.flow.pause_reading()
            cycle.message_event.set()

    def end(self) -> None:
        if not self.cycle.response_complete:
            self.cycle.more_body = False
            self.cycle.message_event.set()

    def lost(self) -> None: ...

    def client_full(self) -> None: ...

    def client_ready(self) -> None: ...

    def tick(self, now: float) -> None: ...


class GatewayProtocol(HttpToolsProtocol):
    """One client connection; ``gateway`` is set by the subclass that ``gateway_protocol`` makes.

    Works over any stream transport; after ``start_tls`` call ``connection_made`` of a fresh one
    with the new transport.
    """

    gateway: Gateway

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.url = b""
        self.client_address = b"unknown"
        self._fields: list[tuple[bytes, bytes]] = []
        self._head: list[tuple[bytes, bytes]] = []
        self._incoming: Request | None = None
        self._active: Request | None = None
        self._queue: deque[Request] = deque()
        self._pumping = False
        self._last = False
        """No request after the current ones is handled any more."""
        self._tunnel: TunnelEnd | None = None
        self._detached = False
        self._mark = 0.0
        """When the current wait (for a request, its headers, or a dropped body) began."""
        self._read = 0
        self._before = 0
        """Size of the read in which the current head began."""
        self._fed = 0
        """Bytes read since then."""
        self._fresh = True
        self._drain: asyncio.Future[None] | None = None

    # -- the connection
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.client_address = self.client[0].encode() if self.client else b"unknown"
        self._mark = self.loop.time()
        self.gateway.watch(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.gateway.unwatch(self)
        waiting, self._active = self._active, None
        self._queue.clear()
        if self._drain is not None and not self._drain.done():
            self._drain.set_result(None)
        tunnel, self._tunnel = self._tunnel, None
        if tunnel is not None:
            tunnel.connection_lost(exc)
        if waiting is not None and waiting.sink is not None:
            waiting.sink.lost()
        super().connection_lost(exc)

    def eof_received(self) -> bool | None:  # type: ignore[override]
        return None if self._tunnel is None else self._tunnel.eof_received()

    def data_received(self, data: bytes) -> None:
        if self._tunnel is not None:
            self._tunnel.data_received(data)
            return
        upgrading = self._incoming
        if upgrading is not None and upgrading.switching and upgrading.complete:
            self._keep_trailing(upgrading, data)
            return
        if self._detached or self.parser is None:
            return
        self._read = len(data)
        self._fed += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._switch(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._malformed()
        if self._queue:
            self.flow.pause_reading()
        elif self._fields is self._head and self._fed > self.gateway.limits.header_bytes:
            self._refuse(self._headers_too_large())

    def pause_writing(self) -> None:
        self.flow.pause_writing()
        if self._tunnel is not None:
            self._tunnel.pause_writing()
        elif self._active is not None and self._active.sink is not None:
            self._active.sink.client_full()

    def resume_writing(self) -> None:
        self.flow.resume_writing()
        if self._tunnel is not None:
            self._tunnel.resume_writing()
        elif self._active is not None and self._active.sink is not None:
            self._active.sink.client_ready()

    # -- the parser's callbacks
    def on_message_begin(self) -> None:
        self.url = b""
        self._head = self._fields = []
        self._mark = self.loop.time()
        self._fed = 0
        self._before = self._read
        self._fresh = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        parser = self.parser
        method = parser.get_method()
        request = Request(
            method,
            self.url if self.url[:1] == b"/" else origin_form(self.url),
            self._head,
            http11=True,
            keep_alive=parser.should_keep_alive(),
        )
        self._fields = _Ignored()
        self._incoming = request
        if self._last:
            request.sink = Nobody()
            return
        if parser.get_http_version() != "1.1":
            request.http11 = request.keep_alive = False
        self._inspect(request)
        if parser.should_upgrade():
            self._inspect_upgrade(request)
        if not request.keep_alive:
            self._last = True
        if self._active is None:
            self._start(request)
        elif len(self._queue) >= self.gateway.limits.pipeline_depth:
            self._last = True
            request.sink = Nobody()
        else:
            self._queue.append(request)

    def on_body(self, data: bytes) -> None:
        request = self._incoming
        if request is None:
            return
        if request.sink is None:
            request.pending.append(data)
        else:
            request.sink.body(data)

    def on_message_complete(self) -> None:
        request = self._incoming
        if request is None:
            return
        request.complete = True
        if request.sink is not None:
            request.sink.end()
            if request.sink.__class__ is Nobody:
                self._dropped(request)

    # -- judging a head
    def _inspect(self, request: Request) -> None:
        limits = self.gateway.limits
        headers = request.headers
        if len(request.url) > limits.url_bytes:
            request.problem = UriTooLong(
                f"The request target may have at most {limits.url_bytes} bytes."
            )
        elif len(headers) > limits.header_count or (
            self._fed + self._before > limits.header_bytes
            and sum(len(name) + len(value) for name, value in headers) > limits.header_bytes
        ):
            request.problem = self._headers_too_large()
        else:
            for name, value in headers:
                if name == b"expect":
                    request.expects = request.http11 and value.lower() == b"100-continue"
            return
        request.keep_alive = False

    def _headers_too_large(self) -> SeraiError:
        limits = self.gateway.limits
        return HeadersTooLarge(
            f"The request headers may have at most {limits.header_count} lines and"
            f" {limits.header_bytes} bytes."
        )

    def _inspect_upgrade(self, request: Request) -> None:
        """llhttp reads no body after an upgrade request, so such a request must not have one."""
        if request.method == b"CONNECT":
            if self.gateway.connect is None:
                request.problem = MethodNotAllowed("CONNECT is not served here.")
            request.switching = True
        elif request.has_body():
            request.problem = BadRequest("A request with 'Connection: Upgrade' cannot have a body.")
        else:
            request.upgrade = (request.header(b"upgrade") or b"").lower() == b"websocket"
            request.switching = request.upgrade
            request.keep_alive = request.keep_alive and not request.upgrade
        if request.problem is not None:
            request.keep_alive = False

    # -- starting requests, one after the other
    def _start(self, request: Request) -> None:
        self._active = request
        if request.problem is not None:
            self.answer_problem(request.problem, self.gateway.next_request_id(), request)
            return
        if request.method == b"CONNECT":
            if request.complete:  # else it goes on in _switch, once the parser has let go
                self._take_over(request)
            return
        target = split(request.url)
        if target is None:
            self._start_asgi(request)
        else:
            self._start_exchange(request, target)

    def _start_exchange(self, request: Request, target: Target) -> None:
        exchange = _EXCHANGES.get(target.kind, HostedExchange)(self, request, target)
        request.sink = exchange
        was_complete, request.complete = request.complete, False
        exchange.begin()
        self._replay(request, was_complete)

    def _replay(self, request: Request, was_complete: bool) -> None:
        """Hand over the body that came while the request waited in line."""
        for data in request.pending:
            if request.sink is not None:
                request.sink.body(data)
        request.pending = []
        request.complete = was_complete
        if was_complete and request.sink is not None:
            request.sink.end()

    def answered(self) -> None:
        """The current request's answer is complete: go on with the next one."""
        self.server_state.total_requests += 1
        request, self._active = self._active, None
        if request is None or self.transport.is_closing():
            return
        if not request.complete and request.expects:
            self.transport.close()  # the body was never asked for
        elif not request.complete:
            request.sink = Nobody()
            self._mark = self.loop.time()
            self.flow.resume_reading()
        else:
            self._finished(request)

    def _finished(self, request: Request) -> None:
        if not request.keep_alive:
            self.transport.close()
            return
        self._mark = self.loop.time()
        if self._queue:
            self._pump()
        else:
            self.flow.resume_reading()

    def _dropped(self, request: Request) -> None:
        """A request that was answered early is now complete too."""
        if self._active is None and not self.transport.is_closing():
            self._finished(request)

    def _pump(self) -> None:
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._queue and self._active is None and not self.transport.is_closing():
                self._start(self._queue.popleft())
        finally:
            self._pumping = False
        if not self._queue and not self.transport.is_closing():
            self.flow.resume_reading()

    # -- what exchanges ask of the connection
    def write(self, data: bytes) -> None:
        """Send bytes to the client, unless it is gone."""
        if not self.transport.is_closing():
            self.transport.write(data)

    def close(self) -> None:
        """Send what is buffered, then close."""
        self.transport.close()

    def hold_request(self) -> None:
        """Read no more of the request for now."""
        self.flow.pause_reading()

    def resume_request(self) -> None:
        """Read on, unless other requests wait in line."""
        if not self._queue and not self.transport.is_closing():
            self.flow.resume_reading()

    def answer_problem(self, problem: SeraiError, request_id: str, request: Request) -> None:
        """Answer the current request with an error."""
        self.write(
            render(
                problem,
                request_id=request_id,
                close=not request.keep_alive,
                head_only=request.method == b"HEAD",
                extra=self.server_state.default_headers,
            )
        )
        self.answered()

    def enter_tunnel(self, tunnel: TunnelEnd) -> None:
        """From now on pass bytes through this end."""
        self._tunnel = tunnel
        request = self._active
        if request is not None and request.trailing:
            tunnel.data_received(request.trailing)
            request.trailing = b""
        self.flow.resume_reading()

    # -- the ASGI app
    def _start_asgi(self, request: Request) -> None:
        if request.upgrade and self._should_upgrade_to_ws():
            if request.complete:  # else it goes on in _switch, once the parser has let go
                self._hand_to_websocket(request)
            return
        self.headers = request.headers
        self._make_scope(request)
        cycle = RequestResponseCycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=request.expects,
            keep_alive=request.keep_alive,
            on_response=self.answered,
        )
        self.cycle = cycle
        request.sink = AsgiSink(cycle, self.flow)
        request.expects = False  # from here on the cycle's affair
        self._replay(request, request.complete)
        task = self.loop.create_task(cycle.run_asgi(self.app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def _make_scope(self, request: Request) -> None:
        raw_path, _, query = request.url.partition(b"?")
        path = raw_path.decode("latin-1")
        self.scope = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": "1.1" if request.http11 else "1.0",
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme or "http",
            "method": request.method.decode("ascii"),
            "root_path": self.root_path,
            "path": self.root_path + (unquote(path) if "%" in path else path),
            "raw_path": self.root_path.encode("ascii") + raw_path,
            "query_string": query,
            "headers": request.headers,
            "state": self.app_state.copy(),
        }

    # -- upgrades and broken input
    def _switch(self, rest: bytes) -> None:
        """The parser met the end of an upgrade request; ``rest`` is what follows."""
        request = self._incoming
        if request is None or request.problem is not None or isinstance(request.sink, Nobody):
            return
        if not request.switching:
            if rest:  # an Upgrade we do not know is no upgrade
                self.data_received(rest)
            return
        self._keep_trailing(request, rest)
        if request is self._active and request.sink is None:
            self._start(request)

    def _hand_to_websocket(self, request: Request) -> None:
        """The ASGI server's WebSocket protocol owns the transport from here on."""
        self.url = request.url
        self.headers = request.headers
        self._make_scope(request)
        self._active = None
        self._detached = True
        self.gateway.unwatch(self)
        self.handle_websocket_upgrade()

    def _keep_trailing(self, request: Request, data: bytes) -> None:
        request.trailing += data
        if len(request.trailing) > _BODY_HIGH_WATER:
            self.flow.pause_reading()

    def _take_over(self, request: Request) -> None:
        connect = self.gateway.connect
        if connect is None:
            return
        if request.trailing:
            request.problem = BadRequest("Nothing may follow CONNECT before it is answered.")
            request.keep_alive = False
            self.answer_problem(request.problem, self.gateway.next_request_id(), request)
            return
        self._detached = True
        self._active = None
        self.gateway.unwatch(self)
        self.connections.discard(self)
        self.transport.pause_reading()
        connect.take_over(
            self.transport,
            request.url.decode("latin-1"),
            request.headers,
            lambda: self.__class__(self.config, self.server_state, self.app_state, self.loop),
        )

    def _malformed(self) -> None:
        """What came is no HTTP: nothing after it can be trusted."""
        if self._last and self._active is None:
            self.transport.close()
            return
        self._refuse(
            BadRequest(
                "The request is not valid HTTP/1.1; check its framing (Content-Length, chunks)."
            )
        )

    def _refuse(self, problem: SeraiError) -> None:
        """Refuse the half-read request, after those before it, and then close."""
        self.flow.pause_reading()
        half, self._incoming = self._incoming, None
        self._last = True
        self._detached = True
        if half is not None and not half.complete and half.sink is not None:
            half.keep_alive = False
            if isinstance(half.sink, Exchange) and not half.sink.done:
                half.complete = True
                half.sink.fail(problem)
            else:
                self.transport.close()
            return
        request = Request(b"", b"", [], http11=True, keep_alive=False)
        request.complete = True
        request.problem = problem
        if half is not None and not half.complete and half in self._queue:
            self._queue.remove(half)
        if self._active is None:
            self._start(request)
        else:
            self._queue.append(request)

    # -- time and shutdown
    def tick(self, now: float) -> None:
        """Enforce the timeouts of this connection."""
        if self._tunnel is not None or self._active is not None:
            if self._active is not None and self._active.sink is not None:
                self._active.sink.tick(now)
            return
        limits = self.gateway.limits
        waited = now - self._mark
        incoming = self._incoming
        if incoming is not None and not incoming.complete:
            dropped = incoming.sink.dropped if isinstance(incoming.sink, Nobody) else 0
            if waited > limits.discard_timeout or dropped > limits.discard_bytes:
                self.transport.close()
        elif self._fields is self._head and not self._fresh:
            if waited > limits.header_timeout:
                self._refuse(
                    RequestTimeout(
                        f"The request's headers were not complete after"
                        f" {limits.header_timeout:g} s."
                    )
                )
        elif waited > (limits.header_timeout if self._fresh else limits.keep_alive):
            self.transport.close()

    def shutdown(self) -> None:
        """Close when idle; else finish the current request first.

        A task in the server's task set stands for the request, so that the server's drain
        deadline, which cancels tasks, ends streams and tunnels too.
        """
        request = self._active
        if request is None:
            self.transport.close()
            return
        request.keep_alive = False
        self._last = True
        if isinstance(request.sink, AsgiSink):
            request.sink.cycle.keep_alive = False
            return
        self._drain = self.loop.create_future()
        task = self.loop.create_task(self._drained(self._drain))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    async def _drained(self, gone: asyncio.Future[None]) -> None:
        try:
            await gone
        except asyncio.CancelledError:
            self.transport.close()
            raise


def gateway_protocol(gateway: Gateway) -> type[asyncio.Protocol]:
    """The protocol class to give to ``uvicorn.Config(http=…)``."""
    return type("BoundGatewayProtocol", (GatewayProtocol,), {"gateway": gateway})
