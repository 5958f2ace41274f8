"""Executing the program that sets a sandbox up, and waiting for the sandbox API in it."""

import fcntl
import os
import re
import select
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from serai.runtime import birth as births
from serai.runtime import processes
from serai.runtime.birth import TIMEOUT_SECONDS, Place
from serai.runtime.guest import threshold
from serai.runtime.messages import Birth, Trace

_LOG, PID_FILE = "start.log", "pid"
_HIGH_FD = 64
_MESSAGE = re.compile(r'(?:msg|message)="((?:[^"\\]|\\.)*)"')


class Spawned:
    """A program under way. As a context it undoes what a failure leaves."""

    def __init__(self, pid: int, directory: Path, heard: int | None, argv: list[str]) -> None:
        self.pid = pid
        self._directory = directory
        self._heard = heard
        self._name = Path(argv[0]).name

    def __enter__(self) -> "Spawned":
        return self

    def undone_on_failure(self) -> "Spawned":
        """The same as a context that may be entered before the one that waits."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if error is None:
            return
        for pid in (self.pid, _read_pid(self._directory)):
            if pid:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        words = _last_words(self._directory / _LOG)
        more = f" ({words})" if words and words not in str(error) else ""
        raise OSError(f"{self._name}: {error}{more}") from error

    def wait(self) -> None:
        """Wait until the program itself has ended, which means that the sandbox is started."""
        descriptor = os.pidfd_open(self.pid)
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        ended = poll.poll(TIMEOUT_SECONDS * 1000)
        os.close(descriptor)
        if not ended:
            raise OSError(f"did not start a sandbox in {TIMEOUT_SECONDS} s")
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        if status != 0:
            raise OSError(f"ended with {os.waitstatus_to_exitcode(status)}")

    def first_process(self) -> int:
        """The sandbox's process 1, as the host sees it."""
        pid = _read_pid(self._directory)
        if not pid:
            raise OSError("did not say which process it started")
        return pid

    def wait_until_ready(self, run: Path, birth: Birth, pid: int) -> None:
        """Wait until the sandbox API answers."""
        if self._heard is not None:
            births.expect(self._heard, b"r")
            return
        threshold.wait_for_sockets(
            run, birth, TIMEOUT_SECONDS, ended=lambda: processes.start_time(pid) is None
        )


def spawn(
    argv: list[str],
    birth: Birth,
    directory: Path,
    *,
    inherits: bool,
    more: Iterable[int] = (),
    user: int | None = None,
) -> Spawned:
    """Execute a program with the sandbox's sockets as 3 and 4 and a pipe to us as 5.

    Args:
        argv: program and arguments.
        birth: the sandbox.
        directory: its directory; the program's complaints go to a file there.
        inherits: whether the program passes these three on.
        more: descriptors to have as 6 and up.
        user: host id to become for ever, before it is executed.
    """
    (directory / PID_FILE).unlink(missing_ok=True)
    heard, given = None, list[int]()
    if inherits:
        heard, says = os.pipe()
        sockets = births.listen(birth.api_socket), births.listen(birth.port_socket)
        given = [*(each.detach() for each in sockets), says]
    given += more
    flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW
    log = os.open(directory / _LOG, flags, 0o600)
    silence = os.open(os.devnull, os.O_RDWR)
    pid = os.fork()
    if pid == 0:
        _execute(argv, [silence, silence, log, *given], user)
    for each in (log, silence, *given):
        os.close(each)
    return Spawned(pid, directory, heard, argv)


def _execute(argv: list[str], descriptors: list[int], user: int | None) -> NoReturn:
    """Be the program, with these descriptors as 0 and up and no other."""
    try:
        high = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, _HIGH_FD) for each in descriptors]
        for target, source in enumerate(high):
            os.dup2(source, target)
        if user is not None:
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
        os.execve(argv[0], argv, processes.PLAIN_ENVIRONMENT)  # noqa: S606
    except OSError as error:
        os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def trace_of(
    place: Place,
    birth: Birth,
    directory: Path,
    pid: int,
    groups: Iterable[Path],
    *,
    has_network: bool = True,
) -> Trace:
    """Write down how to find the sandbox again, and connect its network."""
    trace = births.keep_trace(place, birth, directory, pid, groups)
    return births.connected(place, trace, birth) if has_network else trace


def _read_pid(directory: Path) -> int:
    try:
        return int((directory / PID_FILE).read_text())
    except (OSError, ValueError):
        return 0


def _last_words(log: Path) -> str:
    """What the program, or Python in the sandbox, said last."""
    try:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        return ""
    if not lines:
        return ""
    message = _MESSAGE.search(lines[-1])
    return (message.group(1) if message else lines[-1].strip())[:1000]
