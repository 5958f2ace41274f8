"""The inner end of a line to the host, by which connections come into a gVisor sandbox.

gVisor passes no listening sockets on, and a socket that it made on the host's side keeps a
sandbox from being checkpointed. So a thread here connects to a socket of the host, in a directory
that is read-only inside, and the host sends the connections that it accepts over it, as
descriptors. For a checkpoint all of these are closed, and the line last. Afterwards, or in a
copy of the sandbox made from the checkpoint, the thread connects again, to whoever is there then.

The first words to the host are a token, which only this process and the host know: no program
inside can come first and be taken for the API. It is read before any of them runs, and gone from
the file when the host has answered.

Words to the host: ``r`` (ready), ``n`` (no: a connection does not end), ``e`` and a problem. Words
of the host: ``k`` (known), ``a`` and ``p`` with a connection for the API or the port socket, ``q``
(be quiet).
"""

import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from weakref import WeakSet

LINE = "line"
"""The host's socket in the run directory."""
API, PORT, QUIET, KNOWN = b"a", b"p", b"q", b"k"
TOKEN_BYTES = 32
READY, REFUSES, PROBLEM = b"r", b"n", b"e"
GRACE_SECONDS = 0.5
"""How long requests may take that are under way when quiet is wanted."""
QUIET_SECONDS = 5.0
"""How long connections may take to close after that."""
_SHORTEST, _LONGEST, _GROWTH = 0.01, 0.5, 1.3
_LOOK_SECONDS = 0.002


class Inlet(socket.socket):
    """Used like a listening socket; its connections come from the line."""

    def __init__(self) -> None:
        ours, self._bell = socket.socketpair()
        super().__init__(fileno=ours.detach())
        self._arrived: deque[socket.socket] = deque()

    def listen(self, backlog: int = 0, /) -> None:
        """Nothing: the host listens."""

    def accept(self) -> tuple[socket.socket, str]:
        """The next connection; as of a listening socket."""
        if not self.recv(1):
            raise ConnectionAbortedError("the inlet is closed")
        return self._arrived.popleft(), ""

    def put(self, connection: socket.socket) -> None:
        """A connection has come."""
        self._arrived.append(connection)
        self._bell.send(b"x")


class Line:
    """Connects, takes what comes, and is quiet when asked.

    Args:
        path: the host's socket.
        token: by which the host knows us, TOKEN_BYTES long.
        join: called each time when connected, before anything is taken.
        interrupt: called before connections are cut that are still in use.
    """

    def __init__(
        self, path: str, token: bytes, join: Callable[[], None], interrupt: Callable[[], None]
    ) -> None:
        self.api, self.port = Inlet(), Inlet()
        self._token = token
        self._is_known = threading.Event()
        self._path = path
        self._join = join
        self._interrupt = interrupt
        self._open: WeakSet[socket.socket] = WeakSet()
        self._inlets: Mapping[bytes, Inlet] = {API: self.api, PORT: self.port}

    def start(self) -> None:
        """Connect in a thread, for ever; returns when the host knows us."""
        threading.Thread(target=self._run, name="line", daemon=True).start()
        self._is_known.wait()

    def _run(self) -> None:
        while True:
            with connect(self._path) as line, suppress(OSError):
                self._join()
                line.sendall(self._token + READY)
                if line.recv(1) == KNOWN:
                    self._is_known.set()
                    self._take(line)

    def _take(self, line: socket.socket) -> None:
        """Take connections until the host is gone, or wants quiet and has it."""
        while True:
            word, descriptors, _, _ = socket.recv_fds(line, 1, 1)
            connections = [socket.socket(fileno=each) for each in descriptors]
            if word in self._inlets and connections:
                self._open.add(connections[0])
                self._inlets[word].put(connections[0])
            elif word != QUIET or self._hush():
                return
            else:
                line.sendall(REFUSES)

    def _hush(self) -> bool:
        """End every connection; whether all are closed now.

        First nothing more is read from them: those in use may answer, the others close.
        """
        self._shut(socket.SHUT_RD)
        if self._all_close(GRACE_SECONDS):
            return True
        self._interrupt()
        if self._all_close(GRACE_SECONDS):
            return True
        self._shut(socket.SHUT_RDWR)
        return self._all_close(QUIET_SECONDS)

    def _shut(self, how: int) -> None:
        for connection in list(self._open):
            with suppress(OSError):  # closed already
                connection.shutdown(how)

    def _all_close(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while any(each.fileno() >= 0 for each in list(self._open)):
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOOK_SECONDS)
        return True


def connect(path: str) -> socket.socket:
    """A connection to the host, as soon as it listens."""
    pause = _SHORTEST
    while True:
        line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            line.connect(path)
        except OSError:
            line.close()
            time.sleep(pause)
            pause = min(_LONGEST, pause * _GROWTH)
        else:
            return line
