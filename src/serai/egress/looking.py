"""Looking at the first bytes of a connection without taking them."""

import asyncio
import socket

import msgspec

from serai.egress import hello
from serai.egress.hello import Hello, Incomplete

PATIENCE_SECONDS = 15.0
"""How long a client may take for its first message."""
_FIRST_BYTES_SECONDS = 1.0
"""How long to wait for a client that may be waiting for its server to speak first."""
_MAX_HEAD = 64 * 1024


class Seen(msgspec.Struct, frozen=True):
    """What a connection begins with: ``tls``, ``http1``, ``http2``, or neither (empty)."""

    kind: str
    hello: Hello = Hello()


async def look(inner: socket.socket) -> Seen:
    """What the first bytes say; they stay where they are."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_SECONDS
    wanted, wait = 1, _FIRST_BYTES_SECONDS
    while True:
        try:
            data = await peek(inner, wanted, min(wait, deadline - loop.time()))
        except TimeoutError:
            return Seen("")
        try:
            return _recognise(data)
        except Incomplete:
            if len(data) >= hello.MAX_HELLO or len(data) < wanted:
                return Seen("")
        wanted, wait = len(data) + 1, PATIENCE_SECONDS


def _recognise(data: bytes) -> Seen:
    if (greeting := hello.read_tls(data)) is not None:
        return Seen("tls", greeting)
    if hello.is_http2(data):
        return Seen("http2")
    return Seen("http1") if hello.is_http1(data) else Seen("")


async def peek(inner: socket.socket, wanted: int, seconds: float) -> bytes:
    """What has arrived, once it is ``wanted`` bytes or the client sends no more.

    Raises:
        TimeoutError: it is not in time.
    """
    loop = asyncio.get_running_loop()
    inner.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, wanted)
    ready = asyncio.Event()
    loop.add_reader(inner.fileno(), ready.set)
    try:
        async with asyncio.timeout(seconds):
            await ready.wait()
    finally:
        loop.remove_reader(inner.fileno())
        inner.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
    return inner.recv(_MAX_HEAD, socket.MSG_PEEK)


async def peek_head(inner: socket.socket) -> bytes:
    """The request's head with its empty line, left unread.

    Raises:
        EOFError: it does not end.
    """
    wanted = 1
    while True:
        data = await peek(inner, wanted, PATIENCE_SECONDS)
        end = data.find(b"\r\n\r\n")
        if end >= 0:
            return data[: end + 4]
        if not data.startswith(b"CONNECT ") and len(data) >= 8:
            return data
        if len(data) < wanted or len(data) >= _MAX_HEAD:
            raise EOFError
        wanted = len(data) + 1
