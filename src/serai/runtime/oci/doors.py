"""The host's end of the lines by which connections come into gVisor sandboxes.

Clients connect to the sandbox's two sockets as of any other; what they get is sent into the sandbox
as a descriptor, and bytes never pass through here. While the sandbox is not to be reached, because
a checkpoint is made of it, say, connections wait. See ``serai.runtime.guest.line``.
"""

import asyncio
import hmac
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from serai.runtime import birth as births
from serai.runtime import rootfs, storage
from serai.runtime.guest import line as words
from serai.runtime.guest import threshold
from serai.runtime.port import RuntimeProblem

READY_SECONDS = 30.0
QUIET_SECONDS = words.QUIET_SECONDS + 2 * words.GRACE_SECONDS + 2
_LOOK_SECONDS = 0.2
_BACKLOG = 8


class Door:
    """The sockets of one sandbox, served by the event loop of this process."""

    def __init__(self, sockets: tuple[str, str], token: str, owner: rootfs.Owner) -> None:
        api_socket, port_socket = sockets
        self._loop = asyncio.get_running_loop()
        self._path = storage.run_directory(api_socket) / words.LINE
        self._owner = owner
        self._token = token.encode()
        self._strangers: dict[socket.socket, bytes] = {}
        self._waiting: deque[tuple[bytes, socket.socket]] = deque()
        self._line: socket.socket | None = None
        self._is_ready = False
        self._said = bytearray()
        self._changed = asyncio.Event()
        self._listeners: dict[bytes, socket.socket] = {}
        self._lines: socket.socket | None = None
        for kind, path in ((words.API, api_socket), (words.PORT, port_socket)):
            listener = self._listeners[kind] = births.listen(path)
            listener.setblocking(False)
            self._loop.add_reader(listener, self._accept, kind, listener)
        self.open()

    def open(self) -> None:
        """Let the sandbox connect to us."""
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        self._owner.give(str(self._path.parent))
        self._path.unlink(missing_ok=True)
        self._lines = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._lines.bind(str(self._path))
        self._owner.give(str(self._path))
        self._lines.listen(_BACKLOG)
        self._lines.setblocking(False)
        self._loop.add_reader(self._lines, self._join, self._lines)

    def _shut(self) -> None:
        """Let nobody connect to us; a line that is there stays."""
        if self._lines is not None:
            self._loop.remove_reader(self._lines)
            self._lines.close()
            self._lines = None
            self._path.unlink(missing_ok=True)
        for line in list(self._strangers):
            self._refuse(line)

    def close(self) -> None:
        """Forget the sandbox; it waits for the next who opens a door."""
        self._shut()
        self._drop_line()
        for listener in self._listeners.values():
            self._loop.remove_reader(listener)
            listener.close()
        for _, connection in self._waiting:
            connection.close()
        self._waiting.clear()

    async def wait_ready(self, ended: Callable[[], bool]) -> None:
        """Return when the sandbox takes connections.

        Raises:
            RuntimeProblem: it said why not, has ended, or kept silent for too long.
        """
        deadline = self._loop.time() + READY_SECONDS
        while not self._is_ready:
            if self._said.startswith(words.PROBLEM):
                raise RuntimeProblem(self._said[1:2000].decode(errors="replace"))
            if ended():
                raise RuntimeProblem("the sandbox's first process ended unexpectedly")
            if self._loop.time() > deadline:
                raise RuntimeProblem(f"its first process did not answer in {READY_SECONDS:.0f} s")
            await self._change()

    async def hush(self) -> None:
        """Have the sandbox close every connection, and the line; connections wait until ``open``.

        Raises:
            RuntimeProblem: it did not; all is as before then, but for connections that ended.
        """
        if self._line is None or not self._is_ready:
            raise RuntimeProblem("the sandbox does not answer")
        self._shut()
        self._is_ready = False
        self._said.clear()
        with suppress(OSError):
            self._line.send(words.QUIET)
        deadline = self._loop.time() + QUIET_SECONDS
        while self._line is not None:
            if self._said or self._loop.time() > deadline:
                self._is_ready = True
                self._flush()
                self.open()
                raise RuntimeProblem("a connection to the sandbox does not end")
            await self._change()

    async def _change(self) -> None:
        self._changed.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), _LOOK_SECONDS)

    def _accept(self, kind: bytes, listener: socket.socket) -> None:
        with suppress(OSError):
            connection, _ = listener.accept()
            self._waiting.append((kind, connection))
        self._flush()

    def _join(self, lines: socket.socket) -> None:
        try:
            line, _ = lines.accept()
        except OSError:
            return
        line.setblocking(False)
        self._strangers[line] = b""
        self._loop.add_reader(line, self._meet, line)
        if len(self._strangers) > _BACKLOG:
            self._refuse(next(iter(self._strangers)))

    def _meet(self, line: socket.socket) -> None:
        """Only who knows the token is the API, whoever else in the sandbox may connect."""
        try:
            said = line.recv(words.TOKEN_BYTES - len(self._strangers[line]))
        except BlockingIOError:
            return
        except OSError:
            said = b""
        self._strangers[line] += said
        if not said:
            self._refuse(line)
        elif len(self._strangers[line]) == words.TOKEN_BYTES:
            if not hmac.compare_digest(self._strangers[line], self._token):
                self._refuse(line)
                return
            del self._strangers[line]
            self._drop_line()
            self._line = line
            self._loop.remove_reader(line)
            self._loop.add_reader(line, self._hear, line)

    def _refuse(self, line: socket.socket) -> None:
        del self._strangers[line]
        self._loop.remove_reader(line)
        line.close()

    def _hear(self, line: socket.socket) -> None:
        try:
            said = line.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            said = b""
        if not said:
            self._drop_line()
        elif said == words.READY and not self._is_ready:
            threshold.forget_token(self._path.parent)
            line.send(words.KNOWN)
            self._is_ready = True
            self._flush()
        elif len(self._said) < 1 << 16:
            self._said += said
        self._changed.set()

    def _drop_line(self) -> None:
        if self._line is not None:
            self._loop.remove_reader(self._line)
            self._loop.remove_writer(self._line)
            self._line.close()
        self._line, self._is_ready = None, False

    def _flush(self) -> None:
        """Send what has come; what does not fit goes when it does."""
        while self._waiting and self._line is not None and self._is_ready:
            kind, connection = self._waiting[0]
            try:
                socket.send_fds(self._line, [kind], [connection.fileno()])
            except BlockingIOError:
                self._loop.add_writer(self._line, self._flush)
                return
            except OSError:
                self._drop_line()
                return
            self._waiting.popleft()[1].close()
        if self._line is not None:
            self._loop.remove_writer(self._line)


class Doors:
    """The doors of all sandboxes that this process looks after."""

    def __init__(self) -> None:
        self._doors: dict[str, Door] = {}

    def open(
        self, sandbox_id: str, sockets: tuple[str, str], token: str, owner: int | None
    ) -> Door:
        """A new door, in place of one that was there.

        Args:
            sockets: paths of the API socket and the port socket.
            token: by which the sandbox makes itself known.
            owner: host id of root inside.

        Raises:
            RuntimeProblem: the sockets cannot be made.
        """
        self.close(sandbox_id)
        try:
            door = self._doors[sandbox_id] = Door(sockets, token, rootfs.Owner(owner))
        except OSError as error:
            raise RuntimeProblem(f"the sockets of sandbox {sandbox_id}: {error}") from error
        return door

    def find(self, sandbox_id: str) -> Door | None:
        """The door of a sandbox."""
        return self._doors.get(sandbox_id)

    def close(self, sandbox_id: str) -> None:
        """Close the door of a sandbox, if it has one."""
        door = self._doors.pop(sandbox_id, None)
        if door is not None:
            door.close()

    def close_all(self) -> None:
        """Close every door; the sandboxes go on."""
        for sandbox_id in list(self._doors):
            self.close(sandbox_id)
