"""Saving files, by the driver that has those of the sandbox in question."""

from collections.abc import Awaitable, Callable

from serai.runtime.port import Contents, Files, Runtime, SandboxPlan, Saved

Find = Callable[[str], Awaitable[Runtime]]


class RoutedFiles:
    """See ``port.Files``.

    Saved sets and archives lie in the data directory in one form for all drivers that have any;
    what concerns these alone is asked of ``common``.

    Args:
        find: the driver of a sandbox.
        common: files of the driver of new sandboxes.
        claim: called with the id of a new sandbox before it gets files.
        forget: called with the id of a sandbox that is gone.
    """

    def __init__(
        self,
        find: Find,
        common: Files,
        *,
        claim: Callable[[str], None],
        forget: Callable[[str], None],
    ) -> None:
        self._find = find
        self._claim = claim
        self._common = common
        self._forget = forget

    @property
    def level(self) -> Contents:
        """See Files.level, of new sandboxes."""
        return self._common.level

    async def save(self, sandbox_id: str, saved_id: str, contents: Contents | None = None) -> Saved:
        """See Files.save."""
        files = (await self._find(sandbox_id)).files
        return await files.save(sandbox_id, saved_id, contents)

    async def copy(
        self, sandbox_id: str, target_id: str, contents: Contents | None = None
    ) -> Saved:
        """See Files.copy. Processes are not copied where new sandboxes could not have them."""
        files = (await self._find(sandbox_id)).files
        if contents is None and self.level == "files":
            contents = "files"
        self._claim(target_id)
        return await files.copy(sandbox_id, target_id, contents)

    async def check_memory(self, saved_id: str) -> None:
        """See Files.check_memory."""
        await self._common.check_memory(saved_id)

    async def discard(self, sandbox_id: str) -> None:
        """See Files.discard."""
        await (await self._find(sandbox_id)).files.discard(sandbox_id)
        self._forget(sandbox_id)

    async def pack(self, sandbox_id: str) -> int:
        """See Files.pack."""
        return await (await self._find(sandbox_id)).files.pack(sandbox_id)

    async def unpack(self, sandbox_id: str) -> None:
        """See Files.unpack."""
        await (await self._find(sandbox_id)).files.unpack(sandbox_id)

    async def check_changes(self, sandbox_id: str) -> None:
        """See Files.check_changes."""
        await (await self._find(sandbox_id)).files.check_changes(sandbox_id)

    async def changes(self, plan: SandboxPlan) -> bytes:
        """See Files.changes."""
        return await (await self._find(plan.id)).files.changes(plan)

    async def packed(self) -> list[str]:
        """See Files.packed."""
        return await self._common.packed()

    async def drop_packed(self, sandbox_id: str) -> None:
        """See Files.drop_packed."""
        await self._common.drop_packed(sandbox_id)

    async def close(self) -> None:
        """Each driver closes its own."""

    async def saved(self) -> dict[str, bool]:
        """See Files.saved."""
        return await self._common.saved()

    async def settle(self, saved_id: str) -> None:
        """See Files.settle."""
        await self._common.settle(saved_id)

    async def drop_memory(self, saved_id: str) -> None:
        """See Files.drop_memory."""
        await self._common.drop_memory(saved_id)

    async def drop(self, saved_id: str) -> None:
        """See Files.drop."""
        await self._common.drop(saved_id)
