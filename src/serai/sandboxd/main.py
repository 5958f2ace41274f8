"""Entry points: become the API of one sandbox.

The runtime forks sandboxes from one process that has called :func:`preload`. After the root
directory has changed no module can be imported any more, so everything is loaded there.
"""

import asyncio
import contextlib
import ctypes
import functools
import gc
import importlib
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, NoReturn

from serai.sandboxd.api import Api, text_of
from serai.sandboxd.connection import Connection
from serai.sandboxd.handover import Handover, descriptors, unseal
from serai.sandboxd.http import Handler
from serai.sandboxd.relay import PortClient
from serai.sandboxd.succession import let_go_on
from serai.sandboxd.warming import warm
from serai.sandboxd.workers import Workers

PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36
MALLOC_OPTIONS = ((-3, 1 << 20), (-1, 1 << 20), (-8, 2))
"""glibc: blocks from 1 MiB are mapped on their own, 1 MiB may stay free, two arenas."""
EXECUTOR_THREADS = 8
_LAZY = (
    "encodings.ascii",
    "encodings.idna",
    "encodings.latin_1",
    "encodings.utf_8",
    "concurrent.futures.thread",
    "stringprep",
    "unicodedata",
    "linecache",
    "datetime",
)
"""Modules that others import only when they first need them."""
_libc = ctypes.CDLL(None, use_errno=True)


def preload() -> None:
    """Import all that :func:`serve` can ever need, and keep it shared between forks."""
    for name in _LAZY:
        importlib.import_module(name)
    with contextlib.suppress(OSError):
        ctypes.CDLL("libgcc_s.so.1")  # the C library loads it when a thread is cancelled
    loop = asyncio.SelectorEventLoop()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    _prepared()
    gc.collect()
    gc.freeze()


def warm_up() -> None:
    """After :func:`preload`, where many are forked: do what each would do at first."""
    warm(_for_a_moment)


def _for_a_moment(loop: asyncio.AbstractEventLoop, directory: str) -> Handler:
    """An API of its own, on this machine, to warm up with."""
    api = Api()
    loop.set_default_executor(Workers(api.nursery, 1))
    api.settle({"home": directory, "workdir": directory, "environment": dict(os.environ)})
    api.reaper.start(loop)
    return api.router


def serve(api: socket.socket, port: socket.socket, config: dict[str, object]) -> NoReturn:
    """Serve one sandbox for ever, or, unless as process 1, until SIGTERM.

    Args:
        api: listening Unix stream socket for HTTP.
        port: listening Unix stream socket for raw TCP (see :mod:`serai.sandboxd.relay`).
        config: ``id``, ``hostname``, ``environment`` (a map), ``home`` and ``workdir``;
            optional ``limits``, a :class:`~serai.sandboxd.processes.Limits`; ``services``,
            processes to start at once: maps with ``name``, ``command``, ``working_dir``,
            ``ports`` and ``restarts``; ``follow``, called with what to do, in any thread, when this
            has become a copy of the sandbox (a function of such a map), and when connections are
            about to be cut (of nothing); ``proc``, a descriptor of a ``/proc`` that can be written
            to where the visible one cannot; ``successors``, the directory of later versions (see
            :mod:`serai.sandboxd.succession`), and ``kept``, descriptors that they need.
    """

    async def begin() -> None:
        _become_init()
        await _run(api, port, config)

    _live(begin)


def succeed(file: int) -> NoReturn:
    """Go on in place of another version of this API, which has just executed this one.

    Args:
        file: what it hands over, see :mod:`serai.sandboxd.handover`.
    """

    async def begin() -> None:
        state = unseal(file)
        os.close(file)
        for descriptor in descriptors(state):
            os.set_inheritable(descriptor, False)
        _become_init()
        let_go_on(state.stopped)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        await _go_on(state)

    _live(begin)


def _live(begin: Callable[[], Coroutine[None, None, None]]) -> NoReturn:
    """Be a process that does this and nothing else."""
    code = 1
    try:
        _give_memory_back()
        # No asyncio.run: at its end it would wait for threads that hang in a dead file system.
        loop = asyncio.SelectorEventLoop()
        asyncio.set_event_loop(loop)
        loop.run_until_complete(begin())
        code = 0
    except BaseException:
        traceback.print_exc(file=sys.stderr)
    finally:
        os._exit(code)


def rehearse(file: int) -> None:
    """Whether :func:`succeed` would understand what it is handed.

    Raises:
        ValueError: why it would not.
    """
    unseal(file)


def _become_init() -> None:
    """Adopt orphans, and let nobody in the sandbox read this process's memory or environment.

    As process 1 of a pid namespace it handles no signal: those that it does not handle, SIGKILL
    and SIGSTOP among them, the kernel keeps from it when they come from inside.
    """
    os.umask(0o022)
    _libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    if os.getpid() != 1:
        _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _give_memory_back() -> None:
    """Let the C library return large blocks to the system at once instead of keeping them."""
    mallopt = getattr(_libc, "mallopt", None)  # other C libraries have none and need none
    if mallopt is not None:
        for option, value in MALLOC_OPTIONS:
            mallopt(option, value)


def _services(config: Mapping[str, object]) -> Sequence[Mapping[str, Any]]:
    services = config.get("services")
    return services if isinstance(services, Sequence) else ()


def _enter(workdir: str) -> None:
    with contextlib.suppress(OSError):
        os.makedirs(workdir, exist_ok=True)
    try:
        os.chdir(workdir)
        os.getcwd()  # fails where only descriptors of this process lead to
    except OSError:
        os.chdir("/")


@functools.cache  # each fork settles its own copy
def _prepared() -> Api:
    return Api()


def _follow(config: Mapping[str, object], api: Api) -> None:
    follow, loop = config.get("follow"), asyncio.get_running_loop()

    def interrupt() -> None:
        for transport in list(api.known):
            connection = transport.get_protocol()
            if isinstance(connection, Connection):
                connection.interrupt("a snapshot of the sandbox is being taken: ask again")

    if callable(follow):
        follow(
            lambda told: loop.call_soon_threadsafe(api.become, told),
            lambda: loop.call_soon_threadsafe(interrupt),
        )


async def _run(listener: socket.socket, port: socket.socket, config: Mapping[str, object]) -> None:
    loop = asyncio.get_running_loop()
    _enter(text_of(config, "workdir", "/"))
    api = _prepared()
    loop.set_default_executor(Workers(api.nursery, EXECUTOR_THREADS, "files"))
    api.settle(config)
    api.reaper.start(loop)
    api.table.start_services(_services(config))
    _follow(config, api)
    await _serve(api, listener, port)


async def _go_on(state: Handover) -> None:
    loop = asyncio.get_running_loop()
    api = _prepared()
    loop.set_default_executor(Workers(api.nursery, EXECUTOR_THREADS, "files"))
    api.take_over(state)
    api.reaper.start(loop)
    listeners = (socket.socket(fileno=state.api), socket.socket(fileno=state.port))
    await api.admit(state.open)
    await _serve(api, *listeners)


class Doors:
    """The sockets at which requests to the API, and connections to ports, come in."""

    def __init__(self, api: Api, listener: socket.socket, port: socket.socket) -> None:
        self._api = api
        self._listener, self._port = listener, port
        self._servers: list[asyncio.Server] = []

    async def open(self) -> None:
        """Accept connections."""
        loop = asyncio.get_running_loop()
        router, known, expected = self._api.router, self._api.known, self._api.table.expects
        self._servers = [
            await loop.create_unix_server(
                lambda: Connection(router, known), sock=self._listener, backlog=1024
            ),
            await loop.create_unix_server(
                lambda: PortClient(expected, known), sock=self._port, backlog=1024
            ),
        ]

    def shut(self) -> None:
        """Accept no more of them: new ones wait in the sockets' queues."""
        for each in (self._listener, self._port):
            asyncio.get_running_loop().remove_reader(each)

    def close(self) -> None:
        """Close the sockets."""
        for server in self._servers:
            server.close()


async def _serve(api: Api, listener: socket.socket, port: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    if os.getpid() != 1:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopped.set)
    api.listeners = (listener, port)
    doors = api.succession.doors = Doors(api, listener, port)
    await doors.open()
    await stopped.wait()
    doors.close()
    api.terminals.shut_down()
    await api.table.shut_down()
