"""The HTTP server of one process."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socket import socket

import uvicorn
from litestar.types import ASGIApp

from serai.kernel.settings import Settings

DRAIN_SECONDS = 5


class Server(uvicorn.Server):
    """uvicorn, with our signals: the first one drains, a second SIGINT leaves at once.

    Args:
        config: of uvicorn.
        leaving: called when the drain begins, to end answers that have no end of their own.
    """

    def __init__(self, config: uvicorn.Config, leaving: Callable[[], None]) -> None:
        super().__init__(config)
        self._leaving = leaving

    async def serve_until_signal(self, ready: Callable[[], None]) -> None:
        """Listen, call ``ready``, and answer until SIGTERM or SIGINT, then drain."""
        self._ready = ready
        await self.serve()

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Listen no more, and let answers come to their end."""
        self._leaving()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals on the loop; uvicorn's own way raises them again at the end."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)


def http_config(
    settings: Settings, app: ASGIApp, protocol: type[asyncio.Protocol]
) -> uvicorn.Config:
    """How uvicorn serves: our protocol for each connection, none of its logs."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        headers=settings.response_headers,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
