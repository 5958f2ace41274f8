"""The CONNECT proxy on the main port: the hosted service's names end here, all else passes by.

The HTTP protocol hands a connection over when it sees ``CONNECT``. For the names we serve, TLS is
terminated with the local authority's certificate and a fresh HTTP protocol takes the connection;
other names of the hosted service are refused, so that no key of ours leaves for it; everything
else is a blind tunnel, so a client's other HTTPS keeps working.
"""

import asyncio
import ipaddress
import os
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import SplitResult

import structlog

from serai.connect import upstream
from serai.connect.authority import Authority
from serai.connect.handshake import accept, hand_over
from serai.connect.hosts import is_hosted, is_served
from serai.connect.relay import Holding, Relay
from serai.connect.upstream import Upstream, UpstreamError
from serai.kernel.background import Background

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
_DRAIN_SECONDS = 30.0
_TLS_PORT = 443


class Refusal(Exception):
    """A CONNECT request that is answered with an error and closed."""

    def __init__(self, status: int, reason: str, body: str) -> None:
        super().__init__(body)
        self.status = status
        self.reason = reason
        self.body = body


class ConnectProxy:
    """Takes over connections that asked for a tunnel. Belongs to one event loop."""

    def __init__(
        self,
        authority: Authority,
        environ: Mapping[str, str] | None = None,
        *,
        connect_timeout: float = 20.0,
    ) -> None:
        """Make a proxy.

        Args:
            authority: what answers TLS for the names we serve.
            environ: where ``HTTPS_PROXY`` and ``NO_PROXY`` for tunnels are read; the process's
                own environment when None.
            connect_timeout: seconds to reach the other end of a tunnel.
        """
        self._authority = authority
        self._environ = dict(os.environ if environ is None else environ)
        self._connect_timeout = connect_timeout
        self._tasks = Background()
        self._log = structlog.get_logger("serai.connect")

    def take_over(
        self,
        transport: asyncio.Transport,
        target: str,
        headers: Sequence[tuple[bytes, bytes]],
        make_protocol: Callable[[], asyncio.Protocol],
        trailing: bytes = b"",
    ) -> None:
        """Own the connection from now on: the caller's protocol gets no further call.

        Args:
            transport: the client's connection; nothing but the CONNECT request was consumed.
            target: the request's target, ``host:port``.
            headers: the request's headers (none is needed; no proxy credentials are asked for).
            make_protocol: makes the HTTP protocol for an intercepted connection; its
                ``connection_made`` is called with the TLS transport.
            trailing: bytes that came after the request's head.
        """
        held = Holding(trailing)
        transport.pause_reading()
        transport.set_protocol(held)
        try:
            host, port = parse_target(target)
            _check(transport, host, port)
        except Refusal as refusal:
            self._log.info("CONNECT refused", target=target, reason=refusal.reason)
            _refuse(transport, refusal)
            return
        if is_served(host):
            self._tasks.start(self._intercept(transport, held, make_protocol))
        else:
            self._tasks.start(self._tunnel(transport, held, host, port))

    async def close(self) -> None:
        """End all tunnels and unfinished handshakes; call it when the server stops."""
        await self._tasks.cancel()

    async def _intercept(
        self,
        transport: asyncio.Transport,
        held: Holding,
        make_protocol: Callable[[], asyncio.Protocol],
    ) -> None:
        plain = Holding()
        try:
            transport.write(ESTABLISHED)
            secure = await accept(transport, held, plain, self._authority.ssl_context())
        except Exception as error:
            transport.abort()
            hint = "a client that does not trust us must be started with `serai exec`"
            self._log.info("TLS handshake failed", reason=str(error), hint=hint)
            return
        except BaseException:
            transport.abort()
            raise
        hand_over(secure, plain, make_protocol)

    async def _tunnel(
        self, transport: asyncio.Transport, held: Holding, host: str, port: int
    ) -> None:
        try:
            opened = await self._open(transport, host, port)
        except UpstreamError as error:
            self._log.info("tunnel failed", target=f"{host}:{port}", reason=str(error))
            _refuse(transport, Refusal(502, "Bad Gateway", f"Serai: {error}.\n"))
            return
        except BaseException:
            transport.abort()
            raise
        transport.write(ESTABLISHED)
        await _relay(transport, held, opened)

    async def _open(self, transport: asyncio.Transport, host: str, port: int) -> Upstream:
        proxy = self._proxy_for(transport, host, port)
        connecting = (
            upstream.connect_through(proxy, host, port) if proxy else upstream.connect(host, port)
        )
        try:
            return await asyncio.wait_for(connecting, self._connect_timeout)
        except TimeoutError as error:
            raise UpstreamError(
                f"no connection to {host}:{port} within {self._connect_timeout:g} seconds"
            ) from error

    def _proxy_for(self, transport: asyncio.Transport, host: str, port: int) -> SplitResult | None:
        proxy = upstream.configured_proxy(self._environ)
        if proxy is None or upstream.bypassed(host, port, self._environ) or _is_local(host):
            return None
        # Started from a shell with `serai env` in it, our own proxy is in the environment.
        own = transport.get_extra_info("sockname")
        return None if proxy.port == own[1] and _is_local(str(proxy.hostname)) else proxy


def parse_target(target: str) -> tuple[str, int]:
    """Split ``host:port`` or ``[v6]:port``; the host comes lower-case, without a trailing dot.

    Raises:
        Refusal: 400, when it is neither.
    """
    host, colon, digits = target.rpartition(":")
    host = host.removeprefix("[").removesuffix("]").lower().removesuffix(".")
    valid = colon and host and digits.isascii() and digits.isdigit() and len(digits) <= 5
    port = int(digits) if valid else 0
    if not 0 < port < 65536 or any(c <= " " or c in "/@?#\x7f" for c in host):
        raise Refusal(400, "Bad Request", "Serai: the CONNECT target must be host:port.\n")
    return host, port


def _check(transport: asyncio.Transport, host: str, port: int) -> None:
    if not _from_this_machine(transport):
        raise Refusal(
            403,
            "Serai proxies for this machine only",
            "Serai: CONNECT is served to clients on the same machine only. From elsewhere, use "
            "BL_API_URL and BL_RUN_URL, or run the client where the server runs.\n",
        )
    if is_hosted(host) and not (is_served(host) and port == _TLS_PORT):
        raise Refusal(
            403,
            "Serai keeps this client off the hosted service",
            f"Serai: {host}:{port} belongs to the hosted service. A client that is connected to "
            f"this server must not go there: it would send its API key along. To use the hosted "
            f"service, run the client without `serai env` and `serai exec`.\n",
        )


def _from_this_machine(transport: asyncio.Transport) -> bool:
    """Loopback, or our own address: nobody else can complete a TCP handshake as that."""
    peer, own = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
    if not isinstance(peer, tuple) or not isinstance(own, tuple):
        return False
    return _is_local(peer[0]) or peer[0] == own[0]


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _refuse(transport: asyncio.Transport, refusal: Refusal) -> None:
    """Answer and close. The reason stands in the status line, as most clients show only that."""
    body = refusal.body.encode()
    head = (
        f"HTTP/1.1 {refusal.status} {refusal.reason}\r\n"
        f"Content-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    transport.write(head.encode("ascii") + body)
    transport.close()


async def _relay(transport: asyncio.Transport, held: Holding, opened: Upstream) -> None:
    near, far = Relay(transport), Relay(opened.transport)
    near.join(far)
    try:
        opened.transport.pause_reading()
        transport.set_protocol(near)
        opened.transport.set_protocol(far)
        opened.transport.write(held.take())
        transport.write(opened.received.take())
        if not (held.ended or opened.received.ended):
            opened.transport.resume_reading()
            transport.resume_reading()
            await asyncio.wait({near.finished, far.finished}, return_when="FIRST_COMPLETED")
        # One side is gone: the other gets what was already sent to it, but not for ever.
        near.close()
        await asyncio.wait({near.finished, far.finished}, timeout=_DRAIN_SECONDS)
    finally:
        transport.abort()
        opened.transport.abort()
