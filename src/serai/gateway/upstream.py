"""HTTP/1.1 connections to what stands behind the gateway, and the pool that keeps them."""

import asyncio
import re
import ssl
from typing import NamedTuple, Protocol, cast

import httptools

from serai.gateway.limits import Limits
from serai.gateway.problems import (
    GatewayBug,
    UpstreamBroken,
    UpstreamConnectFailed,
    UpstreamConnectTimeout,
)
from serai.kernel.errors import SeraiError

Headers = list[tuple[bytes, bytes]]


class Address(NamedTuple):
    """Where an upstream listens.

    Attributes:
        path: Unix socket; empty for TCP.
        host: TCP host.
        port: TCP port; with a path, the port inside a sandbox (see ``runtime.port``), 0 for none.
        tls: speak TLS and verify the certificate for ``host``.
    """

    path: str
    host: str
    port: int
    tls: bool


class Answer(NamedTuple):
    """The head of an upstream's answer.

    Attributes:
        status: status code.
        headers: header fields, names in lower case.
        length: body length; None when chunked or until the connection closes.
        empty: there is no body, whatever the headers say (HEAD, 204, 304).
    """

    status: int
    headers: Headers
    length: int | None
    empty: bool


class Caller(Protocol):
    """Who gets an upstream's answer; every call comes from the event loop."""

    head_only: bool

    def interim(self, status: int, headers: Headers) -> None:
        """A 1xx answer other than 101."""

    def answered(self, answer: Answer) -> None:
        """The final answer's head."""

    def received(self, data: bytes) -> None:
        """A piece of the answer's body."""

    def settled(self) -> None:
        """The answer is complete."""

    def flush(self) -> None:
        """All of one read has been passed on; more may follow."""

    def upgraded(self, headers: Headers, data: bytes) -> None:
        """The upstream switched protocols (101); ``data`` followed."""

    def broken(self, upstream: "Upstream", reason: str) -> None:
        """The connection is gone before the answer was complete."""

    def upstream_full(self) -> None:
        """Send no more for now."""

    def upstream_ready(self) -> None:
        """Send again."""


class Upstream(asyncio.Protocol):
    """One connection; serves one Caller at a time."""

    def __init__(self, address: Address, pool: "Pool") -> None:
        self.address = address
        self.pool = pool
        self.transport: asyncio.Transport = None  # type: ignore[assignment]
        self.parser = httptools.HttpResponseParser(self)
        self.caller: Caller | None = None
        self.reused = False
        self.sending = False
        """The request's body is not complete yet, so the connection cannot be used again."""
        self.idle_since = 0.0
        self._reset()

    def _reset(self) -> None:
        self.headers: Headers = []
        self.heard = False
        self.keep = False
        self._length: int | None = None
        self._until_close = False
        self._empty = False
        self._interim = False
        self._status = 0
        self._complete = False
        self._fields = self.headers

    # -- the connection
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        caller = self.caller
        if caller is None:
            self.close()
            return
        self.heard = True
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            caller.upgraded(self.headers, data[upgrade.args[0] :])
            return
        except httptools.HttpParserError:
            self._break("it did not answer with valid HTTP")
            return
        if self._complete and self.caller is caller:
            self._settle(caller)
        else:
            caller.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.pool.forget(self)
        caller = self.caller
        if caller is None:
            return
        if self._until_close and exc is None:
            self._settle(caller)
        else:
            self._break("it closed the connection before the answer was complete")

    def pause_writing(self) -> None:
        if self.caller is not None:
            self.caller.upstream_full()

    def resume_writing(self) -> None:
        if self.caller is not None:
            self.caller.upstream_ready()

    # -- the caller's side
    def write(self, data: bytes) -> None:
        """Send bytes of the request."""
        self.transport.write(data)

    def close(self) -> None:
        """Drop the connection and forget the caller."""
        self.caller = None
        if self.transport is not None:
            self.transport.abort()

    def _break(self, reason: str) -> None:
        caller, self.caller = self.caller, None
        self.transport.abort()
        if caller is not None:
            caller.broken(self, reason)

    def _settle(self, caller: Caller) -> None:
        keep = self.keep and not self._until_close and not self.sending
        self.caller = None
        if self._empty:
            # llhttp does not know that the answer to a HEAD has no body
            self.parser = httptools.HttpResponseParser(self)
        self._reset()
        if keep:
            self.pool.give_back(self)
        else:
            self.close()
        caller.settled()

    # -- the parser's callbacks
    def on_message_begin(self) -> None:
        if self._complete:
            self.keep = False  # more than was asked for: never use this connection again
        self.headers = self._fields = []
        self._interim = False
        self._length = None

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        self._fields.append((name, value))
        if name == b"content-length":
            self._length = int(value)
        elif name == b"transfer-encoding":
            self._until_close = not value.lower().rstrip().endswith(b"chunked")
            self._length = -1

    def on_headers_complete(self) -> None:
        self._fields = []
        caller = self.caller
        if self._complete or caller is None:
            return
        status = self.parser.get_status_code()
        if status < 200:
            self._interim = True
            if status != 101:
                caller.interim(status, self.headers)
            return
        self.keep = self.parser.should_keep_alive()
        self._empty = caller.head_only or status in (204, 304)
        if self._length is None and not self._empty:
            self._until_close = True
        length = None if self._length == -1 else self._length
        if self._empty:
            self._complete, self._until_close = True, False
        caller.answered(Answer(status, self.headers, length, self._empty))

    def on_body(self, data: bytes) -> None:
        if self._complete:
            self.keep = False
        elif self.caller is not None:
            self.caller.received(data)

    def on_message_complete(self) -> None:
        if not self._interim:
            self._complete = True


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
        self._tls = tls

    def take(self, address: Address) -> Upstream | None:
        """The idle connection used last, if there is one."""
        idle = self._idle.get(address)
        while idle:
            upstream = idle.pop()
            if not upstream.transport.is_closing():
                upstream.reused = True
                return upstream
        return None

    def give_back(self, upstream: Upstream) -> None:
        """Keep a connection whose answer is complete for the next request."""
        # what runs behind a port belongs to the user: a fresh connection for every request
        if upstream.address.path and upstream.address.port:
            upstream.close()
            return
        idle = self._idle.setdefault(upstream.address, [])
        if len(idle) >= self.limits.upstream_idle_count:
            upstream.close()
        else:
            upstream.idle_since = asyncio.get_running_loop().time()
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

    def sweep(self, now: float) -> None:
        """Close connections that were idle for too long."""
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
    return f"port {address.port} of the sandbox" if address.port else "the sandbox"


def _cause(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, FileNotFoundError):
        return "it is not running"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason or 'bad certificate'})"
    return re.sub(r"(/[^\s'\"]+)+", "…", error.__class__.__name__)


__all__ = ["Address", "Answer", "Caller", "Headers", "Pool", "Upstream", "UpstreamBroken"]
