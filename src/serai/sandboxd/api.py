"""All of one sandbox's API, put together."""

import asyncio
import os
import socket
import sys
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from serai import __version__
from serai.sandboxd.archive_routes import ArchiveRoutes
from serai.sandboxd.code_routes import Coder, CodeRoutes
from serai.sandboxd.code_tools import CodeTools
from serai.sandboxd.connection import Connection, Known
from serai.sandboxd.file_routes import FileRoutes
from serai.sandboxd.file_tools import FileTools
from serai.sandboxd.files import Files
from serai.sandboxd.freeze import Freeze
from serai.sandboxd.handover import ConnectionState, Handover, Open, ViewerState
from serai.sandboxd.mcp import McpRoutes
from serai.sandboxd.monitors import Monitors
from serai.sandboxd.network_routes import NetworkRoutes
from serai.sandboxd.nursery import Nursery
from serai.sandboxd.paths import Paths
from serai.sandboxd.process_routes import ProcessRoutes
from serai.sandboxd.process_table import ProcessTable
from serai.sandboxd.process_tools import ProcessTools
from serai.sandboxd.processes import Limits
from serai.sandboxd.relay import Half, Server
from serai.sandboxd.router import Router
from serai.sandboxd.running import Runner
from serai.sandboxd.search_routes import SearchRoutes
from serai.sandboxd.spawning import Reaper, Surroundings
from serai.sandboxd.standby_routes import StandbyRoutes
from serai.sandboxd.stdio_routes import StdioRoutes
from serai.sandboxd.succession import Succession
from serai.sandboxd.swagger_routes import SwaggerRoutes
from serai.sandboxd.system_routes import SystemRoutes
from serai.sandboxd.task_routes import TaskRoutes
from serai.sandboxd.terminal_routes import TerminalRoutes
from serai.sandboxd.terminals import Terminals
from serai.sandboxd.tree_routes import TreeRoutes
from serai.sandboxd.uploads import Uploads


class Api:
    """All of one sandbox's API, made before the fork so that forks share its memory."""

    def __init__(self) -> None:
        self.reaper = Reaper()
        self.paths = Paths("/root", "/")
        self.nursery = Nursery()
        self.surroundings = Surroundings({}, "/root", self.nursery)
        self.table = ProcessTable(self.surroundings, self.paths, self.reaper, Limits())
        self.terminals = Terminals(self.surroundings, self.reaper)
        self.uploads = Uploads("/tmp")  # noqa: S108
        self.monitors = Monitors()
        self.known = Known()
        self.listeners: tuple[socket.socket, ...] = ()
        self.kept: list[int] = []
        self.succession = Succession(self.reaper, self.nursery, self.state, self.known)
        self.system = SystemRoutes(self.table, self.succession)
        self.terminal_routes = TerminalRoutes(self.terminals, self.paths)
        self.freeze = Freeze(self.table, self.terminals)
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
            ArchiveRoutes(self.table, self.freeze),
            StandbyRoutes(self.table, self.freeze),
            processes,
            TaskRoutes(self.table, self.known),
            SearchRoutes(self.paths, self.table),
            self.terminal_routes,
            NetworkRoutes(self.monitors),
            SwaggerRoutes(),
            CodeRoutes(coder, self.paths),
            McpRoutes(tools),
            StdioRoutes(self.paths, self.surroundings, self.reaper),
            TreeRoutes(self.paths, files),
            FileRoutes(self.paths, files, self.uploads),
        ):
            routes.add_to(self.router)

    def become(self, config: Mapping[str, object]) -> None:
        """Be the API of a copy of the sandbox: its processes run on, later ones are the copy's."""
        home, variables = _surroundings(config)
        self.surroundings.settle(variables, home)

    def settle(self, config: Mapping[str, object]) -> None:
        """Become the API of the one sandbox that a configuration tells about."""
        home, variables = _surroundings(config)
        workdir = text_of(config, "workdir", "/")
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
        self.succession.place = text_of(config, "successors", "")
        kept = config.get("kept")
        self.kept = list(kept) if isinstance(kept, Sequence) else []
        self.system.begin()

    def state(self, connections: list[Open]) -> Handover:
        """All that another version of this API needs for going on."""
        listeners = [each.fileno() for each in self.listeners]
        return Handover(
            version=__version__,
            api=listeners[0],
            port=listeners[1],
            proc=self.surroundings.expend.proc,
            successors=self.succession.place,
            kept=self.kept,
            limits=msgspec.structs.asdict(self.table.limits),
            surroundings=self.surroundings.state(self.paths.workdir),
            uploads=self.uploads.root,
            service_ports=sorted(self.table.service_ports),
            system=self.system.state(),
            processes=self.table.states(),
            terminals=self.terminals.states(),
            monitors=self.monitors.states(),
            open=connections,
        )

    def take_over(self, state: Handover) -> None:
        """Become the API that another version of it was until now; its connections come later."""
        around = state.surroundings
        self.paths.home, self.paths.workdir = around.home, around.workdir
        self.surroundings.settle(around.given, around.home)
        self.surroundings.replace(around.extra)
        self.surroundings.expend.proc = state.proc
        self.table.limits = msgspec.convert(state.limits, Limits)
        self.terminals.idle = self.table.limits.terminal_idle
        self.uploads.root = state.uploads
        self.succession.place, self.kept = state.successors, state.kept
        self.system.take_over(state.system)
        self.table.service_ports = frozenset(state.service_ports)
        self.table.take_over(state.processes)
        self.terminals.take_over(state.terminals)
        self.monitors.take_over(state.monitors)

    async def admit(self, connections: Iterable[Open]) -> None:
        """Go on with the connections of another version."""
        for state in connections:
            try:
                await self._admit(state)
            except OSError as error:
                sys.stderr.write(f"a connection is lost: {error}\n")

    async def _admit(self, state: Open) -> None:
        if isinstance(state, ConnectionState):
            connection = Connection(self.router, self.known)
            await accepted(state.fd, connection)
            if state.request is not None:
                connection.go_on(state.request)
        elif isinstance(state, ViewerState):
            self.known.add(await accepted(state.fd, self.terminal_routes.take_over(state)))
        else:
            client, server = Half(held=True), Server(held=True)
            self.known.add(await accepted(state.client, client))
            await accepted(state.server, server)
            client.join(server, state)


async def accepted(fd: int, protocol: asyncio.Protocol) -> asyncio.Transport:
    """Serve a connection that is open already."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_accepted_socket(lambda: protocol, socket.socket(fileno=fd))
    return transport


def text_of(config: Mapping[str, object], key: str, default: str) -> str:
    """A value as text."""
    return str(config.get(key) or default)


def _surroundings(config: Mapping[str, object]) -> tuple[str, dict[str, str]]:
    """Home directory and environment of processes."""
    environment = config.get("environment")
    variables = dict(environment) if isinstance(environment, Mapping) else {}
    variables.setdefault("HOSTNAME", text_of(config, "hostname", "sandbox"))
    return text_of(config, "home", "/root"), variables
