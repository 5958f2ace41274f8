"""The port socket: raw TCP streams to servers inside the sandbox, and from it to others.

A client sends ``<port>\\n``, or ``<host> <port>\\n`` for a server outside that the sandbox itself
may reach, and reads ``ok\\n`` or ``error <reason>\\n``; after ``ok`` the connection is that port's
stream. Each direction waits for its slower side and may end alone.
"""

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Callable, MutableSet

from serai.sandboxd.errors import reason
from serai.sandboxd.handover import RelayState

GREETING_LIMIT = 300
"""Bytes of the first line: more cannot be a host and a port."""
HOSTS = ("127.0.0.1", "::1")
LOOK_SECONDS = 0.05
LEAVE_SECONDS = 20.0
"""How long a server outside may take to accept."""
BACKLOG_LIMIT = 256 * 1024
"""Bytes a client may send ahead of ``ok``."""


def is_ours(address: str) -> bool:
    """Whether an address leads back into the sandbox, or to its host."""
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    found = mapped or found
    return found.is_loopback or found.is_link_local or found.is_unspecified or found.is_multicast


class Half(asyncio.Protocol):
    """One of two connections that are copied into each other; ``held`` ones do not read yet."""

    def __init__(self, *, held: bool = False) -> None:
        self._held = held
        self.transport: asyncio.Transport | None = None
        self.peer: Half | None = None
        self.ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self._held:
            transport.pause_reading()

    def carry(self) -> RelayState | None:
        """Both connections, for a later version of this API; None while bytes are on the way."""
        peer = self.peer
        if peer is None or self.transport is None or peer.transport is None:
            return None
        if self.transport.get_write_buffer_size() or peer.transport.get_write_buffer_size():
            return None
        return RelayState(
            client=self.transport.get_extra_info("socket").fileno(),
            server=peer.transport.get_extra_info("socket").fileno(),
            client_ended=self.ended,
            server_ended=peer.ended,
        )

    def join(self, server: "Half", state: RelayState) -> None:
        """Go on where an earlier version of this API stopped copying."""
        self.peer, server.peer = server, self
        self.ended, server.ended = state.client_ended, state.server_ended
        for half in (self, server):
            if half.transport is not None and not half.ended:
                half.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.write(data)

    def eof_received(self) -> bool:
        self.ended = True
        peer = self.peer
        if peer is None or peer.transport is None or peer.ended:
            if peer is not None and peer.transport is not None:
                peer.transport.close()
            return False
        with contextlib.suppress(OSError, RuntimeError):
            peer.transport.write_eof()
        return True

    def pause_writing(self) -> None:
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        peer = self.peer
        if peer is not None and peer.transport is not None and not peer.ended:
            peer.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.abort() if exc else self.peer.transport.close()
        self.peer = None


class Server(Half):
    """The side of a server that listens on a port.

    What it sends is acknowledged at once: one that sends the head of an answer and then its body
    would otherwise wait for 40 ms in between (RFC 9293, 3.8.6.3, and Nagle's algorithm).
    """

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport is not None:
            found = self.transport.get_extra_info("socket")
            with contextlib.suppress(OSError):
                found.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


class PortClient(Half):
    """The side that asked for a port.

    Where nothing listens yet, it waits as long as ``expected`` answers that something soon will.
    """

    def __init__(
        self,
        expected: Callable[[int], bool] = lambda port: False,
        known: MutableSet[asyncio.Transport] | None = None,
    ) -> None:
        super().__init__()
        self._expected = expected
        self._known = known
        self._early = bytearray()
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._known is not None and self.transport is not None:
            self._known.add(self.transport)

    def carry(self) -> RelayState | None:
        return None if self._early else super().carry()

    def data_received(self, data: bytes) -> None:
        if self.peer is not None:
            super().data_received(data)
            return
        self._early += data
        if self._task is None:
            self._greet()
        elif len(self._early) > BACKLOG_LIMIT and self.transport is not None:
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        if self.peer is not None:
            return super().eof_received()
        self.ended = True
        return self._task is not None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._task is not None:
            self._task.cancel()
        super().connection_lost(exc)

    def _greet(self) -> None:
        line, newline, rest = bytes(self._early).partition(b"\n")
        if not newline and len(line) <= GREETING_LIMIT:
            return
        self._early = bytearray(rest)
        host, _, text = line.strip().rpartition(b" ")
        if not newline or not text.isdigit() or not 0 < int(text) < 65536:
            self._refuse("the first line must be a port from 1 to 65535")
            return
        port = int(text)
        step = self._leave(host.decode("latin-1"), port) if host else self._connect(port)
        self._task = asyncio.get_running_loop().create_task(step)

    def _refuse(self, why: str) -> None:
        assert self.transport is not None
        self.transport.write(f"error {why}\n".encode())
        self.transport.close()

    async def _leave(self, host: str, port: int) -> None:
        """Connect to a server outside, as a program in the sandbox would."""
        loop = asyncio.get_running_loop()
        why = "it has no address"
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            found = []
        for address in dict.fromkeys(each[4][0] for each in found):
            if is_ours(str(address)):
                why = "its address is not one outside of the sandbox"
                continue
            try:
                async with asyncio.timeout(LEAVE_SECONDS):
                    _, server = await loop.create_connection(Half, str(address), port)
            except OSError as error:
                why = reason(error)
                continue
            self._join(server)
            return
        self._refuse(why)

    async def _connect(self, port: int) -> None:
        while True:
            why = await self._try(port)
            if not why or not self._expected(port):
                break
            await asyncio.sleep(LOOK_SECONDS)
        if why:
            self._refuse(why)

    async def _try(self, port: int) -> str:
        """Connect; the reason when that fails."""
        loop = asyncio.get_running_loop()
        why = ""
        for host in HOSTS:
            try:
                _, server = await loop.create_connection(Server, host, port)
            except OSError as error:
                why = why or reason(error)
                continue
            self._join(server)
            return ""
        return why

    def _join(self, server: Half) -> None:
        assert self.transport is not None
        assert server.transport is not None
        self.peer, server.peer = server, self
        self.transport.write(b"ok\n")
        if self._early:
            server.transport.write(bytes(self._early))
            self._early.clear()
        if self.ended:
            server.transport.write_eof()
        else:
            self.transport.resume_reading()
