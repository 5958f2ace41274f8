"""The runtime of a machine that cannot isolate sandboxes: everything else still works."""

from serai.runtime.links import TunnelLink
from serai.runtime.making import Making
from serai.runtime.port import (
    Contents,
    Files,
    ImageConfig,
    ImageInfo,
    Incapable,
    Library,
    Mount,
    RuntimeProblem,
    SandboxHandle,
    SandboxPlan,
    Saved,
)


class NoLibrary:
    """Holds no image, and says why."""

    making: Making | None = None

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def infos(self) -> list[ImageInfo]:
        """None is here."""
        return []

    async def ready(self, image: str, seconds: float) -> None:
        """Always refused."""
        raise RuntimeProblem(self._reason)

    async def config(self, image: str) -> ImageConfig:
        """Always refused."""
        raise RuntimeProblem(self._reason)


class NoFiles:
    """Keeps nothing, and says why."""

    level: Contents = "files"

    def __init__(self, reason: str) -> None:
        self._reason = reason

    async def save(self, sandbox_id: str, saved_id: str, contents: Contents | None = None) -> Saved:
        """Always refused."""
        raise RuntimeProblem(self._reason)

    async def copy(
        self, sandbox_id: str, target_id: str, contents: Contents | None = None
    ) -> Saved:
        """Always refused."""
        raise RuntimeProblem(self._reason)

    async def check_memory(self, saved_id: str) -> None:
        """Always refused."""
        raise Incapable(self._reason)

    async def discard(self, sandbox_id: str) -> None:
        """Nothing is there."""

    async def pack(self, sandbox_id: str) -> int:
        """Always refused."""
        raise RuntimeProblem(self._reason)

    async def unpack(self, sandbox_id: str) -> None:
        """Always refused."""
        raise RuntimeProblem(self._reason)

    async def check_changes(self, sandbox_id: str) -> None:
        """Always refused."""
        raise RuntimeProblem(self._reason)

    async def changes(self, plan: SandboxPlan) -> bytes:
        """Always refused."""
        raise RuntimeProblem(self._reason)

    async def packed(self) -> list[str]:
        """Nothing is there."""
        return []

    async def drop_packed(self, sandbox_id: str) -> None:
        """Nothing is there."""

    async def close(self) -> None:
        """Nothing goes on."""

    async def saved(self) -> dict[str, bool]:
        """Nothing is there."""
        return {}

    async def settle(self, saved_id: str) -> None:
        """Nothing is there."""

    async def drop_memory(self, saved_id: str) -> None:
        """Nothing is there."""

    async def drop(self, saved_id: str) -> None:
        """Nothing is there."""


class UnavailableRuntime:
    """Refuses every sandbox with the reason why this machine cannot run any."""

    name = "unavailable"
    level = "none"

    def __init__(self, reason: str) -> None:
        self.isolation = f"none: {reason}"
        self.files: Files = NoFiles(reason)
        self.library: Library = NoLibrary(reason)
        self._reason = reason

    async def start(self) -> None:
        """Nothing to make ready."""

    async def close(self) -> None:
        """Nothing to release."""

    def images(self) -> list[str]:
        """None can be provided."""
        return []

    async def create(self, plan: SandboxPlan) -> SandboxHandle:
        """Always refused."""
        raise RuntimeProblem(self._reason)

    async def alive(self, handle: SandboxHandle) -> bool:
        """Nothing runs."""
        return False

    async def suspend(self, handle: SandboxHandle) -> None:
        """Always refused."""
        raise RuntimeProblem(self._reason)

    async def resume(self, handle: SandboxHandle) -> None:
        """Nothing is suspended."""

    async def suspended(self, handle: SandboxHandle) -> bool:
        """Nothing is suspended."""
        return False

    async def attach(self, handle: SandboxHandle) -> None:
        """Nothing runs."""

    async def stop(self, handle: SandboxHandle) -> None:
        """Nothing runs."""

    async def destroy(self, sandbox_id: str, handle: SandboxHandle | None) -> None:
        """Nothing is left."""

    async def mount(self, handle: SandboxHandle, mount: Mount) -> None:
        """Always refused."""
        raise RuntimeProblem(self._reason)

    async def unmount(self, handle: SandboxHandle, path: str) -> None:
        """Nothing is mounted."""

    async def tunnel(self, handle: SandboxHandle, link: TunnelLink | None, *, anew: bool) -> None:
        """Fails with the reason."""
        raise RuntimeProblem(self._reason)

    async def successor(self, handle: SandboxHandle) -> str:
        """Fails with the reason."""
        raise RuntimeProblem(self._reason)

    async def leftovers(self) -> list[str]:
        """Nothing is left."""
        return []
