"""How long a client's connection lasts: its timeouts, and its end at a shutdown."""

import asyncio

from serai.gateway.asgi import AsgiSink
from serai.gateway.problems import RequestTimeout
from serai.gateway.reading import ReadingProtocol
from serai.gateway.request import Nobody


class LastingProtocol(ReadingProtocol):
    """Ends connections whose time is over; its subclass handles what they ask."""

    __slots__ = ("_drain",)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._drain: asyncio.Future[None] | None = None

    def tick(self, now: float) -> None:
        """Enforce the timeouts of this connection."""
        if self._stalled and now - self._stalled > self.gateway.limits.send_timeout:
            self.transport.abort()
            return
        if self.transport.is_closing():
            self._stalled = self._stalled or now
            return
        if self._tunnel is not None or self._active is not None:
            if self._active is not None and self._active.sink is not None:
                self._active.sink.tick(now)
            return
        limits = self.gateway.limits
        waited = now - self._mark
        incoming = self._incoming
        if incoming is not None and not incoming.complete:
            dropped = incoming.sink.dropped if isinstance(incoming.sink, Nobody) else 0
            if waited > limits.discard_timeout or dropped > limits.discard_bytes:
                self.transport.close()
        elif self._fields is self._head and not self._fresh:
            if waited > limits.header_timeout:
                self._refuse(
                    RequestTimeout(
                        f"The request's headers were not complete after"
                        f" {limits.header_timeout:g} s."
                    )
                )
        elif waited > (limits.header_timeout if self._fresh else limits.keep_alive):
            self.transport.close()

    def shutdown(self) -> None:
        """Close when idle; else finish the current request first.

        A task in the server's task set stands for the request, so that the server's drain
        deadline, which cancels tasks, ends streams and tunnels too.
        """
        request = self._active
        if request is None:
            self.transport.close()
            return
        request.keep_alive = False
        self._last = True
        self._rests = False
        if isinstance(request.sink, AsgiSink):
            request.sink.cycle.keep_alive = False
            return
        self._drain = self.loop.create_future()
        task = self.loop.create_task(self._drained(self._drain))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    async def _drained(self, gone: asyncio.Future[None]) -> None:
        try:
            await gone
        except asyncio.CancelledError:
            self.transport.close()
            raise

    def _drain_ends(self) -> None:
        """The connection is gone."""
        if self._drain is not None and not self._drain.done():
            self._drain.set_result(None)
