"""TLS on a connection that has begun without it."""

import asyncio
import ssl
from collections.abc import Callable
from typing import cast

from serai.connect.relay import Holding

HANDSHAKE_SECONDS = 15.0


async def accept(
    transport: asyncio.Transport, held: Holding, plain: Holding, context: ssl.SSLContext
) -> asyncio.Transport:
    """Be the server of a TLS handshake; the transport of what is inside.

    Args:
        transport: the connection; ``held`` is its protocol.
        held: what has been received already.
        plain: keeps what comes inside until :func:`hand_over`.
        context: of the server.

    Raises:
        OSError: the handshake failed, or the client went away.
    """
    loop = asyncio.get_running_loop()
    handshake = loop.create_task(
        loop.start_tls(
            transport,
            plain,
            context,
            server_side=True,
            ssl_handshake_timeout=HANDSHAKE_SECONDS,
        )
    )
    try:
        if early := held.take():
            await _feed(transport, early)
        secure = await handshake
    finally:
        handshake.cancel()
    if secure is None:
        raise ConnectionResetError("the client closed the connection")
    return secure


def hand_over(
    secure: asyncio.Transport, plain: Holding, make_protocol: Callable[[], asyncio.Protocol]
) -> None:
    """Let a fresh protocol have a connection, with what came in the meantime."""
    if plain.ended:
        secure.abort()
        return
    protocol = make_protocol()
    protocol.connection_made(secure)
    secure.set_protocol(protocol)
    if early := plain.take():
        protocol.data_received(early)


async def _feed(transport: asyncio.Transport, data: bytes) -> None:
    """Give a TLS protocol bytes that were read from the connection before it was there."""
    # start_tls installs its protocol in its first step and starts it in the next.
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    # uvloop's TLS protocol has this interface without the base class.
    protocol = cast("asyncio.BufferedProtocol", transport.get_protocol())
    while data and not transport.is_closing():
        buffer = memoryview(protocol.get_buffer(len(data)))
        count = min(len(buffer), len(data))
        buffer[:count] = data[:count]
        protocol.buffer_updated(count)
        data = data[count:]
