"""Starting commands and collecting every child, as PID 1 must."""

import asyncio
import contextlib
import os
import shlex
import signal
import subprocess
from collections.abc import Callable, Mapping

import msgspec

from serai.kernel.errors import BadRequest
from serai.sandboxd.errors import Unprocessable, reason
from serai.sandboxd.expendable import Expendable
from serai.sandboxd.handover import SurroundingsState
from serai.sandboxd.nursery import Nursery
from serai.sandboxd.reach import directory_of, open_directory

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PIPE_READ = 64 * 1024
"""Bytes taken from a pipe at once: what a pipe holds."""


class Surroundings:
    """What every command of this sandbox starts with."""

    def __init__(self, environment: Mapping[str, str], home: str, nursery: Nursery) -> None:
        self.expend = Expendable(nursery)
        self.settle(environment, home)

    def settle(self, environment: Mapping[str, str], home: str) -> None:
        """Begin with other ones."""
        self._given = dict(environment)
        self._extra: Mapping[str, str] = {}
        self.environment = self._given
        self.home = home

    def state(self, workdir: str) -> SurroundingsState:
        """The same for a later version of this API."""
        given, extra = dict(self._given), dict(self._extra)
        return SurroundingsState(given=given, extra=extra, home=self.home, workdir=workdir)

    def replace(self, extra: Mapping[str, str]) -> tuple[int, int]:
        """Put variables over the given ones, in place of those put there earlier.

        Returns:
            How many were put, and how many of the earlier ones are gone.
        """
        gone = len(self._extra.keys() - extra.keys())
        self._extra = dict(extra)
        self.environment = {**self._given, **extra}
        return len(extra), gone

    def variables(self, extra: Mapping[str, str] | None) -> dict[str, str]:
        """The environment of one command: defaults, the sandbox's own, the request's."""
        base = {"PATH": DEFAULT_PATH, "HOME": self.home}
        return {**base, **self.environment, **(extra or {})}

    def forbids_keep_alive(self) -> bool:
        """Whether no process may keep the sandbox awake."""
        return self.environment.get("BL_DISABLE_KEEPALIVE", "").lower() in ("true", "1")


class Child(msgspec.Struct, frozen=True):
    """A started command: its pid (also its process group) and our ends of its pipes.

    ``stdin`` is -1 when its input is at its end from the beginning.
    """

    pid: int
    stdout: int
    stderr: int
    stdin: int = -1


def shell(environment: Mapping[str, str]) -> list[str]:
    """``$SHELL`` and ``$SHELL_ARGS`` of the sandbox, else bash where there is one, else sh."""
    program = environment.get("SHELL")
    if not program:
        program = "/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh"
    return [program, *(environment.get("SHELL_ARGS") or "-c").split()]


def spawn(
    command: str,
    cwd: str,
    env: Mapping[str, str],
    program: list[str],
    expend: Expendable,
    *,
    stdin: bool = False,
) -> Child:
    """Run a command with a shell in a process group of its own.

    Args:
        expend: told before, and its pid at once after.
        stdin: give it a pipe to read from; otherwise its input is at its end.

    Raises:
        Unprocessable: when the system refuses, naming the cause.
        BadRequest: when the command or a variable cannot be passed to a process.
    """
    place = _directory(cwd)
    ours: list[int] = []
    theirs: list[int] = [place]
    try:
        _pipes(stdin, ours, theirs)
        where = directory_of(place, cwd)
        pid = _start(_words(program, command), where, env, theirs[1:], expend)
    except BaseException:
        for fd in ours:
            os.close(fd)
        raise
    finally:
        for fd in theirs:
            os.close(fd)
    for fd in ours:
        os.set_blocking(fd, False)
    return Child(pid, *ours)


def _directory(cwd: str) -> int:
    try:
        return open_directory(cwd)
    except OSError as error:
        is_none = isinstance(error, NotADirectoryError)
        problem = "is not a directory" if is_none else reason(error)
        problem = "does not exist" if isinstance(error, FileNotFoundError) else problem
        raise Unprocessable(
            f"failed to start process: working directory '{cwd}' {problem}"
        ) from error


def _words(program: list[str], command: str) -> list[str]:
    """The shell with the command; in an image without a shell the words of the command alone."""
    if program[0] != "/bin/sh" or os.path.exists("/bin/sh"):
        return [*program, command]
    try:
        return shlex.split(command) or [command]
    except ValueError as error:
        raise BadRequest(
            f"invalid request body: command: this image has no shell, and {error}"
        ) from error


def _pipes(stdin: bool, ours: list[int], theirs: list[int]) -> None:
    """Our and the command's ends of its output, its errors and, when wanted, its input."""
    for writes in (False, False, True)[: 2 + stdin]:
        pair = os.pipe2(os.O_CLOEXEC)
        ours.append(pair[writes])
        theirs.append(pair[not writes])


def _start(
    argv: list[str], cwd: str, env: Mapping[str, str], fds: list[int], expend: Expendable
) -> int:
    try:
        expend.ready()
        started = subprocess.Popen(
            argv,
            cwd=cwd,
            env=env,
            stdin=fds[2] if len(fds) > 2 else subprocess.DEVNULL,
            stdout=fds[0],
            stderr=fds[1],
            process_group=0,
        )
    except OSError as error:
        raise Unprocessable(f"failed to start process: {argv[0]}: {reason(error)}") from error
    except ValueError as error:
        raise BadRequest(f"invalid request body: command or env: {error}") from error
    started.returncode = 0  # the reaper collects it, Popen must not
    expend(started.pid)
    return started.pid


class Reaper:
    """Collects every child of this process, our own commands and adopted orphans alike."""

    def __init__(self) -> None:
        self._watched: dict[int, Callable[[int], None]] = {}

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to collect; orphans of earlier are taken at once."""
        loop.add_signal_handler(signal.SIGCHLD, self.reap)
        self.reap()

    def watch(self, pid: int, ended: Callable[[int], None]) -> None:
        """Call ``ended`` with the exit code (negative signal number) of a child just started."""
        self._watched[pid] = ended

    def reap(self) -> None:
        """Collect all that have ended; one signal may stand for many of them."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                ended = self._watched.pop(pid, None)
                if ended is not None:
                    ended(os.waitstatus_to_exitcode(status))


class Pipe:
    """Feeds what arrives in a pipe (-1: ended before) to ``sink`` until its last writer is gone."""

    def __init__(self, fd: int, sink: Callable[[bytes], None]) -> None:
        self.fd = fd
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        if fd >= 0:
            self._loop.add_reader(fd, self._ready)

    def _ready(self) -> bool:
        try:
            data = os.read(self.fd, PIPE_READ)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if data:
            self._sink(data)
        else:
            self.close()
        return bool(data)

    def drain(self) -> None:
        """Take what an ended writer left: at most what a pipe can hold, others may go on."""
        for _ in range(2):
            if self.fd < 0 or not self._ready():
                return

    def close(self) -> None:
        """Stop reading."""
        if self.fd >= 0:
            self._loop.remove_reader(self.fd)
            os.close(self.fd)
            self.fd = -1


class Inlet:
    """Our end of a command's input. Writers wait for each other, so that nothing mixes."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    @property
    def is_open(self) -> bool:
        """Whether anything can still be written."""
        return self.fd >= 0

    async def write(self, data: bytes, seconds: float) -> int:
        """Write all of it; the number of bytes taken, fewer when the reader is gone.

        Raises:
            TimeoutError: when the command does not read for so many seconds; what it has read
                by then is told as text.
        """
        async with self._turn:
            done = 0
            while done < len(data) and self.is_open:
                try:
                    done += os.write(self.fd, data[done : done + PIPE_READ])
                except BlockingIOError:
                    await self._ready(done, seconds)
                except OSError:
                    self.close()
            return done

    async def _ready(self, done: int, seconds: float) -> None:
        fd = self.fd
        self._changed.clear()
        self._loop.add_writer(fd, self._changed.set)
        try:
            await asyncio.wait_for(self._changed.wait(), seconds)
        except TimeoutError:
            raise TimeoutError(f"{done} bytes were taken") from None
        finally:
            if self.fd == fd:
                self._loop.remove_writer(fd)

    def close(self) -> None:
        """Let the command read its end, and writers stop; may be repeated."""
        if self.fd >= 0:
            self._loop.remove_writer(self.fd)
            os.close(self.fd)
            self.fd = -1
            self._changed.set()
