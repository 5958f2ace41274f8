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
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn
from weakref import WeakSet

from serai.sandboxd.code_routes import Coder, CodeRoutes
from serai.sandboxd.code_tools import CodeTools
from serai.sandboxd.file_routes import FileRoutes
from serai.sandboxd.file_tools import FileTools
from serai.sandboxd.files import Files
from serai.sandboxd.http import Connection, Handler
from serai.sandboxd.mcp import McpRoutes
from serai.sandboxd.network_routes import NetworkRoutes
from serai.sandboxd.paths import Paths
from serai.sandboxd.process_routes import ProcessRoutes
from serai.sandboxd.process_tools import ProcessTools
from serai.sandboxd.processes import Limits, ProcessTable
from serai.sandboxd.relay import PortClient
from serai.sandboxd.router import Router
from serai.sandboxd.running import Runner
from serai.sandboxd.search_routes import SearchRoutes
from serai.sandboxd.spawning import Reaper, Surroundings
from serai.sandboxd.standby_routes import StandbyRoutes
from serai.sandboxd.swagger_routes import SwaggerRoutes
from serai.sandboxd.system_routes import SystemRoutes
from serai.sandboxd.terminal_routes import TerminalRoutes
from serai.sandboxd.terminals import Terminals
from serai.sandboxd.tree_routes import TreeRoutes
from serai.sandboxd.uploads import Uploads
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
    loop.set_default_executor(Workers(1))
    api = Api()
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
            about to be cut (of nothing); and ``proc``, a descriptor of a ``/proc`` that can be
            written to where the visible one cannot.
    """
    code = 1
    try:
        _become_init()
        _give_memory_back()
        # No asyncio.run: at its end it would wait for threads that hang in a dead file system.
        loop = asyncio.SelectorEventLoop()
        asyncio.set_event_loop(loop)
        loop.run_until_complete(_run(api, port, config))
        code = 0
    except BaseException:
        traceback.print_exc(file=sys.stderr)
    finally:
        os._exit(code)


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


def _text(config: Mapping[str, object], key: str, default: str) -> str:
    return str(config.get(key) or default)


def _surroundings(config: Mapping[str, object]) -> tuple[str, dict[str, str]]:
    """Home directory and environment of processes."""
    environment = config.get("environment")
    variables = dict(environment) if isinstance(environment, Mapping) else {}
    variables.setdefault("HOSTNAME", _text(config, "hostname", "sandbox"))
    return _text(config, "home", "/root"), variables


def _services(config: Mapping[str, object]) -> Sequence[Mapping[str, Any]]:
    services = config.get("services")
    return services if isinstance(services, Sequence) else ()


def _enter(workdir: str) -> None:
    with contextlib.suppress(OSError):
        os.makedirs(workdir, exist_ok=True)
    try:
        os.chdir(workdir)
    except OSError:
        os.chdir("/")


class Api:
    """All of one sandbox's API, made before the fork so that forks share its memory."""

    def __init__(self) -> None:
        self.reaper = Reaper()
        self.paths = Paths("/root", "/")
        self.surroundings = Surroundings({}, "/root")
        self.table = ProcessTable(self.surroundings, self.paths, self.reaper, Limits())
        self.terminals = Terminals(self.surroundings, self.reaper)
        self.uploads = Uploads("/tmp")  # noqa: S108
        self.system = SystemRoutes(self.table)
        self.router = Router()
        files, processes = Files(), ProcessRoutes(self.table)
        coder = Coder(files, Runner(self.surroundings, self.reaper))
        tools = [
            *ProcessTools(self.table, processes).all(),
            *FileTools(files, self.paths).all(),
            *CodeTools(files, self.paths, coder).all(),
        ]
        for routes in (
            self.system,
            StandbyRoutes(self.table),
            processes,
            SearchRoutes(self.paths, self.table),
            TerminalRoutes(self.terminals, self.paths),
            NetworkRoutes(),
            SwaggerRoutes(),
            CodeRoutes(coder, self.paths),
            McpRoutes(tools),
            TreeRoutes(self.paths, files),
            FileRoutes(self.paths, files, self.uploads),
        ):
            routes.add_to(self.router)

    def take_over(self, config: Mapping[str, object]) -> None:
        """Be the API of a copy of the sandbox: its processes run on, later ones are the copy's."""
        home, variables = _surroundings(config)
        self.surroundings.settle(variables, home)

    def settle(self, config: Mapping[str, object]) -> None:
        """Become the API of the one sandbox that a configuration tells about."""
        home, variables = _surroundings(config)
        workdir = _text(config, "workdir", "/")
        self.paths.home, self.paths.workdir = home, workdir
        self.surroundings.settle(variables, home)
        proc = config.get("proc")
        self.surroundings.expend.proc = proc if isinstance(proc, int) else None
        limits = config.get("limits")
        if isinstance(limits, Limits):
            self.table.limits = limits
            self.terminals.idle = limits.terminal_idle
        temporary = variables.get("TMPDIR") or "/tmp"  # noqa: S108
        self.uploads.root = os.path.join(temporary, ".serai-uploads")
        self.system.begin()


@functools.cache  # each fork settles its own copy
def _prepared() -> Api:
    return Api()


def _added(connections: WeakSet[Connection], new: Connection) -> Connection:
    connections.add(new)
    return new


def _follow(config: Mapping[str, object], api: Api, connections: WeakSet[Connection]) -> None:
    follow, loop = config.get("follow"), asyncio.get_running_loop()

    def interrupt() -> None:
        for connection in list(connections):
            connection.interrupt("a snapshot of the sandbox is being taken: ask again")

    if callable(follow):
        follow(
            lambda told: loop.call_soon_threadsafe(api.take_over, told),
            lambda: loop.call_soon_threadsafe(interrupt),
        )


async def _run(listener: socket.socket, port: socket.socket, config: Mapping[str, object]) -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(Workers(EXECUTOR_THREADS, "files"))
    _enter(_text(config, "workdir", "/"))
    api = _prepared()
    api.settle(config)
    api.reaper.start(loop)
    api.table.start_services(_services(config))
    connections = WeakSet[Connection]()
    _follow(config, api, connections)
    stopped = asyncio.Event()
    if os.getpid() != 1:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopped.set)
    expected = api.table.expects
    servers = [
        await loop.create_unix_server(
            lambda: _added(connections, Connection(api.router)), sock=listener, backlog=1024
        ),
        await loop.create_unix_server(lambda: PortClient(expected), sock=port, backlog=1024),
    ]
    await stopped.wait()
    for server in servers:
        server.close()
    api.terminals.shut_down()
    await api.table.shut_down()
