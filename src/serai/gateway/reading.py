"""From a client's bytes to requests: the half of the server protocol that reads."""

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from serai.gateway.gateway import Gateway
from serai.gateway.problems import HeadersTooLarge, UriTooLong
from serai.gateway.request import Current, Nobody, Request
from serai.gateway.targets import origin_form
from serai.gateway.tunnel import TunnelEnd
from serai.gateway.upstream import UNKNOWN, Ignored
from serai.kernel.errors import BadRequest, MethodNotAllowed, SeraiError

if TYPE_CHECKING:
    from serai.gateway.models.heads import Head


class ReadingProtocol(HttpToolsProtocol):
    """Parses, judges heads, and puts requests in line; its subclass handles them."""

    # with slots the instance's dictionary stays small enough for CPython's fast attribute access
    __slots__ = (
        "_active",
        "_before",
        "_detached",
        "_fed",
        "_fields",
        "_fresh",
        "_head",
        "_incoming",
        "_last",
        "_mark",
        "_queue",
        "_read",
        "_rests",
        "_stalled",
        "_trailers",
        "_tunnel",
        "client_address",
        "known_bytes",
        "known_head",
    )
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
        self.known_head: tuple[Head, int] | None = None
        """What the head of the last model call means, and the length of its body."""
        self.known_bytes = UNKNOWN
        """That head with its empty line, once it came twice in a row."""
        self._fields: list[tuple[bytes, bytes]] = []
        self._head: list[tuple[bytes, bytes]] = []
        self._trailers = Ignored()
        self._incoming: Request | None = None
        self._active: Current | None = None
        self._queue: deque[Request] = deque()
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
        self._rests = False
        """The parser has been at rest since it was asked last; see ``_at_rest``."""
        self._stalled = 0.0
        """When the client stopped reading what we send; 0 while it reads."""

    # -- what the subclass does with it
    def _start(self, request: Request) -> None:
        """Handle this request now: no other is being handled."""
        raise NotImplementedError

    def _dropped(self, request: Request) -> None:
        """A request that was answered early is now complete too."""
        raise NotImplementedError

    def _switch(self, rest: bytes) -> None:
        """The parser met the end of an upgrade request; ``rest`` is what follows."""
        raise NotImplementedError

    def _keep_trailing(self, request: Request, data: bytes) -> None:
        """Keep what follows an upgrade request until somebody takes it."""
        raise NotImplementedError

    def _malformed(self) -> None:
        """What came is no HTTP: nothing after it can be trusted."""
        raise NotImplementedError

    def _refuse(self, problem: SeraiError) -> None:
        """Refuse the half-read request, after those before it, and then close."""
        raise NotImplementedError

    def _begin_express(self, data: bytes) -> bool:
        """Handle a whole plain model call without the parser, if ``data`` is one."""
        raise NotImplementedError

    def _at_rest(self) -> bool:
        """Whether the parser has read all of a message and nothing of the next."""
        incoming = self._incoming
        return (
            self._tunnel is None
            and self._fields is not self._head
            and (incoming is None or incoming.complete)
            and not (self._last or self._detached or self._queue)
            and self.parser is not None
        )

    def data_received(self, data: bytes) -> None:
        if (
            self._active is None
            and (self._rests or self._at_rest())
            and data.startswith(b"POST ")
            and self._begin_express(data)
        ):
            self._rests = True
            return
        self._rests = False
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
        url = self.url
        if url[:1] != b"/":
            url = origin_form(url)
        request = Request(method, url, self._head, parser.should_keep_alive())
        self._fields = self._trailers
        self._incoming = request
        if self._last:
            request.sink = Nobody()
            return
        # formatting the version costs; a 1.0 request cannot get here without one of these
        if (
            not request.keep_alive or b"connection" in request.index
        ) and parser.get_http_version() != "1.1":
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
            expect = request.index.get(b"expect")
            if expect is not None:
                request.expects = request.http11 and expect.lower() == b"100-continue"
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
