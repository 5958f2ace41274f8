"""Looking at the first bytes of a connection without taking them."""

import asyncio
import socket

import msgspec

from serai.egress import hello
from serai.egress.hello import Hello, Incomplete

PATIENCE_SECONDS = 15.0
"""How long a client may take for its first message."""
_SILENCE_SECONDS = 1.0
"""How long to wait for a client that may be waiting for its server to speak first."""
_CLIENT_FIRST = frozenset({80, 443, 8000, 8080, 8443})
"""Ports where it is the client who speaks first, as browsers connect before they need to."""
_MAX_HEAD = 64 * 1024


class Seen(msgspec.Struct, frozen=True):
    """What a connection begins with.

    Attributes:
        kind: ``tls``, ``http1``, ``http2``, or none of them (empty); ``silent`` if the client
            says nothing, ``stalled`` if it does not finish its first message.
    """

    kind: str
    hello: Hello = Hello()


async def look(inner: socket.socket, port: int) -> Seen:
    """What the first bytes say; they stay where they are. ``port`` is where they go."""
    try:
        await peek(inner, 1, PATIENCE_SECONDS if port in _CLIENT_FIRST else _SILENCE_SECONDS)
    except TimeoutError:
        return Seen("silent")
    return await look_late(inner)


async def look_late(inner: socket.socket) -> Seen:
    """What the first bytes say, however long a client waits with them."""
    data = await peek(inner, 1, None)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_SECONDS
    while True:
        try:
            return _recognise(data)
        except Incomplete:
            if len(data) >= hello.MAX_HELLO:
                return Seen("stalled")
        wanted = len(data) + 1
        try:
            data = await peek(inner, wanted, deadline - loop.time())
        except TimeoutError:
            return Seen("stalled")
        if len(data) < wanted:
            return Seen("stalled")


def _recognise(data: bytes) -> Seen:
    if (greeting := hello.read_tls(data)) is not None:
        return Seen("tls", greeting)
    if hello.is_http2(data):
        return Seen("http2")
    return Seen("http1") if hello.is_http1(data) else Seen("")


async def peek(inner: socket.socket, wanted: int, seconds: float | None) -> bytes:
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
