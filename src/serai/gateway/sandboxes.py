"""Requests to a sandbox: its API, and the TCP ports inside."""

from typing import TYPE_CHECKING

from serai import __version__
from serai.gateway.admission import demand_access
from serai.gateway.exchange import Exchange
from serai.gateway.forwarding import (
    DROPPED_FOR_SANDBOX,
    Copied,
    cookies_for_workload,
    copy_request,
    may_answer,
    own_authorization,
    status_start,
)
from serai.gateway.problems import WorkloadNotFound
from serai.gateway.request import Request
from serai.gateway.routes import SandboxRoute
from serai.gateway.targets import Target, join, port_of
from serai.gateway.tunnel import TunnelEnd
from serai.gateway.upstream import Address, Headers
from serai.kernel.errors import BadRequest

if TYPE_CHECKING:
    from serai.gateway.protocol import GatewayProtocol

_PAGES = frozenset({b"/terminal", b"/swagger/index.html"})
"""Pages of the sandbox API, which a browser opens with a token in their address."""

_UPGRADE = b"/upgrade"
_VERSION = f"x-serai-version: {__version__}\r\n".encode("ascii")
"""The API in a sandbox is of the version that started it, which may be older than we are."""

_TOUCH = 10.0
"""Seconds between activity marks while a request or connection stays open."""

_NOT_TUNNELLED = frozenset({b"connection", b"content-length", b"transfer-encoding", b"upgrade"})


class SandboxExchange(Exchange):
    """Streams both ways untouched; an upgrade becomes a tunnel."""

    __slots__ = ("offer", "port", "route", "touched", "tunnel")

    def __init__(self, client: "GatewayProtocol", request: Request, target: Target) -> None:
        super().__init__(client, request, target)
        # Known from the beginning: while the sandbox is woken, pieces of the body come already.
        self.framed = b"transfer-encoding" in request.index
        self.route: SandboxRoute | None = None
        self.offer: list[bytes] = []
        self.port = 0
        self.touched = 0.0
        self.tunnel: tuple[TunnelEnd, TunnelEnd] | None = None

    def _token_in_query(self) -> bool:
        return self.request.upgrade or self.target.rest in _PAGES

    def admitted(self) -> None:
        target = self.target
        route = self.gateway.routes.sandboxes.get((target.workspace, target.name))
        demand_access(self.principal, target, route.account_id if route else None)
        if route is None or route.asleep:
            self.spawn(self._find)
        else:
            self.open(route)

    async def _find(self) -> None:
        target = self.target
        route = await self.gateway.find_sandbox(target.workspace, target.name)
        if route is None:
            raise WorkloadNotFound(
                f"No sandbox '{target.name}' is running in workspace '{target.workspace}'. Create"
                " it first, or check the name."
            )
        if not self.done:
            self.open(route)

    def open(self, route: SandboxRoute) -> None:
        """Send the request to this sandbox."""
        self.use(route)
        if self.is_upgrade():
            self.spawn(lambda: self._offer(route))
        else:
            self.send(route)

    def is_upgrade(self) -> bool:
        """Whether it asks the sandbox API to be replaced."""
        return self.target.rest == _UPGRADE

    async def _offer(self, route: SandboxRoute) -> None:
        """Tell the sandbox API what we have for it."""
        self.offer = [_VERSION]
        if self.gateway.successor is not None:
            name = await self.gateway.successor(route)
            self.offer = [_VERSION, f"x-serai-successor: {name}\r\n".encode("ascii")]
        if not self.done:
            self.send(route)

    def send(self, route: SandboxRoute) -> None:
        """Send the request, when the sandbox is kept awake for it."""
        place = port_of(self.target.rest)
        if place is None:
            address = Address(route.api_socket, "", 0, False)
            path = self.target.rest or b"/"
        else:
            self.port, path = place
            if not self.port:
                raise BadRequest("The port in /port/{n}/… must be a number from 1 to 65535.")
            address = Address(route.port_socket, "", self.port, False)
        copied = copy_request(self.request.headers, DROPPED_FOR_SANDBOX)
        self.dispatch(address, self._head(path, copied), chunked=copied.chunked)

    def use(self, route: SandboxRoute) -> None:
        """From now on, until it is over, this request keeps the sandbox awake."""
        self.route = route
        self.gateway.on_sandbox_activity(route, 1)
        self.touched = self.client.loop.time()

    def _head(self, path: bytes, copied: Copied) -> bytes:
        if copied.host is None and self.request.http11:
            raise BadRequest("An HTTP/1.1 request needs a Host header.")
        host = copied.host or b"sandbox"
        lines = [self.request.method, b" ", join(path, self.credential.query)]
        lines += (b" HTTP/1.1\r\nhost: ", host, b"\r\n")
        lines += copied.lines
        lines += self.offer
        if b"cookie" in self.request.index:
            lines += self._cookie_lines()
        if self.port:
            lines += self._port_lines()
        lines += self._forwarded(host, copied)
        if copied.chunked:
            lines.append(b"transfer-encoding: chunked\r\n")
        elif copied.length is not None:
            lines += (b"content-length: ", copied.length, b"\r\n")
        if self.request.upgrade:
            lines.append(b"connection: Upgrade\r\nupgrade: websocket\r\n")
        elif self.port:
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        return b"".join(lines)

    def _cookie_lines(self) -> list[bytes]:
        return cookies_for_workload(self.request.headers)

    def _port_lines(self) -> list[bytes]:
        """What only a server inside gets: the caller's own credential, and where it is mounted."""
        lines = own_authorization(
            self.request.headers, self.credential, self.gateway.authenticator.recognizes
        )
        prefix = f"/{self.target.workspace}/sandboxes/{self.target.name}/port/{self.port}"
        lines += (b"x-forwarded-prefix: ", prefix.encode("latin-1"), b"\r\n")
        return lines

    def _forwarded(self, host: bytes, copied: Copied) -> tuple[bytes, ...]:
        client = self.client.client_address
        chain = copied.forwarded_for + b", " + client if copied.forwarded_for else client
        return (
            b"x-forwarded-for: ",
            chain,
            b"\r\nx-forwarded-host: ",
            host,
            b"\r\nx-forwarded-proto: ",
            b"https" if self.is_secure() else b"http",
            b"\r\nx-request-id: ",
            self.request_id.encode("ascii"),
            b"\r\n",
        )

    def is_secure(self) -> bool:
        """Whether the client has reached us by https, also when a proxy before us speaks it."""
        return self.client.scheme == "https" or self.gateway.sites.are_secure

    def upgraded(self, headers: Headers, data: bytes) -> None:
        upstream = self.upstream
        if not self.request.upgrade or upstream is None:
            super().upgraded(headers, data)
            return
        self.head_sent = True
        self.status = 101
        lines = [status_start(101), b"connection: Upgrade\r\nupgrade: websocket\r\n"]
        for name, value in headers:
            if name not in _NOT_TUNNELLED and may_answer(name, value):
                lines += (name, b": ", value, b"\r\n")
        lines += (b"x-request-id: ", self.request_id.encode("ascii"), b"\r\n\r\n", data)
        outwards = TunnelEnd(upstream.transport, self._tunnel_over, self._heard)
        inwards = TunnelEnd(self.client.transport, self._tunnel_over, self._heard)
        outwards.peer, inwards.peer = inwards, outwards
        self.tunnel = (outwards, inwards)
        upstream.transport.set_protocol(inwards)
        self.client.write(b"".join(lines))
        self.client.enter_tunnel(outwards)

    def _tunnel_over(self) -> None:
        if not self.done:
            self.client.close()
            upstream, self.upstream = self.upstream, None
            if upstream is not None:
                upstream.transport.close()
            self._leave()

    def tick(self, now: float) -> None:
        super().tick(now)
        if self.route is None or now - self.touched <= _TOUCH:
            return
        self.touched = now
        if self.tunnel is None:
            self.gateway.on_sandbox_activity(self.route, 0)
            return
        for end in self.tunnel:
            end.listening = True

    def _heard(self) -> None:
        """Something was sent through the tunnel, for the first time since the last look."""
        if self.route is not None:
            self.gateway.on_sandbox_activity(self.route, 0)

    def label(self) -> str:
        return f"server on port {self.port} of the sandbox" if self.port else "sandbox API"

    def closed(self) -> None:
        route, self.route = self.route, None
        if route is not None:
            self.gateway.on_sandbox_activity(route, -1)
