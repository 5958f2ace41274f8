"""Boxes: isolated runtime instances that run one workload's command.

A box is a sandbox in the runtime's sense, with the same isolation, limits, network and disks, and
nobody reaches the API inside it but the platform. Commands are started through that API; their
output goes, line by line, to whoever keeps lines.

After a crash of the platform a box goes on. It is found again by its handle, and a command in it
by its name: see ``Boxes.adopt`` and ``Box.follow``.
"""

import asyncio
import shlex
from collections.abc import Callable, Mapping, Sequence

import msgspec

from serai.compute.asking import ask
from serai.egress.policy import Policy
from serai.hosting.runs import Run
from serai.kernel.lines import LineSink, LogLine
from serai.runtime.port import (
    DISK_MB_DEFAULT,
    Mount,
    NetworkPlan,
    Runtime,
    SandboxHandle,
    SandboxPlan,
)
from serai.wire.sandbox_api import ProcessAnswer, ProcessRequest

HELLO_SECONDS = 5.0
START_SECONDS = 30.0
ANSWER_MAX = 1024 * 1024


class BoxFailed(Exception):
    """A box, or a command in it, could not be started; the message names the cause."""


class Outlet:
    """How programs in boxes reach the outside: by the rules of sandboxes without rules.

    Args:
        plan: what a box must know of its way out.
        put: tells the egress process the rules of a box, by its id.
        drop: makes it forget a box.
        policy: the rules.
    """

    def __init__(
        self,
        plan: NetworkPlan,
        put: Callable[[str, Policy], None],
        drop: Callable[[str], None],
        policy: Policy,
    ) -> None:
        self.plan = plan
        self._put = put
        self.drop = drop
        self._policy = policy

    def open(self, box_id: str) -> None:
        """From now on these are the rules of a box. Repeatable."""
        self._put(box_id, self._policy)


class BoxPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a box is.

    Attributes:
        id: unique, ``[a-z0-9]{1,32}``; must be in a row before the box is opened.
        name: what ``hostname`` prints inside.
        image: a reference that the runtime knows (of a workspace's own: resolved already).
        memory_mb: limit in MiB; CPU cores are ``memory_mb / 2048``.
        environment: variables of every command in it, above those of the image.
        disk_mb: what its files may take, in MiB.
        mounts: volumes and drives.
    """

    id: str
    name: str
    image: str
    memory_mb: int
    environment: Mapping[str, str]
    disk_mb: int = DISK_MB_DEFAULT
    mounts: tuple[Mount, ...] = ()


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A command to run in a box.

    Attributes:
        command: its words; nothing in them is read by a shell.
        name: of the process, unique among those that run in the box.
        workdir: absolute; that of the image when empty.
        environment: variables above the box's own.
    """

    command: Sequence[str]
    name: str = "app"
    workdir: str = ""
    environment: Mapping[str, str] = {}


class Boxes:
    """Opens boxes and finds them again."""

    def __init__(self, runtime: Runtime, sink: LineSink, outlet: Outlet | None = None) -> None:
        self.runtime = runtime
        self.sink = sink
        self._outlet = outlet

    async def open(self, plan: BoxPlan) -> "Box":
        """Start a box; answers when commands can be run in it. Repeatable.

        Raises:
            RuntimeProblem: it cannot be started, with the cause; nothing runs then.
        """
        if self._outlet is not None:
            self._outlet.open(plan.id)
        handle = await self.runtime.create(
            SandboxPlan(
                id=plan.id,
                hostname=plan.name,
                image=plan.image,
                memory_mb=plan.memory_mb,
                environment=plan.environment,
                disk_mb=plan.disk_mb,
                mounts=plan.mounts,
                network=self._outlet.plan if self._outlet is not None else None,
                services=False,
            )
        )
        return Box(self, handle)

    async def adopt(self, handle: SandboxHandle) -> "Box | None":
        """The box of a handle that an earlier run of the platform wrote down, if it lives."""
        if not await self.runtime.alive(handle):
            return None
        if self._outlet is not None:
            self._outlet.open(handle.id)
        return Box(self, handle)

    async def remove(self, box_id: str, handle: SandboxHandle | None) -> None:
        """End a box, whatever it is doing, and remove all of it. Repeatable.

        Raises:
            RuntimeProblem: something of it cannot be removed.
        """
        await self.runtime.destroy(box_id, handle)
        if self._outlet is not None:
            self._outlet.drop(box_id)


class Box:
    """A box that runs, or is suspended.

    Attributes:
        handle: to be written down by whoever opened it.
    """

    def __init__(self, boxes: Boxes, handle: SandboxHandle) -> None:
        self._boxes = boxes
        self.handle = handle

    @property
    def id(self) -> str:
        """That of its plan."""
        return self.handle.id

    @property
    def sink(self) -> LineSink:
        """Where the lines of what runs in it go."""
        return self._boxes.sink

    async def run(self, entry: Entry, label: LogLine) -> Run:
        """Start a command; its lines are like ``label``, with their own text, stream and time.

        Raises:
            BoxFailed: it cannot be started, with the cause.
        """
        wanted = ProcessRequest(
            command=shlex.join(entry.command),
            name=entry.name,
            working_dir=entry.workdir or None,
            env=dict(entry.environment),
        )
        try:
            status, answer = await ask(
                self.handle.api_socket,
                "POST",
                "/process",
                msgspec.json.encode(wanted),
                ANSWER_MAX,
                START_SECONDS,
            )
        except OSError as problem:
            raise BoxFailed(f"the API in its box does not answer: {problem}") from problem
        if status != 200:
            raise BoxFailed(_reason(answer))
        pid = msgspec.json.decode(answer, type=ProcessAnswer).pid
        return self._followed(entry.name, pid, label, 0)

    async def follow(self, name: str, label: LogLine, seen: int = 0) -> Run | None:
        """A command that was started before the platform was; None when the box knows none.

        Args:
            name: of its process.
            label: see ``run``.
            seen: how many of its lines were kept already.

        Raises:
            BoxFailed: the box does not answer.
        """
        try:
            status, answer = await ask(
                self.handle.api_socket, "GET", f"/process/{name}", b"", ANSWER_MAX, START_SECONDS
            )
        except OSError as problem:
            raise BoxFailed(f"the API in its box does not answer: {problem}") from problem
        if status != 200:
            return None
        pid = msgspec.json.decode(answer, type=ProcessAnswer).pid
        return self._followed(name, pid, label, seen)

    def _followed(self, name: str, pid: str, label: LogLine, seen: int) -> Run:
        run = Run(self.handle.api_socket, name, pid, label, self._boxes.sink, self.alive, seen)
        run.begin()
        return run

    async def alive(self) -> bool:
        """Whether it runs or is suspended."""
        return await self._boxes.runtime.alive(self.handle)

    async def accepts(self, port: int) -> bool:
        """Whether something in it takes connections on a port."""
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                reader, writer = await asyncio.open_unix_connection(self.handle.port_socket)
                try:
                    writer.write(f"{port}\n".encode())
                    return await reader.readline() == b"ok\n"
                finally:
                    writer.close()
        except OSError:
            return False

    async def suspend(self) -> None:
        """Stop every process where it stands. Raises RuntimeProblem when they do not stop."""
        await self._boxes.runtime.suspend(self.handle)

    async def resume(self) -> None:
        """Let it go on; nothing happens to one that runs."""
        await self._boxes.runtime.resume(self.handle)

    async def remove(self, run: Run | None = None, grace: float = 0.0) -> None:
        """End the box and remove it; with a run, ask that to end first.

        Args:
            run: what may end by itself, told by SIGTERM.
            grace: seconds it has for that.

        Raises:
            RuntimeProblem: something of it cannot be removed.
        """
        if run is not None and grace > 0:
            await run.stop(grace)
        await self._boxes.remove(self.id, self.handle)
        if run is not None:
            await run.close()


def _reason(answer: bytes) -> str:
    """What the API in a box said; it is not trusted, so that it may say anything."""
    try:
        said = msgspec.json.decode(answer, type=dict[str, object]).get("error")
    except msgspec.DecodeError:
        said = None
    return str(said or "the API in its box refused it")[:500]
