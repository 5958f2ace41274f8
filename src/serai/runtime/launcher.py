"""The launcher: a small process that forks sandboxes from a warm, single-threaded start.

It holds the sandbox API already imported, so a sandbox costs a fork and some system calls.
It keeps nothing that matters: when it dies, the runtime starts another, and sandboxes go on.
It ends when the runtime's end of its channel is closed.
"""

import contextlib
import gc
import importlib
import os
import select
import signal
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import NoReturn, cast

import certifi
import msgspec

from serai.runtime import birth as births
from serai.runtime import errands, linux, privileges
from serai.runtime.child import Child
from serai.runtime.messages import Answer, Birth, Setup, Unframer, Wish, frame
from serai.runtime.mould import Mould
from serai.runtime.mould import start as start_mould

_PYTHON_IGNORES = (signal.SIGPIPE, signal.SIGXFSZ)


class Launcher:
    """Serves births that arrive on ``channel`` until its other end closes."""

    def __init__(self, channel: int, mould: Mould, *, forks_first: bool) -> None:
        self._channel = channel
        self._mould = mould
        self._forks_first = forks_first
        self._incoming = Unframer()
        self._results: dict[int, tuple[int, bytearray]] = {}
        self._poll = select.poll()
        self._poll.register(channel, select.POLLIN)
        self._poll.register(mould, select.POLLIN)

    def run(self) -> None:
        """Serve until the runtime goes away."""
        wake, alarm = os.pipe()
        os.set_blocking(alarm, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._poll.register(wake, select.POLLIN)
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor == wake:
                    os.read(wake, 4096)
                    _reap()
                elif descriptor == self._channel:
                    if not self._hear():
                        return
                elif descriptor == self._mould.fileno():
                    return
                else:
                    self._collect(descriptor)

    def _hear(self) -> bool:
        data = os.read(self._channel, 65536)
        for body in self._incoming.feed(data):
            self._fork(body)
        return bool(data)

    def _fork(self, body: bytes) -> None:
        wish = msgspec.json.decode(body, type=Wish)
        result, answer = os.pipe()
        # Without root only the midwife's own user namespace allows a new pid namespace.
        with_child = self._forks_first and isinstance(wish, Birth)
        self._mould.fork(body, answer, with_child=with_child)
        os.close(answer)
        self._results[result] = (wish.request, bytearray())
        self._poll.register(result, select.POLLIN)

    def _collect(self, descriptor: int) -> None:
        """Pass a midwife's answer on once she is done, that is, has closed her end."""
        request, answer = self._results[descriptor]
        if part := os.read(descriptor, 65536):
            answer += part
            return
        self._poll.unregister(descriptor)
        os.close(descriptor)
        del self._results[descriptor]
        lost = Answer(request=request, problem="the launcher's helper was killed; try again")
        _write_all(self._channel, bytes(answer) or frame(lost))


def _attend(place: births.Place, body: bytes, answer: int, child: Child | None) -> NoReturn:
    wish = msgspec.json.decode(body, type=Wish)
    try:
        os.setsid()
        _write_all(answer, frame(_grant(place, wish, child)))
    except BaseException as error:
        _write_all(answer, frame(Answer(request=wish.request, problem=str(error) or repr(error))))
        with contextlib.suppress(OSError):  # the log may be on the disk that is full
            traceback.print_exc()
    os._exit(0)


def _grant(place: births.Place, wish: Wish, child: Child | None) -> Answer:
    if isinstance(wish, Birth):
        return Answer(request=wish.request, trace=births.attend(place, wish, child))
    return Answer(request=wish.request, found=errands.run(place, wish))


def _birth(body: bytes) -> Birth:
    return msgspec.json.decode(body, type=Birth)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _reap() -> None:
    """Collect ended children: midwives, and first processes they left to us."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def user_map(base: int) -> int | None:
    """A user namespace to show the host's files with, or None where that does not work."""
    ready, tell = os.pipe()
    wait, hold = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(hold)
        _hold_user_namespace(tell, wait)
    os.close(tell)
    os.close(wait)
    try:
        if os.read(ready, 1) != b"u":
            return None
        privileges.map_range(pid, base)
        user_namespace = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        return user_namespace if _can_map_mounts(user_namespace) else None
    finally:
        os.close(ready)
        os.close(hold)
        os.waitpid(pid, 0)


def _hold_user_namespace(tell: int, wait: int) -> NoReturn:
    """Live in a new user namespace until the launcher has it, or is dead."""
    try:
        linux.unshare(linux.CLONE_NEWUSER)
        os.write(tell, b"u")
        os.read(wait, 1)
    finally:
        os._exit(0)


def _can_map_mounts(user_namespace: int) -> bool:
    try:
        mount_fd = linux.clone_mount("/usr")
        linux.change_mount(mount_fd, linux.MOUNT_ATTR_RDONLY, user_namespace)
    except OSError:
        return False
    os.close(mount_fd)
    return True


def _not_here(*_: object) -> NoReturn:
    raise OSError("another program starts these sandboxes")


def _prepare(setup: Setup) -> tuple[births.Place, tuple[str, ...]]:
    # asyncio then does without TLS, which nothing in a sandbox's first process speaks: OpenSSL
    # would be mapped into every one of them.
    sys.modules["ssl"] = cast(ModuleType, None)
    map_fd = user_map(setup.uid_base) if setup.uid_base is not None else None
    facts = () if map_fd is None else ("idmap",)
    if setup.program:
        starter = importlib.import_module(setup.starter)
        return births.Place(setup, _not_here, map_fd, start=starter.start), facts
    entry = importlib.import_module(setup.entry)
    entry.preload()
    roots = Path(certifi.where()).read_bytes()
    return births.Place(setup, cast(births.Serve, entry.serve), map_fd, roots), facts


def main(channel: int) -> None:
    """Run the launcher on a connected socket; its first message is the Setup."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, *_PYTHON_IGNORES}:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
    linux.set_title("serai-launcher")
    os.umask(0o022)
    unframer, bodies = Unframer(), list[bytes]()
    while not bodies:
        data = os.read(channel, 65536)
        if not data:
            return
        bodies = unframer.feed(data)
    try:
        place, facts = _prepare(msgspec.json.decode(bodies[0], type=Setup))
    except Exception as error:
        _write_all(channel, frame(Answer(request=0, problem=str(error) or repr(error))))
        sys.exit(1)
    sys.path_importer_cache.clear()  # here, or every sandbox would write to it and keep a copy
    gc.collect()
    gc.freeze()
    mould = start_mould(
        lambda body, answer, child: _attend(place, body, answer, child),
        lambda body, says, line: births.be_first(place, _birth(body), says, line),
        channel,
    )
    _write_all(channel, frame(Answer(request=0, facts=facts)))
    forks_first = place.root_outside and place.start is None
    Launcher(channel, mould, forks_first=forks_first).run()
