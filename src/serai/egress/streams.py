"""Byte streams over accepted and made connections, with or without TLS."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Coroutine
from typing import Any

import msgspec

from serai.egress.journal import Journal

READ_SIZE = 256 * 1024
HANDSHAKE_SECONDS = 15.0


class Stream(msgspec.Struct, frozen=True):
    """Both directions of one connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def protocol(self) -> str:
        """What both sides of TLS agreed to speak; empty for nothing."""
        tls = self.writer.get_extra_info("ssl_object")
        return (tls.selected_alpn_protocol() or "") if tls is not None else ""

    def close(self) -> None:
        """Stop both directions; what was written is still sent."""
        with contextlib.suppress(Exception):
            self.writer.close()


async def accepted(connection: socket.socket, context: ssl.SSLContext | None = None) -> Stream:
    """The stream of an accepted connection; ``context`` makes us the server of its TLS.

    Raises:
        OSError: the handshake failed.
    """
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(READ_SIZE)
    protocol = asyncio.StreamReaderProtocol(reader)
    seconds = HANDSHAKE_SECONDS if context is not None else None
    transport, _ = await loop.connect_accepted_socket(
        lambda: protocol, connection, ssl=context, ssl_handshake_timeout=seconds
    )
    return Stream(reader, asyncio.StreamWriter(transport, protocol, reader, loop))


async def made(
    connection: socket.socket, context: ssl.SSLContext | None = None, name: str = ""
) -> Stream:
    """The stream of a connection that we made; ``context`` speaks TLS to the server ``name``.

    Raises:
        OSError: the handshake failed, or the server is not ``name``.
    """
    seconds = HANDSHAKE_SECONDS if context is not None else None
    reader, writer = await asyncio.open_connection(
        sock=connection,
        ssl=context,
        server_hostname=name if context is not None else None,
        ssl_handshake_timeout=seconds,
        limit=READ_SIZE,
    )
    return Stream(reader, writer)


async def splice(inner: Stream, outer: Stream, journal: Journal) -> None:
    """Copy both ways until both ends have finished."""

    async def copy(source: Stream, target: Stream, *, out: bool) -> None:
        while data := await source.reader.read(READ_SIZE):
            if out:
                journal.sent += len(data)
            else:
                journal.received += len(data)
            target.writer.write(data)
            await target.writer.drain()
        if target.writer.can_write_eof():
            target.writer.write_eof()
        else:
            target.close()

    await _both(copy(inner, outer, out=True), copy(outer, inner, out=False))


async def _both(*copies: Coroutine[Any, Any, None]) -> None:
    tasks = [asyncio.create_task(copy) for copy in copies]
    try:
        await asyncio.gather(*tasks)
    except OSError:
        pass
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def relay(
    inner: socket.socket,
    outer: socket.socket,
    journal: Journal,
    before: Coroutine[Any, Any, None] | None = None,
) -> None:
    """As ``splice`` on sockets that nobody has read from: the fast way.

    Args:
        before: what must have succeeded before anything goes out.
    """
    loop = asyncio.get_running_loop()

    async def copy(source: socket.socket, target: socket.socket, *, out: bool) -> None:
        if out and before is not None:
            await before
        buffer = memoryview(bytearray(64 * 1024))
        while count := await loop.sock_recv_into(source, buffer):
            if out:
                journal.sent += count
            else:
                journal.received += count
            await loop.sock_sendall(target, buffer[:count])
            if count == len(buffer) < READ_SIZE:
                buffer = memoryview(bytearray(READ_SIZE))
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    await _both(copy(inner, outer, out=True), copy(outer, inner, out=False))
