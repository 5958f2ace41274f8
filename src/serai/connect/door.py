"""One port for HTTPS and HTTP: the first byte of a connection tells which it is."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import structlog

from serai.connect.certificates import Certificates
from serai.connect.handshake import accept, hand_over
from serai.connect.relay import Holding
from serai.kernel.background import Background

TLS_HANDSHAKE = 0x16
"""The first byte of every TLS connection (RFC 8446, 5.1), and of no HTTP request."""

FIRST_BYTE_SECONDS = 30.0
MakeProtocol = Callable[..., asyncio.Protocol]
log = structlog.get_logger("serai.tls")


class Doorway:
    """What all connections share.

    Args:
        certificates: for those who speak TLS.
        secure: makes the protocol of a connection over TLS.
        plain: makes that of one without.
    """

    def __init__(
        self, certificates: Certificates, secure: MakeProtocol, plain: MakeProtocol
    ) -> None:
        self.context = certificates.context()
        self.secure = secure
        self.plain = plain
        self.tasks = Background()

    def protocol(self, **given: Any) -> asyncio.Protocol:
        """The protocol of a new connection; takes what the HTTP server gives to its own."""
        return Door(self, given)

    async def close(self) -> None:
        """End unfinished handshakes."""
        await self.tasks.cancel()


class Door(asyncio.Protocol):
    """Waits for the first bytes of a connection, and is done with it then."""

    def __init__(self, way: Doorway, given: dict[str, Any]) -> None:
        self._way = way
        self._given = given
        self._waiting = given["server_state"].connections
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._waiting.add(self)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(FIRST_BYTE_SECONDS, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        self._leave()
        if data[0] == TLS_HANDSHAKE:
            held = Holding(data)
            self._transport.pause_reading()
            self._transport.set_protocol(held)
            self._way.tasks.start(self._secure(held))
            return
        protocol = self._way.plain(**self._given)
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        protocol.data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()

    def shutdown(self) -> None:
        """Nothing was asked: nothing to finish."""
        self._transport.close()

    def _leave(self) -> None:
        self._waiting.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    async def _secure(self, held: Holding) -> None:
        plain = Holding()
        try:
            secure = await accept(self._transport, held, plain, self._way.context)
        except Exception as error:
            self._transport.abort()
            log.debug("handshake_failed", reason=str(error))
        except BaseException:
            self._transport.abort()
            raise
        else:
            hand_over(secure, plain, lambda: self._way.secure(**self._given))
