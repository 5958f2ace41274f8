"""Sandboxes of gVisor kept with their processes and memory, see ``port.Files``."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from serai.runtime import freezer, traces
from serai.runtime.guest.records import Record, read_record
from serai.runtime.messages import Trace
from serai.runtime.oci import checkpointing
from serai.runtime.oci.doors import Doors
from serai.runtime.port import (
    Contents,
    Incapable,
    NoSpace,
    RuntimeProblem,
    SandboxPlan,
    Saved,
)
from serai.runtime.roots.library import Library
from serai.runtime.saving import SavedFiles, Send, Turn
from serai.runtime.storage import Storage

UNPROVEN = "not tried yet"


class LiveFiles(SavedFiles):
    """Keeps processes too, once that was proven.

    Args:
        storage, send, turn, end, library: see SavedFiles.
        doors: of the sandboxes.
    """

    def __init__(
        self,
        storage: Storage,
        send: Send,
        turn: Turn,
        end: Callable[[str], None],
        library: Library,
        doors: Doors,
    ) -> None:
        super().__init__(storage, send, turn, end, library)
        self._doors = doors
        self.version = ""
        self.trees = Path()
        """Where interpreter trees are."""
        self.problem = UNPROVEN
        """Why processes cannot be kept here; empty when they can."""

    @property
    def level(self) -> Contents:
        """See Files.level."""
        return "files" if self.problem else "memory"

    def describe(self) -> str:
        """For the line about isolation."""
        if self.problem:
            return f"DEGRADED: snapshots keep files only: {self.problem}"
        return "snapshots keep processes and memory"

    async def _keep(
        self, kind: str, sandbox_id: str, target: Path, memory: Path, contents: Contents | None
    ) -> Saved:
        why = self._obstacle(sandbox_id)
        if contents != "files" and not why:
            try:
                return await self._keep_all(kind, sandbox_id, target, memory)
            except NoSpace:
                raise
            except RuntimeProblem as problem:
                why = str(problem)
        return await self._keep_files(kind, sandbox_id, target, contents, why)

    def _obstacle(self, sandbox_id: str) -> str:
        """Why no more than the files of this sandbox can be kept; empty when it can."""
        if self.problem:
            return self.problem
        trace = traces.read_trace(self._storage.directory(sandbox_id))
        if trace is None or not traces.is_running(trace):
            return "it does not run"
        if trace.mounts:
            return "it has volumes or drives, without which its processes could not go on"
        return ""

    async def _keep_all(self, kind: str, sandbox_id: str, target: Path, memory: Path) -> Saved:
        trace = self._trace(sandbox_id)
        record = msgspec.json.encode(
            Record(version=self.version, tree=trace.tree, token=trace.token)
        ).decode()
        more = {"id": sandbox_id, "memory": str(memory), "record": record}
        async with self._awake(trace), self._quiet(sandbox_id, trace):
            size = await self._copy(kind, sandbox_id, target, **more)
        return Saved(size=int(size), contents="memory")

    @asynccontextmanager
    async def _awake(self, trace: Trace) -> AsyncIterator[None]:
        """One that stands must go on to take part, and stands again afterwards."""
        stands = freezer.is_frozen(trace)
        if stands:
            await asyncio.to_thread(freezer.thaw, trace)
        try:
            yield
        finally:
            if stands:
                await asyncio.to_thread(freezer.freeze, trace)

    @asynccontextmanager
    async def _quiet(self, sandbox_id: str, trace: Trace) -> AsyncIterator[None]:
        """No connection is open meanwhile; those that come wait."""
        door = self._doors.find(sandbox_id)
        if door is None:
            raise RuntimeProblem("nobody looks after the sandbox's sockets")
        await door.wait_ready(ended=lambda: not traces.is_running(trace))
        await door.hush()
        try:
            yield
        except RuntimeProblem:
            await self._release(sandbox_id)  # if whoever should have done it was killed
            raise
        finally:
            door.open()
            await door.wait_ready(ended=lambda: not traces.is_running(trace))

    async def _release(self, sandbox_id: str) -> None:
        source = self._storage.directory(sandbox_id)
        if checkpointing.is_marked(source, traces.read_trace(source)):
            await self._run("release", source, source, id=sandbox_id)

    async def release_all(self) -> None:
        """Let every sandbox go on that a crash left stopped for a checkpoint."""
        for sandbox_id in await asyncio.to_thread(self._storage.known):
            await self._release(sandbox_id)

    def _trace(self, sandbox_id: str) -> Trace:
        trace = traces.read_trace(self._storage.directory(sandbox_id))
        if trace is None:
            raise RuntimeProblem("it does not run")
        return trace

    def checkpoint_of(self, plan: SandboxPlan) -> tuple[str, Record]:
        """The checkpoint that a plan names, and what it needs.

        Raises:
            Incapable: it is of another version, or what it needs is gone.
        """
        storage, key = self._storage, plan.memory_from
        if key == plan.id:
            return self._find(storage.directory(key), storage.memory(key))
        return self._find(storage.saved_files(key), storage.saved_memory(key))

    async def check_memory(self, saved_id: str) -> None:
        """See Files.check_memory."""
        if self.problem:
            raise Incapable(self.problem)
        storage = self._storage
        self._find(storage.saved_files(saved_id), storage.saved_memory(saved_id))

    def _find(self, files: Path, memory: Path) -> tuple[str, Record]:
        record = read_record(files)
        if record is None or not memory.is_dir():
            raise Incapable("processes and memory are not there")
        if self.version and record.version != self.version:
            raise Incapable(
                f"processes and memory were saved by {record.version}, and this is {self.version}"
            )
        if not (self.trees / record.tree).is_dir():
            raise Incapable("the interpreter that its processes run from is gone")
        return str(memory), record
