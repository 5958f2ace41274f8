"""The server's HTTP protocol: gateway requests are handled here, the rest goes to the ASGI app.

Give ``gateway_protocol(gateway)`` to ``uvicorn.Config(http=…)``. One connection may mix both
kinds of request and may pipeline them: answers come in the order of the requests, because a
request starts only when the one before it has been answered.
"""

import asyncio
from typing import cast

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from serai.gateway.asgi import AsgiSink, scope_of
from serai.gateway.exchange import Exchange
from serai.gateway.executions import as_management
from serai.gateway.gateway import Gateway
from serai.gateway.hosting import HostedExchange, UnverifiedExchange, triggered
from serai.gateway.in_place import InPlaceExchange, is_answered_here
from serai.gateway.lasting import LastingProtocol
from serai.gateway.models.exchange import ModelExchange
from serai.gateway.models.express import Express, begin
from serai.gateway.models.relay import Relay
from serai.gateway.models.ways import way_of
from serai.gateway.preview_hosts import HostedPreviewExchange
from serai.gateway.previews import PreviewExchange
from serai.gateway.problems import render
from serai.gateway.request import Current, Nobody, Request
from serai.gateway.sandboxes import SandboxExchange
from serai.gateway.targets import Target
from serai.gateway.tunnel import TunnelEnd
from serai.kernel.errors import BadRequest, SeraiError

_EXCHANGES: dict[bytes, type[Exchange]] = {
    b"sandboxes": SandboxExchange,
    b"models": ModelExchange,
    b"preview": PreviewExchange,
    b"preview-host": HostedPreviewExchange,
    b"unverified": UnverifiedExchange,
}
_BODY_HIGH_WATER = 64 * 1024


class GatewayProtocol(LastingProtocol):
    """One client connection; ``gateway`` is set by the subclass that ``gateway_protocol`` makes.

    Works over any stream transport; after ``start_tls`` call ``connection_made`` of a fresh one
    with the new transport.
    """

    __slots__ = ("_pumping",)

    # -- the connection
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.client_address = self.client[0].encode() if self.client else b"unknown"
        self._mark = self.loop.time()
        self._pumping = False
        self.gateway.watch(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.gateway.unwatch(self)
        waiting, self._active = self._active, None
        self._queue.clear()
        self._drain_ends()
        tunnel, self._tunnel = self._tunnel, None
        if tunnel is not None:
            tunnel.connection_lost(exc)
        if waiting is not None and waiting.sink is not None:
            waiting.sink.lost()
        super().connection_lost(exc)

    def eof_received(self) -> bool | None:  # type: ignore[override]
        return None if self._tunnel is None else self._tunnel.eof_received()

    def pause_writing(self) -> None:
        self.flow.pause_writing()
        self._stalled = self.loop.time()
        if self._tunnel is not None:
            self._tunnel.pause_writing()
        elif self._active is not None and self._active.sink is not None:
            self._active.sink.client_full()

    def resume_writing(self) -> None:
        self.flow.resume_writing()
        self._stalled = 0.0
        if self._tunnel is not None:
            self._tunnel.resume_writing()
        elif self._active is not None and self._active.sink is not None:
            self._active.sink.client_ready()

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
        gateway, url = self.gateway, request.url
        host = request.index.get(b"host", b"")
        target = gateway.sites.target(host, url) or gateway.target(url)
        if gateway.hosted.paths:
            target = triggered(gateway.hosted, url, target)
        if target is not None and target.kind == b"jobs":
            target = as_management(request, target)
        if target is None:
            self._start_asgi(request)
        else:
            self._start_exchange(request, target)

    _begin_express = begin

    def begin_express(self, call: Express) -> None:
        """This call is the connection's current request from now on."""
        self._active = call
        self._fresh = False

    def answered_express(self, keep_alive: bool) -> None:
        """The same as ``answered`` for a call on the short way, whose request is complete."""
        self.server_state.total_requests += 1
        self._active = None
        if not keep_alive:
            self.transport.close()
            return
        self._mark = self.loop.time()
        if self._queue:
            self._pump()
        elif self.flow.read_paused:
            self.resume_request()

    def replace_active(self, request: Current) -> None:
        """The current request goes on as this one."""
        self._active = request

    def _start_exchange(self, request: Request, target: Target) -> None:
        kind = _EXCHANGES.get(target.kind, HostedExchange)
        if self.gateway.in_place is not None and is_answered_here(target):
            kind = InPlaceExchange
        elif kind is ModelExchange:
            kind = way_of(self.gateway, request, target)
        exchange = kind(self, request, target)
        request.sink = exchange
        was_complete, request.complete = request.complete, False
        exchange.begin()
        if was_complete or request.pending:
            self._replay(request, was_complete)
            if was_complete and isinstance(request.sink, Nobody):
                self._dropped(request)

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
        request = cast(Request | None, self._active)
        self._active = None
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
        request.sink = None  # the two hold each other: leave no cycle to the collector
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

    def answer_problem(
        self, problem: SeraiError, request_id: str, request: Request, page: bytes | None = None
    ) -> None:
        """Answer the current request with an error, or with a page that tells of it."""
        self.write(
            render(
                problem,
                request_id=request_id,
                close=not request.keep_alive,
                head_only=request.method == b"HEAD",
                extra=self.server_state.default_headers,
                page=page,
            )
        )
        self.answered()

    def enter_tunnel(self, tunnel: TunnelEnd) -> None:
        """From now on pass bytes through this end."""
        self._tunnel = tunnel
        request = self._active
        if isinstance(request, Request) and request.trailing:
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
        self.scope = scope_of(self, request)
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
        self.scope = scope_of(self, request)
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
        request = Request(b"", b"", [], False)
        request.complete = True
        request.problem = problem
        if half is not None and not half.complete and half in self._queue:
            self._queue.remove(half)
        if self._active is None:
            self._start(request)
        else:
            self._queue.append(request)

    # -- being watched
    def model_called(self) -> Target | None:
        """The model that is called through this connection right now."""
        sink = None if self._active is None else self._active.sink
        if isinstance(sink, Relay):
            sink = sink.call
        if isinstance(sink, Express):
            return sink.head.target
        return sink.target if isinstance(sink, ModelExchange) else None


def gateway_protocol(gateway: Gateway) -> type[asyncio.Protocol]:
    """The protocol class to give to ``uvicorn.Config(http=…)``."""
    return type("BoundGatewayProtocol", (GatewayProtocol,), {"gateway": gateway, "__slots__": ()})
