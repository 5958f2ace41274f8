"""Port monitors: tell a server inside the sandbox when a process begins to listen."""

import asyncio
import contextlib
import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

import msgspec

from serai.kernel.errors import BadRequest
from serai.sandboxd.errors import Unprocessable
from serai.sandboxd.handover import MonitorState
from serai.sandboxd.sockets import family, ports_of
from serai.wire.sandbox_api import PortOpened

POLL_SECONDS = 0.5
CALL_SECONDS = 5.0
MOST_MONITORS = 64
MOST_CALLBACKS = 16
_encode = msgspec.json.Encoder().encode


class Callback(msgspec.Struct, frozen=True):
    """Where to send a note: a literal address, as this process must look up no names.

    Looking up a host name would load libraries that the sandbox's files name.
    """

    hosts: tuple[str, ...]
    port: int
    target: str
    host_header: str


def parse_callback(url: str) -> Callback:
    """A callback's address.

    Raises:
        BadRequest: when it is not ``http://`` and ``localhost`` or an IP address.
    """
    rule = "callback: an http:// address with 'localhost' or an IP address as its host"
    try:
        parts = urlsplit(url)
        port = parts.port or 80
        host = parts.hostname or ""
        hosts = ("127.0.0.1", "::1") if host == "localhost" else (str(ipaddress.ip_address(host)),)
    except ValueError:
        raise BadRequest(f"{rule} is required, not '{url[:200]}'") from None
    target = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
    plain = url.isascii() and url.isprintable() and " " not in url
    if parts.scheme != "http" or not plain or "@" in parts.netloc:
        raise BadRequest(f"{rule} is required, not '{url[:200]}'")
    return Callback(hosts, port, target, parts.netloc)


class Monitors:
    """All monitors of the sandbox, one per process."""

    def __init__(self) -> None:
        self._callbacks: dict[int, list[Callback]] = {}
        self._told: dict[int, set[int]] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._calls: set[asyncio.Task[None]] = set()

    def states(self) -> list[MonitorState]:
        """All monitors, for a later version of this API."""
        return [
            MonitorState(
                pid=pid,
                callbacks=[f"http://{each.host_header}{each.target}" for each in callbacks],
                told=sorted(self._told.get(pid, ())),
            )
            for pid, callbacks in self._callbacks.items()
        ]

    def take_over(self, states: Iterable[MonitorState]) -> None:
        """Go on with the monitors of an earlier version."""
        for state in states:
            self._told[state.pid] = set(state.told)
            for url in state.callbacks:
                self.add(state.pid, parse_callback(url))

    def add(self, pid: int, callback: Callback) -> None:
        """Report new ports of a process from now on, until it and what it started are gone.

        Raises:
            Unprocessable: when there are too many already.
        """
        callbacks = self._callbacks.setdefault(pid, [])
        if callback in callbacks:
            return
        if len(callbacks) >= MOST_CALLBACKS or len(self._callbacks) > MOST_MONITORS:
            raise Unprocessable(
                f"there are {MOST_MONITORS} monitors or {MOST_CALLBACKS} callbacks already"
            )
        callbacks.append(callback)
        if pid not in self._tasks:
            self._tasks[pid] = asyncio.get_running_loop().create_task(self._watch(pid))

    def remove(self, pid: int) -> None:
        """Report nothing of this process any more."""
        self._callbacks.pop(pid, None)
        self._told.pop(pid, None)
        task = self._tasks.pop(pid, None)
        if task is not None:
            task.cancel()

    async def _watch(self, pid: int) -> None:
        loop = asyncio.get_running_loop()
        while True:
            found = await loop.run_in_executor(None, ports_of, pid)
            now = {each.local_port for each in found}
            for port in sorted(now - self._told.get(pid, set())):
                self._tell(PortOpened(pid=pid, port=port))
            self._told[pid] = now
            if not now and not await loop.run_in_executor(None, family, pid):
                break
            await asyncio.sleep(POLL_SECONDS)
        self._callbacks.pop(pid, None)
        self._told.pop(pid, None)
        self._tasks.pop(pid, None)

    def _tell(self, opened: PortOpened) -> None:
        for callback in self._callbacks.get(opened.pid, ()):
            call = asyncio.get_running_loop().create_task(_call(callback, _encode(opened)))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)


async def _call(callback: Callback, body: bytes) -> None:
    """Send one note; whether it is heard is the receiver's business."""
    head = (
        f"POST {callback.target} HTTP/1.1\r\nHost: {callback.host_header}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    for host in callback.hosts:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(CALL_SECONDS):
                reader, writer = await asyncio.open_connection(host, callback.port, limit=4096)
                try:
                    writer.write(head.encode() + body)
                    await writer.drain()
                    await reader.read(1024)
                finally:
                    writer.close()
                return
