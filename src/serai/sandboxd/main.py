"""Entry points: become the API of one sandbox.

The runtime forks sandboxes from one process that has called :func:`preload`. After the root
directory has changed no module can be imported any more, so everything is loaded there.
"""

import asyncio
import concurrent.futures
import contextlib
import ctypes
import gc
import importlib
import os
import signal
import socket
import sys
import traceback
from collections.abc import Mapping
from typing import NoReturn

from serai.sandboxd.code_routes import Coder, CodeRoutes
from serai.sandboxd.code_tools import CodeTools
from serai.sandboxd.file_routes import FileRoutes
from serai.sandboxd.file_tools import FileTools
from serai.sandboxd.files import Files
from serai.sandboxd.http import Connection
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
from serai.sandboxd.system_routes import SystemRoutes
from serai.sandboxd.terminal_routes import TerminalRoutes
from serai.sandboxd.terminals import Terminals
from serai.sandboxd.tree_routes import TreeRoutes
from serai.sandboxd.uploads import Uploads

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
    build({}, Reaper())  # compiles the route patterns, which forks then share
    gc.collect()
    gc.freeze()


def serve(api: socket.socket, port: socket.socket, config: dict[str, object]) -> NoReturn:
    """Serve one sandbox until SIGTERM, then end the process.

    Args:
        api: listening Unix stream socket for HTTP.
        port: listening Unix stream socket for raw TCP (see :mod:`serai.sandboxd.relay`).
        config: ``id``, ``hostname``, ``environment`` (a map), ``home`` and ``workdir``;
            optional ``limits``, a :class:`~serai.sandboxd.processes.Limits`.
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
    """Adopt orphans, and let nobody in the sandbox read this process's memory or environment."""
    os.umask(0o022)
    _libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
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


def _enter(workdir: str) -> None:
    with contextlib.suppress(OSError):
        os.makedirs(workdir, exist_ok=True)
    try:
        os.chdir(workdir)
    except OSError:
        os.chdir("/")


def build(config: Mapping[str, object], reaper: Reaper) -> tuple[Router, ProcessTable, Terminals]:
    """All routes of one sandbox, and what must be ended with it."""
    home, workdir = _text(config, "home", "/root"), _text(config, "workdir", "/")
    environment = config.get("environment")
    variables = dict(environment) if isinstance(environment, Mapping) else {}
    variables.setdefault("HOSTNAME", _text(config, "hostname", "sandbox"))
    limits = config.get("limits")
    paths = Paths(home, workdir)
    surroundings = Surroundings(variables, home)
    table = ProcessTable(
        surroundings,
        paths,
        reaper,
        limits if isinstance(limits, Limits) else Limits(),
    )
    terminals = Terminals(surroundings, reaper)
    router, files = Router(), Files()
    processes = ProcessRoutes(table)
    coder = Coder(files, Runner(surroundings, reaper))
    uploads = os.path.join(variables.get("TMPDIR") or "/tmp", ".serai-uploads")  # noqa: S108
    tools = [
        *ProcessTools(table, processes).all(),
        *FileTools(files, paths).all(),
        *CodeTools(files, paths, coder).all(),
    ]
    for routes in (
        SystemRoutes(table),
        processes,
        SearchRoutes(paths, table.limits.keepalive),
        TerminalRoutes(terminals, paths),
        NetworkRoutes(),
        CodeRoutes(coder, paths),
        McpRoutes(tools),
        TreeRoutes(paths, files),
        FileRoutes(paths, files, Uploads(uploads)),
    ):
        routes.add_to(router)
    return router, table, terminals


async def _run(api: socket.socket, port: socket.socket, config: Mapping[str, object]) -> None:
    loop = asyncio.get_running_loop()
    executor = concurrent.futures.ThreadPoolExecutor(EXECUTOR_THREADS, "files")
    loop.set_default_executor(executor)
    _enter(_text(config, "workdir", "/"))
    reaper = Reaper()
    reaper.start(loop)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    router, table, terminals = build(config, reaper)
    servers = [
        await loop.create_unix_server(lambda: Connection(router), sock=api, backlog=1024),
        await loop.create_unix_server(PortClient, sock=port, backlog=1024),
    ]
    await stopped.wait()
    for server in servers:
        server.close()
    terminals.shut_down()
    await table.shut_down()
