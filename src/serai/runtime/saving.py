"""Sets of saved files of the embedded runtime, and what a sandbox starts from."""

import asyncio
import errno
import os
import re
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import msgspec

from serai.kernel.background import Background
from serai.runtime import processes, traces
from serai.runtime.messages import Trace
from serai.runtime.port import Contents, Incapable, NoSpace, RuntimeProblem, SandboxPlan, Saved
from serai.runtime.roots.library import Library
from serai.runtime.storage import Storage

Send = Callable[[str, Trace | None, dict[str, str]], Awaitable[str]]
Turn = Callable[[str], AbstractAsyncContextManager[None]]
_SAVED = re.compile(r"[a-z0-9_]{1,40}")
SETTLED = "settled"
_ONLY_FILES = "the runtime of this sandbox cannot keep processes and memory"
_FULL = (f"[Errno {errno.ENOSPC}]", f"[Errno {errno.EDQUOT}]")


class SavedFiles:
    """See ``port.Files``. Copies are made by forks of the launcher, beside the server.

    Args:
        storage: the data directory's.
        send: has the launcher run an errand.
        turn: the lock of one sandbox.
        end: ends a sandbox's processes; runs in a thread, holding that lock.
        library: which image the files belong to.
    """

    def __init__(
        self,
        storage: Storage,
        send: Send,
        turn: Turn,
        end: Callable[[str], None],
        library: Library,
    ) -> None:
        self._pins = library.pins
        self._library = library
        self._storage = storage
        self._end = end
        self._background = Background()
        self._send = send
        self._turn = turn

    @property
    def level(self) -> Contents:
        """See Files.level."""
        return "files"

    async def save(self, sandbox_id: str, saved_id: str, contents: Contents | None = None) -> Saved:
        """See Files.save."""
        target = self._storage.saved_files(_checked(saved_id))
        memory = self._storage.saved_memory(saved_id)
        async with self._turn(sandbox_id):
            try:
                self._pins.copy(sandbox_id, saved_id, saved=True)
                return await self._keep("save-files", sandbox_id, target, memory, contents)
            except BaseException:
                await asyncio.shield(asyncio.to_thread(self._drop, target))
                raise

    async def copy(
        self, sandbox_id: str, target_id: str, contents: Contents | None = None
    ) -> Saved:
        """See Files.copy."""
        target, memory = self._storage.directory(target_id), self._storage.memory(target_id)
        async with self._turn(target_id), self._turn(sandbox_id):
            self._pins.copy(sandbox_id, target_id)
            return await self._keep("copy-files", sandbox_id, target, memory, contents)

    async def _keep(
        self, kind: str, sandbox_id: str, target: Path, memory: Path, contents: Contents | None
    ) -> Saved:
        """Keep what is wanted, and possible; the caller has the turn."""
        return await self._keep_files(kind, sandbox_id, target, contents, _ONLY_FILES)

    async def _keep_files(
        self, kind: str, sandbox_id: str, target: Path, contents: Contents | None, why: str
    ) -> Saved:
        """Keep files; refuse whoever wants more, with the reason."""
        if contents == "memory":
            raise Incapable(why)
        size = await self._copy(kind, sandbox_id, target)
        return Saved(size=int(size), why="" if contents else why)

    async def _copy(self, kind: str, sandbox_id: str, target: Path, **more: str) -> str:
        source = self._storage.directory(sandbox_id)
        if not source.exists():
            raise RuntimeProblem("the sandbox has no files: it was never started")
        return await self._run(kind, source, target, **more)

    async def _run(self, kind: str, source: Path, target: Path, **more: str) -> str:
        details = {"source": str(source), "target": str(target), **more}
        try:
            return await self._send(kind, None, details)
        except RuntimeProblem as problem:
            if any(mark in str(problem) for mark in _FULL):
                raise NoSpace("the disk that holds the data directory is full") from problem
            raise

    async def check_memory(self, saved_id: str) -> None:
        """See Files.check_memory."""
        raise Incapable("the runtime of new sandboxes cannot go on with processes that were saved")

    async def discard(self, sandbox_id: str) -> None:
        """See Files.discard."""
        async with self._turn(sandbox_id):
            bag = await asyncio.to_thread(self._put_away, sandbox_id)
        self._background.start(asyncio.to_thread(self._storage.burn, bag))

    def _put_away(self, sandbox_id: str) -> Path | None:
        self._end(sandbox_id)
        self._pins.drop(sandbox_id)
        self._storage.forget_memory(sandbox_id)
        return self._storage.put_away(self._storage.directory(sandbox_id))

    async def pack(self, sandbox_id: str) -> int:
        """See Files.pack."""
        async with self._turn(sandbox_id):
            try:
                packed = self._storage.packed(sandbox_id)
                return int(await self._copy("pack-files", sandbox_id, packed))
            except BaseException:
                self._storage.packed(f"{sandbox_id}.new").unlink(missing_ok=True)
                raise

    async def unpack(self, sandbox_id: str) -> None:
        """See Files.unpack."""
        source, target = self._storage.packed(sandbox_id), self._storage.directory(sandbox_id)
        async with self._turn(sandbox_id):
            await asyncio.to_thread(self._storage.allot, sandbox_id, None)
            await self._run("unpack-files", source, target)

    async def check_changes(self, sandbox_id: str) -> None:
        """See Files.check_changes: always."""

    async def changes(self, plan: SandboxPlan) -> bytes:
        """See Files.changes."""
        source = self._storage.directory(plan.id)
        target = self._storage.packed(f"{plan.id}.{os.urandom(6).hex()}.list")
        saved = [str(self._storage.saved_files(each)) for each in plan.files_from]
        choice = await self._library.choose(plan)
        over = [f"{each}/layers/root/upper" for each in choice.over]
        details = {
            "saved": msgspec.json.encode(saved).decode(),
            "image": msgspec.json.encode(choice.layers).decode(),
            "over": msgspec.json.encode(over).decode(),
        }
        async with self._turn(plan.id):
            try:
                await self._run("list-changes", source, target, **details)
                return await asyncio.to_thread(target.read_bytes)
            finally:
                await asyncio.to_thread(target.unlink, missing_ok=True)

    async def packed(self) -> list[str]:
        """See Files.packed."""
        return await asyncio.to_thread(self._storage.known_packed)

    async def drop_packed(self, sandbox_id: str) -> None:
        """See Files.drop_packed."""
        await asyncio.to_thread(self._storage.drop_packed, sandbox_id)

    async def close(self) -> None:
        """Wait for removals that are still going on."""
        await self._background.wait()

    async def saved(self) -> dict[str, bool]:
        """See Files.saved."""
        return await asyncio.to_thread(self._saved)

    def _saved(self) -> dict[str, bool]:
        boot = processes.boot_id()
        known = self._storage.known_saved()
        return {name: _is_whole(self._storage.saved_files(name), boot) for name in known}

    async def settle(self, saved_id: str) -> None:
        """See Files.settle."""
        saved = self._storage.saved_files(_checked(saved_id))
        await self._run("settle-files", saved, saved)

    async def drop_memory(self, saved_id: str) -> None:
        """See Files.drop_memory."""
        memory = self._storage.saved_memory(_checked(saved_id))
        if memory.exists():
            await asyncio.to_thread(self._storage.trash, memory)

    async def drop(self, saved_id: str) -> None:
        """See Files.drop."""
        await asyncio.to_thread(self._drop, self._storage.saved_files(_checked(saved_id)))

    def _drop(self, saved: Path) -> None:
        self._pins.drop(saved.name, saved=True)
        memory = self._storage.saved_memory(saved.name)
        drafts = [path.with_name(f"{path.name}.new") for path in (saved, memory)]
        for path in (*drafts, saved, memory):
            try:
                with traces.locked(path):  # an errand of a server that died may still write there
                    self._storage.trash(path)
            except FileNotFoundError:
                continue


def _is_whole(saved: Path, boot: str) -> bool:
    """Written to the end, and since then no power failure could take a part of it."""
    try:
        return (saved / SETTLED).exists() or (saved / "size").read_text().split()[1] == boot
    except (OSError, IndexError):
        return False


def _checked(saved_id: str) -> str:
    if not _SAVED.fullmatch(saved_id):
        raise RuntimeProblem(f"id {saved_id[:60]!r} must be 1 to 40 of a-z, 0-9 and _")
    return saved_id
