"""Terminals: shells on a pseudo terminal that outlive their connections and may be shared.

What a shell prints is kept in a small tail. Everyone who watches reads it at an own pace; who
falls behind the tail skips. So neither a flood of output nor a client that does not read costs
more than the tail, and nobody blocks the shell.
"""

import asyncio
import contextlib
import fcntl
import os
import signal
import struct
import termios
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import msgspec

from serai.sandboxd.census import end_session
from serai.sandboxd.errors import Unprocessable, reason
from serai.sandboxd.expendable import Expendable
from serai.sandboxd.handover import TerminalState
from serai.sandboxd.spawning import Reaper, Surroundings

TAIL_LIMIT = 100 * 1024
"""Newest bytes of output kept for those who attach later or read slowly."""
READ_SIZE = 16 * 1024
"""Bytes taken from a terminal at once, so that a flood leaves room for other work."""
INPUT_LIMIT = 64 * 1024
"""Bytes not yet read by the shell, after which clients must wait."""
MOST_TERMINALS = 32
LOOK_SECONDS = 30.0
"""How often terminals are looked over, at most."""
MOST_CELLS = 1000
_SHELLS = ("/bin/zsh", "/bin/bash", "/bin/sh", "/bin/ash")
_LAUNCH = 'cd "$1" && shift && exec "$@"'


class Size(msgspec.Struct, frozen=True):
    """A terminal's size in character cells."""

    cols: int = 80
    rows: int = 24


class Watcher(Protocol):
    """One who watches a terminal."""

    def printed(self) -> None:
        """There is new output in the tail."""

    def drained(self) -> None:
        """The shell has read its input."""

    def ended(self) -> None:
        """The shell is gone, nothing comes any more."""

    def check(self) -> None:
        """Look whether the client is still there."""


class Tail:
    """The newest output. Positions count bytes from the very first one."""

    def __init__(self, limit: int = TAIL_LIMIT, data: bytes = b"", end: int = 0) -> None:
        self._limit = limit
        self._data = bytearray(data)
        self.end = end

    @property
    def kept(self) -> bytes:
        """All that is kept."""
        return bytes(self._data)

    @property
    def start(self) -> int:
        """Position of the oldest byte kept."""
        return self.end - len(self._data)

    def append(self, data: bytes) -> None:
        """Keep output, forget the oldest."""
        self._data += data
        self.end += len(data)
        if len(self._data) > self._limit + READ_SIZE:
            del self._data[: -self._limit]

    def read(self, position: int, most: int) -> tuple[int, bytes]:
        """Position and bytes of what to show next after ``position``.

        When that is gone already, the answer begins with a whole line, or at least with a whole
        character.
        """
        if position < self.start:
            position = self._clean_start()
        at = position - self.start
        return position, bytes(self._data[at : at + most])

    def _clean_start(self) -> int:
        newline = self._data.find(b"\n", 0, READ_SIZE)
        if newline >= 0:
            return self.start + newline + 1
        skipped = 0
        while skipped < min(3, len(self._data)) and self._data[skipped] & 0xC0 == 0x80:
            skipped += 1
        return self.start + skipped


class Terminal:
    """One shell on its pseudo terminal, leader of a session of its own."""

    def __init__(
        self,
        child: int,
        master: int,
        over: Callable[["Terminal"], None],
        earlier: TerminalState | None = None,
    ) -> None:
        earlier = earlier or TerminalState(session="", child=child, master=master)
        self.tail = Tail(data=earlier.tail, end=earlier.end)
        self.active_at = time.monotonic() - earlier.idle
        self._child = child
        self._fd = master
        self._over = over
        self._pending = bytearray()
        self._watchers: set[Watcher] = set()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(master, self._readable)
        self.write(earlier.pending)

    def state(self, session: str) -> TerminalState:
        """All that a later version of this API needs to know."""
        return TerminalState(
            session=session,
            child=self._child,
            master=self._fd,
            tail=self.tail.kept,
            end=self.tail.end,
            idle=time.monotonic() - self.active_at,
            pending=bytes(self._pending),
        )

    @property
    def is_open(self) -> bool:
        """Whether the shell still runs."""
        return self._fd >= 0

    @property
    def is_watched(self) -> bool:
        """Whether anybody is connected."""
        return bool(self._watchers)

    @property
    def is_full(self) -> bool:
        """Whether clients must wait with their input."""
        return len(self._pending) > INPUT_LIMIT

    def attach(self, watcher: Watcher) -> None:
        """Tell someone about output from now on."""
        self._watchers.add(watcher)

    def detach(self, watcher: Watcher) -> None:
        """They have left; the time to keep the terminal begins."""
        self._watchers.discard(watcher)
        self.active_at = time.monotonic()

    def check_watchers(self) -> None:
        """Let every watcher look whether its client is there."""
        for watcher in tuple(self._watchers):
            watcher.check()

    def resize(self, size: Size) -> None:
        """Change the size; programs inside are told by the kernel (SIGWINCH)."""
        if self.is_open:
            set_size(self._fd, size)

    def write(self, data: bytes) -> None:
        """Type into the terminal."""
        if self.is_open:
            self._pending += data
            self._flush()

    def _flush(self) -> None:
        was_full = self.is_full
        try:
            while self._pending:
                del self._pending[: os.write(self._fd, self._pending[:READ_SIZE])]
        except BlockingIOError:
            self._loop.add_writer(self._fd, self._flush)
        except OSError:  # the shell is about to be collected
            self._pending.clear()
        if not self._pending:
            self._loop.remove_writer(self._fd)
        if was_full and not self.is_full:
            for watcher in tuple(self._watchers):
                watcher.drained()

    def _readable(self) -> bool:
        try:
            data = os.read(self._fd, READ_SIZE)
        except BlockingIOError:
            return False
        except OSError:  # every program has closed its side
            data = b""
        if not data:
            self._loop.remove_reader(self._fd)
            return False
        self.active_at = time.monotonic()
        self.tail.append(data)
        for watcher in tuple(self._watchers):
            watcher.printed()
        return True

    def exited(self, code: int) -> None:
        """The shell has ended: show its last words, and end all it started here."""
        del code
        if not self.is_open:
            return
        for _ in range(TAIL_LIMIT // READ_SIZE):
            if not self._readable():
                break
        self.close()

    def close(self) -> None:
        """End the shell and every process of its session, whatever signals they ignore."""
        if not self.is_open:
            return
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        end_session(self._child)
        os.close(self._fd)
        self._fd = -1
        self._over(self)
        for watcher in tuple(self._watchers):
            watcher.ended()


class Terminals:
    """All terminals of the sandbox by session id.

    One that nobody watches and that prints nothing is ended after ``idle`` seconds.
    """

    idle = 600.0

    def __init__(self, surroundings: Surroundings, reaper: Reaper) -> None:
        self._surroundings = surroundings
        self._reaper = reaper
        self._open: dict[str, Terminal] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._next_look = 0.0

    @property
    def environment(self) -> Mapping[str, str]:
        """The sandbox's variables."""
        return self._surroundings.environment

    def get(self, session: str) -> Terminal | None:
        """The terminal of a session, when it is there."""
        return self._open.get(session)

    def open(self, session: str, program: str, cwd: str, size: Size) -> Terminal:
        """Start a shell for a session.

        Raises:
            Unprocessable: when it cannot be started, naming the cause.
        """
        if len(self._open) >= MOST_TERMINALS:
            raise Unprocessable(f"there are {MOST_TERMINALS} terminals open; leave one first")
        variables = self._surroundings.variables(None)
        variables.setdefault("TERM", "xterm-256color")
        path = _program(program or self.environment.get("SHELL", ""), variables)
        if not os.path.isdir(cwd):
            raise Unprocessable(f"chdir {cwd}: no such directory")
        expend = self._surroundings.expend
        child, master = _start(path, cwd, variables, size, expend)
        expend(child)
        return self._keep(TerminalState(session=session, child=child, master=master))

    def _keep(self, state: TerminalState) -> Terminal:
        session = state.session
        terminal = Terminal(state.child, state.master, lambda _: self._forget(session), state)
        self._open[session] = terminal
        self._reaper.watch(state.child, terminal.exited)
        self._look_later()
        return terminal

    def states(self) -> list[TerminalState]:
        """All terminals, for a later version of this API."""
        return [terminal.state(session) for session, terminal in self._open.items()]

    def take_over(self, states: Iterable[TerminalState]) -> None:
        """Go on with the terminals of an earlier version."""
        for state in states:
            self._keep(state)

    def _forget(self, session: str) -> None:
        self._open.pop(session, None)

    def _look_later(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            wait = min(LOOK_SECONDS, self.idle / 2)
            self._next_look = time.monotonic() + wait
            self._timer = loop.call_later(wait, self._look)

    def _look(self) -> None:
        """End what nobody watches; there is no timer while there are no terminals.

        The time for which the whole sandbox was suspended does not count: the look is as late.
        """
        self._timer = None
        late = max(0.0, time.monotonic() - self._next_look)
        limit = time.monotonic() - self.idle
        for terminal in tuple(self._open.values()):
            terminal.active_at += late
            terminal.check_watchers()
            if not terminal.is_watched and terminal.active_at < limit:
                terminal.close()
        if self._open:
            self._look_later()

    def shut_down(self) -> None:
        """End every shell."""
        for terminal in tuple(self._open.values()):
            terminal.close()


def set_size(fd: int, size: Size) -> None:
    """Set the size of a pseudo terminal."""
    with contextlib.suppress(OSError):
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", size.rows, size.cols, 0, 0))


def _program(wanted: str, variables: Mapping[str, str]) -> str:
    candidates: Iterable[str] = (wanted,) if wanted else _SHELLS
    for name in candidates:
        folders = [""] if "/" in name else variables.get("PATH", "").split(":")
        for path in (os.path.join(folder, name) for folder in folders):
            if "\0" not in path and os.path.isfile(path) and os.access(path, os.X_OK):
                return path
    shown = wanted or ", ".join(_SHELLS)
    raise Unprocessable(f"fork/exec {shown}: no such file or directory")


def _start(
    program: str, cwd: str, env: Mapping[str, str], size: Size, expend: Expendable
) -> tuple[int, int]:
    """Start a shell as session leader; the slave becomes its terminal as it opens it."""
    try:
        master, slave = os.openpty()
    except OSError as error:
        raise Unprocessable(f"open terminal: {reason(error)}") from error
    try:
        set_size(master, size)
        os.set_blocking(master, False)
        name = os.ttyname(slave)
        expend.ready()
        child = os.posix_spawn(
            "/bin/sh",
            ["sh", "-c", _LAUNCH, "sh", cwd, program],
            env,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, name, os.O_RDWR, 0),
                (os.POSIX_SPAWN_DUP2, 0, 1),
                (os.POSIX_SPAWN_DUP2, 0, 2),
            ],
            setsid=True,
            setsigmask=(),
            setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
        )
    except (OSError, ValueError) as error:
        os.close(master)
        text = reason(error) if isinstance(error, OSError) else str(error)
        raise Unprocessable(f"fork/exec {program}: {text}") from error
    finally:
        os.close(slave)
    return child, master
