"""Connections of the tunnel to the outside: direct, or through the environment's own proxy."""

import asyncio
import base64
import ssl
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

from serai.connect.relay import Holding

_MOST_HEADER_BYTES = 64 * 1024


class UpstreamError(Exception):
    """The other side cannot be reached; the message says what failed, without secrets."""


class Upstream(NamedTuple):
    """An open connection, and the protocol that holds what it received so far."""

    transport: asyncio.Transport
    received: Holding


def configured_proxy(environ: Mapping[str, str]) -> SplitResult | None:
    """The proxy this process was told to use for HTTPS, if any.

    Raises:
        UpstreamError: it is of a kind we cannot speak to (SOCKS).
    """
    text = environ.get("https_proxy") or environ.get("HTTPS_PROXY")
    if not text:
        return None
    url = urlsplit(text if "://" in text else f"http://{text}")
    if url.scheme not in {"http", "https"} or not url.hostname:
        raise UpstreamError("HTTPS_PROXY of the server must be an http:// or https:// URL")
    return url


def bypassed(host: str, port: int, environ: Mapping[str, str]) -> bool:
    """Whether the environment's NO_PROXY wants a direct connection to this host."""
    no_proxy = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    return bool(proxy_bypass_environment(f"{host}:{port}", {"no": no_proxy}))


async def connect(host: str, port: int) -> Upstream:
    """Open a direct connection.

    Raises:
        UpstreamError: name unknown, refused or unreachable.
    """
    return await _open(host, port, None)


async def connect_through(proxy: SplitResult, host: str, port: int) -> Upstream:
    """Open a tunnel to the host through another CONNECT proxy.

    Raises:
        UpstreamError: the proxy is unreachable, or refuses.
    """
    secure = ssl.create_default_context() if proxy.scheme == "https" else None
    proxy_port = proxy.port or (443 if secure else 80)
    reader = _ProxyAnswer()
    transport = await _open_with(reader, str(proxy.hostname), proxy_port, secure)
    try:
        transport.write(_connect_request(proxy, host, port))
        status = await reader.status
        if not 200 <= status < 300:
            raise UpstreamError(f"the proxy {proxy.hostname}:{proxy_port} answered {status}")
    except BaseException:
        transport.abort()
        raise
    return Upstream(transport, reader)


async def _open(host: str, port: int, secure: ssl.SSLContext | None) -> Upstream:
    held = Holding()
    return Upstream(await _open_with(held, host, port, secure), held)


async def _open_with(
    protocol: Holding, host: str, port: int, secure: ssl.SSLContext | None
) -> asyncio.Transport:
    loop = asyncio.get_running_loop()
    try:
        transport, _ = await loop.create_connection(lambda: protocol, host, port, ssl=secure)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UpstreamError(f"cannot connect to {host}:{port}: {reason}") from error
    return transport


def _connect_request(proxy: SplitResult, host: str, port: int) -> bytes:
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if proxy.username is not None:
        pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(pair.encode()).decode()}")
    return "\r\n".join([*lines, "", ""]).encode("ascii", "replace")


class _ProxyAnswer(Holding):
    """Reads a CONNECT answer's head; what follows it stays held for the tunnel."""

    def __init__(self) -> None:
        super().__init__()
        self.status: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.status.done():
            return
        head, end, rest = bytes(self._data).partition(b"\r\n\r\n")
        if end:
            self._data = bytearray(rest)
            self._settle(head.split(b" ", 2))
        elif len(self._data) > _MOST_HEADER_BYTES:
            self._settle([])

    def eof_received(self) -> bool:
        self._fail("the proxy closed the connection")
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail("the proxy closed the connection")
        super().connection_lost(exc)

    def _settle(self, words: list[bytes]) -> None:
        if len(words) >= 2 and words[0].startswith(b"HTTP/1.") and words[1].isdigit():
            self.status.set_result(int(words[1]))
        else:
            self._fail("the proxy's answer is no HTTP")

    def _fail(self, reason: str) -> None:
        if not self.status.done():
            self.status.set_exception(UpstreamError(reason))
