"""Rooms: sandboxes in which the steps of a build run, as untrusted as any program in a sandbox.

A room has the limits, the users and the network of a sandbox, and is gone with its build. After a
crash of the platform the reconciler of sandboxes removes it, as it belongs to none of them.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

import msgspec

from serai.build.failures import BuildFailed
from serai.build.ports import Limits, Say
from serai.build.registries import usual_places
from serai.egress.policy import Policy, Route
from serai.kernel.ids import token
from serai.runtime.port import (
    ImageNotReady,
    NetworkPlan,
    Runtime,
    RuntimeProblem,
    SandboxHandle,
    SandboxPlan,
)

if TYPE_CHECKING:
    import aiohttp

_READY_SECONDS = 20.0
_LINE_MAX = 4000
_ANSWER_MAX = 4 << 20
_FULL = ("No space left on device", "Disk quota exceeded", "ENOSPC", "EDQUOT")
_KILLED = 137


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """How rooms reach package registries.

    Attributes:
        plan: certificates and variables of every sandbox with a network.
        environment: variables that lead package managers to the registries of this machine.
        allowed: patterns of names that may be reached; all of the internet when there are none.
        routes: credentials that are added on the way, which no step sees.
        trusted: the registries of this machine, which may be in a private network, as may be
            those that its pip and npm use without being told.
    """

    plan: NetworkPlan
    environment: Mapping[str, str] = {}
    allowed: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()
    trusted: tuple[tuple[str, int], ...] = ()


class Egress(Protocol):
    """Decides what a room may reach: the part of ``compute.ports.Egress`` that rooms need."""

    def put(self, sandbox_id: str, policy: Policy) -> None:
        """From now on these are the rules of a room."""

    def drop(self, sandbox_id: str) -> None:
        """Forget a room."""


class Workshop:
    """Opens rooms."""

    def __init__(self, runtime: Runtime, rules: Egress, network: Network) -> None:
        self._runtime = runtime
        self._rules = rules
        self._network = network
        self._usual: tuple[tuple[str, int], ...] | None = None

    @contextlib.asynccontextmanager
    async def room(self, image: str, limits: Limits, say: Say) -> AsyncIterator["Room"]:
        """A room on an image, which is made ready first.

        Raises:
            RuntimeProblem: the image cannot be had, or the room not be opened.
        """
        await self._have(image, say)
        network = self._network
        plan = SandboxPlan(
            id=f"build{token(12)}",
            hostname="build",
            image=image,
            memory_mb=limits.memory_mb,
            environment=network.environment,
            disk_mb=limits.disk_mb,
            network=network.plan,
        )
        self._rules.put(plan.id, await self._policy())
        handle: SandboxHandle | None = None
        try:
            handle = await self._runtime.create(plan)
            import aiohttp

            connector = aiohttp.UnixConnector(path=handle.api_socket)
            timeout = aiohttp.ClientTimeout(total=None)
            async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
                yield Room(session, limits)
        finally:
            await asyncio.shield(self._runtime.destroy(plan.id, handle))
            self._rules.drop(plan.id)

    async def _policy(self) -> Policy:
        if self._usual is None:
            self._usual = await asyncio.to_thread(usual_places)
        network = self._network
        trusted = (*network.trusted, *self._usual)
        return Policy(allowed=network.allowed, routes=network.routes, trusted=trusted)

    async def _have(self, image: str, say: Say) -> None:
        told = ""
        while True:
            try:
                await self._runtime.library.ready(image, _READY_SECONDS)
                return
            except ImageNotReady as waiting:
                if waiting.progress != told:
                    told = waiting.progress
                    say(f"Waiting for the base image {image}: {told}")


class _Event(msgspec.Struct):
    """One line of a streaming exec; see ``sandboxd.process_streams``."""

    type: str
    data: str = ""


class _Ended(msgspec.Struct):
    exitCode: int = -1


class Room:
    """A room that is open; its API is asked through a Unix socket and is not trusted."""

    def __init__(self, session: "aiohttp.ClientSession", limits: Limits) -> None:
        self._session = session
        self._limits = limits

    async def put(self, path: str, source: Path) -> None:
        """Copy a file of the host into the room.

        Raises:
            RuntimeProblem: it did not arrive.
        """
        with source.open("rb") as file:
            import aiohttp

            form = aiohttp.FormData()
            form.add_field("file", file, filename="file")
            async with self._session.put(_url(f"/filesystem/{path}"), data=form) as answer:
                if answer.status >= 300:
                    said = (await answer.content.read(2000)).decode(errors="replace")
                    raise RuntimeProblem(f"the build has no room for its files: {said}")

    async def run(self, step: str, folder: str, env: Mapping[str, str], say: Say) -> None:
        """Run a shell step to its end.

        Raises:
            BuildFailed: it ended with an error, or used more than it may.
        """
        body = {"command": step, "workingDir": folder, "env": dict(env)}
        lines = _Lines(say)
        headers = {"Accept": "text/event-stream"}
        code = -1
        async with self._session.post(_url("/process"), json=body, headers=headers) as answer:
            if answer.status >= 300:
                said = (await answer.content.read(2000)).decode(errors="replace")
                raise BuildFailed(f"a step could not be started: {said}")
            async for event in _events(answer.content):
                if event.type in {"stdout", "stderr"}:
                    lines.feed(event.data)
                elif event.type == "error":
                    raise BuildFailed(f"a step could not be started: {event.data[:500]}")
                elif event.type == "result":
                    code = msgspec.json.decode(event.data, type=_Ended).exitCode
        lines.end()
        if code != 0:
            raise BuildFailed(self._explained(step, code, lines.last))

    def _explained(self, step: str, code: int, last: str) -> str:
        shown = step if len(step) < 120 else f"{step[:117]}…"
        if any(mark in last for mark in _FULL):
            return (
                f"the disk of the build is full ({self._limits.disk_mb} MiB: the setting "
                f"build_disk_mb, or the label x-blaxel-build-volume), at: {shown}"
            )
        if code == _KILLED:
            return (
                f"a step was killed, most likely as it used more than {self._limits.memory_mb} MiB "
                "of memory (the setting build_memory_mb, or the label x-blaxel-build-memory), at: "
                f"{shown}"
            )
        said = f": {last.strip()[-500:]}" if last.strip() else ""
        return f"`{shown}` ended with {code}{said}"

    async def take(self, path: str, target: Path) -> None:
        """Copy a file of the room to the host.

        Raises:
            BuildFailed: it is not there, or larger than the build may be.
        """
        most = (self._limits.disk_mb + 1) << 20
        headers = {"Accept": "application/octet-stream"}
        async with self._session.get(_url(f"/filesystem/{path}"), headers=headers) as answer:
            if answer.status >= 300:
                raise BuildFailed(f"{path} cannot be read after the build")
            flags = os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC
            with os.fdopen(os.open(target, flags, 0o600), "wb") as file:
                async for data in answer.content.iter_chunked(1 << 20):
                    most -= len(data)
                    if most < 0:
                        raise BuildFailed("what was built is larger than a build may be")
                    await asyncio.to_thread(file.write, data)


async def _events(content: "aiohttp.StreamReader") -> AsyncIterator[_Event]:
    """The events of a stream; a line that is too long or no event ends the build."""
    rest = b""
    async for data in content.iter_any():
        *lines, rest = (rest + data).split(b"\n")
        if len(rest) > _ANSWER_MAX:
            raise BuildFailed("the room of the build answers nonsense")
        for line in lines:
            if line.strip():
                yield _decoded(line)
    if rest.strip():
        yield _decoded(rest)


def _decoded(line: bytes) -> _Event:
    try:
        return msgspec.json.decode(line, type=_Event)
    except msgspec.DecodeError as problem:
        raise BuildFailed("the room of the build answers nonsense") from problem


class _Lines:
    """Pieces of output as lines; what a progress bar prints over is left out."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._rest = ""
        self.last = ""

    def feed(self, text: str) -> None:
        """Take a piece."""
        *lines, self._rest = (self._rest + text).split("\n")
        self._rest = self._rest[-_LINE_MAX:]
        for line in lines:
            self._line(line)

    def end(self) -> None:
        """There is no more."""
        self._line(self._rest)

    def _line(self, line: str) -> None:
        shown = line.rstrip("\r").rpartition("\r")[2][:_LINE_MAX]
        if shown.strip():
            self.last = f"{self.last}\n{shown}"[-2000:]
            self._say(shown)


def _url(path: str) -> str:
    return f"http://room{quote(path)}"
