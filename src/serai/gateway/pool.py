"""Making and keeping connections to upstreams."""

import asyncio
import re
import ssl
from time import monotonic
from typing import cast

from serai.gateway.limits import Limits
from serai.gateway.problems import GatewayBug, UpstreamConnectFailed, UpstreamConnectTimeout
from serai.gateway.upstream import Address, Upstream
from serai.kernel.errors import SeraiError


class PortHandshake(asyncio.Protocol):
    """Asks a sandbox's port socket for one port, then hands the transport to an Upstream."""

    def __init__(self, upstream: Upstream, port: int) -> None:
        self.upstream = upstream
        self.port = port
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line = b""
        self._transport: asyncio.Transport = None  # type: ignore[assignment]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(b"%d\n" % self.port)

    def data_received(self, data: bytes) -> None:
        line, mark, rest = (self._line + data).partition(b"\n")
        self._line = line
        if not mark and len(line) < 1024:
            return
        if line != b"ok":
            self._fail(line.decode("utf-8", "replace").removeprefix("error").strip())
            return
        self._transport.set_protocol(self.upstream)
        self.upstream.connection_made(self._transport)
        if not self.ready.done():
            self.ready.set_result(None)
        if rest:
            # a server that speaks first cannot be answering HTTP
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail("the connection to the sandbox broke")

    def _fail(self, reason: str) -> None:
        if not self.ready.done():
            self.ready.set_exception(
                UpstreamConnectFailed(
                    f"Nothing answers on port {self.port} inside the sandbox ({reason}). Start a"
                    " server there that listens on that port, then try again.",
                )
            )
        self._transport.abort()


class Pool:
    """Idle connections by address, and the way to make new ones."""

    def __init__(self, limits: Limits, tls: ssl.SSLContext | None = None) -> None:
        self.limits = limits
        self._idle: dict[Address, list[Upstream]] = {}
        self._unsafe = limits.upstream_idle_unsafe
        self._tls = tls

    def take(self, address: Address, *, repeatable: bool) -> Upstream | None:
        """The idle connection used last, if there is a usable one.

        Args:
            address: where it must lead.
            repeatable: the request may be sent again if the connection turns out to be dead;
                otherwise only a connection used a moment ago will do.
        """
        idle = self._idle.get(address)
        while idle:
            upstream = idle.pop()
            if upstream.transport.is_closing():
                continue
            if not repeatable and monotonic() - upstream.idle_since > self._unsafe:
                idle.append(upstream)
                return None
            upstream.reused = True
            return upstream
        return None

    def give_back(self, upstream: Upstream) -> None:
        """Keep a connection whose answer is complete for the next request."""
        # what runs behind a port of a sandbox belongs to the user: a fresh connection every time
        address = upstream.address
        if address.path and address.port and not address.host:
            upstream.close()
            return
        upstream.idle_since = monotonic()
        idle = self._idle.get(address)
        if idle is None:
            self._idle[address] = [upstream]
            return
        if len(idle) >= self.limits.upstream_idle_count:
            # the oldest goes: it may be too old for most requests already
            idle.pop(0).close()
        idle.append(upstream)

    def forget(self, upstream: Upstream) -> None:
        """The connection is gone."""
        idle = self._idle.get(upstream.address)
        if idle is None:
            return
        if upstream in idle:
            idle.remove(upstream)
        if not idle:
            del self._idle[upstream.address]

    def sweep(self) -> None:
        """Close connections that were idle for too long."""
        now = monotonic()
        for idle in list(self._idle.values()):
            for upstream in list(idle):
                if now - upstream.idle_since > self.limits.upstream_idle:
                    idle.remove(upstream)
                    upstream.close()

    def busy(self) -> bool:
        """Whether idle connections are left to sweep."""
        return bool(self._idle)

    def close(self) -> None:
        """Close every idle connection."""
        for idle in list(self._idle.values()):
            for upstream in list(idle):
                upstream.close()
        self._idle.clear()

    async def connect(self, address: Address) -> Upstream:
        """A new connection.

        Raises:
            UpstreamConnectFailed: refused, unknown host, no socket, bad certificate.
            UpstreamConnectTimeout: no connection within ``limits.connect_timeout``.
        """
        upstream = Upstream(address, self)
        try:
            async with asyncio.timeout(self.limits.connect_timeout):
                await self._open(address, upstream)
        except SeraiError:
            raise
        except TimeoutError as error:
            raise UpstreamConnectTimeout(
                f"{_where(address)} did not accept a connection within"
                f" {self.limits.connect_timeout:g} s."
            ) from error
        except (OSError, ssl.SSLError, UnicodeError) as error:
            raise UpstreamConnectFailed(
                f"No connection to {_where(address)}: {_cause(error)}."
            ) from error
        if upstream.transport is None:
            raise GatewayBug("The connection to the upstream has no transport.")
        return upstream

    async def _open(self, address: Address, upstream: Upstream) -> None:
        loop = asyncio.get_running_loop()
        if address.path and address.port:
            _, handshake = await loop.create_unix_connection(
                lambda: PortHandshake(upstream, address.port), address.path
            )
            try:
                await handshake.ready
            except asyncio.CancelledError:
                handshake.connection_lost(None)
                raise
        elif address.path:
            await loop.create_unix_connection(lambda: upstream, address.path)
        else:
            context = self._context() if address.tls else None
            await loop.create_connection(lambda: upstream, address.host, address.port, ssl=context)

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls


def _where(address: Address) -> str:
    """An address as a client may see it: never a path of this machine."""
    if not address.path:
        return f"the model server at {address.host}:{address.port}"
    if address.host:
        return f"port {address.port} of the {address.host}"
    return f"port {address.port} of the sandbox" if address.port else "the sandbox"


def _cause(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, FileNotFoundError):
        return "it is not running"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason or 'bad certificate'})"
    return re.sub(r"(/[^\s'\"]+)+", "…", error.__class__.__name__)
