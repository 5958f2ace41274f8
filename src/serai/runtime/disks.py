"""Everything about disks that the embedded runtime does for its sandboxes."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import structlog

from serai.runtime.messages import Placed, Trace
from serai.runtime.port import Mount, RuntimeProblem, SandboxPlan
from serai.runtime.storage import Storage
from serai.runtime.trees import delete_tree
from serai.runtime.volumes import VolumeImages

log = structlog.get_logger("serai")

_LOOK_SECONDS = 2.0
Send = Callable[[str, Trace | None, dict[str, str]], Awaitable[str]]


class Disks:
    """Limits of sandboxes, and the volumes and drives in them."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.volumes = VolumeImages(storage.root / "volumes")
        self.unenforced_volumes = False
        """Whether volumes may be plain directories, where their size cannot be enforced."""
        self._maps_owners = False
        self._task: asyncio.Task[None] | None = None

    def start(self, *, maps_owners: bool) -> None:
        """Begin to watch the host's disk."""
        self._maps_owners = maps_owners
        self.volumes.prepare()
        if self._storage.pool.is_open:
            self._task = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """End the watch, and unmount the pool."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        await asyncio.to_thread(self._storage.pool.close)

    def describe(self) -> str:
        """What limits disks here, for the line about isolation."""
        if self._storage.pool.is_open:
            return "disk limits by a pool"
        volumes = " and volumes" if self.unenforced_volumes else ""
        return f"DEGRADED: no limit on what sandboxes{volumes} write: {self._storage.pool.why_not}"

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                self._storage.pool.watch(await asyncio.to_thread(self.volumes.promised))
            except OSError:
                log.exception("pool_watch_failed")

    async def provide(self, plan: SandboxPlan) -> None:
        """Make ready what a sandbox needs before it starts.

        Raises:
            RuntimeProblem: a volume cannot be had, or not with its limit.
        """
        for mount in plan.mounts:
            self._require(mount)
        await asyncio.to_thread(self._provide, plan)

    def _provide(self, plan: SandboxPlan) -> None:
        try:
            self._storage.allot(plan.id, plan.disk_mb)
        except OSError as error:
            raise RuntimeProblem(f"no disk for the sandbox: {error}") from error
        for mount in plan.mounts:
            if mount.kind == "volume":
                self.volumes.provide(mount, self._is_image(mount))
            else:
                self._make_missing(mount)

    def _make_missing(self, drive: Mount) -> None:
        if not (path := self.drives / drive.id).exists():
            self.make_drive(path)

    def forget(self, sandbox_id: str) -> None:
        """Remove the volumes that live no longer than their sandbox."""
        self.volumes.remove_all(f"{sandbox_id}.")

    def _require(self, mount: Mount) -> None:
        if not self._maps_owners:
            raise RuntimeProblem(
                f"the {mount.kind} for {mount.path} cannot be mounted here: that needs Serai to be "
                "the host's root, and Linux 5.15 to map the owners of files"
            )
        if mount.kind == "drive" or self._storage.pool.is_open:
            return
        if self._is_image(mount) or not self.unenforced_volumes:
            raise RuntimeProblem(
                f"the size of the volume for {mount.path} cannot be enforced here: "
                f"{self._storage.pool.why_not}. Setting unenforced_volumes allows new volumes "
                "without"
            )

    def _is_image(self, volume: Mount) -> bool:
        """A volume stays what it was made as."""
        if self.volumes.plain(volume.id).exists():
            return False
        return self._storage.pool.is_open or self.volumes.path(volume.id).exists()

    def placed(self, plan: SandboxPlan) -> tuple[Placed, ...]:
        """What the launcher mounts in a new sandbox."""
        return tuple(self._place(mount) for mount in plan.mounts)

    def _place(self, mount: Mount) -> Placed:
        is_image = mount.kind == "volume" and self._is_image(mount)
        if is_image:
            source = self.volumes.path(mount.id)
        elif mount.kind == "volume":
            source = self.volumes.plain(mount.id)
        else:
            source = self.drives / mount.id
        return Placed(
            source=str(source),
            path=mount.path,
            folder=mount.folder,
            is_image=is_image,
            read_only=mount.read_only,
        )

    async def mount(self, mount: Mount, trace: Trace, send: Send) -> None:
        """Mount a drive in a running sandbox.

        Raises:
            RuntimeProblem: the place is a link or a file, or the drive is gone.
        """
        self._require(mount)
        self._make_missing(mount)
        placed = msgspec.json.encode(self._place(mount)).decode()
        await send("mount", trace, {"placed": placed})

    @property
    def drives(self) -> Path:
        """Where drives are: in the pool, unless they were elsewhere before there was one."""
        plain = self._storage.root / "drives"
        if not self._storage.pool.is_open:
            return plain
        if plain.exists():
            for folder in plain.iterdir():
                with contextlib.suppress(OSError):
                    folder.rmdir()
            with contextlib.suppress(OSError):
                plain.rmdir()
        return plain if plain.exists() else self._storage.pool.top / "drives"

    def grow_volume(self, volume_id: str, size_mb: int) -> None:
        """Let a volume be larger, also while it is used; blocks.

        Raises:
            RuntimeProblem: that much is not free on the disk.
        """
        self.volumes.grow(volume_id, size_mb)

    def remove_volume(self, volume_id: str) -> None:
        """Delete a volume's files."""
        self.volumes.remove(volume_id)

    def keep_volumes(self, wanted: set[str]) -> None:
        """Delete the files of all volumes but these and those of sandboxes."""
        for path in self.volumes.root.glob("*"):
            is_ours = path.suffix in {".img", ".files"} and "." not in path.stem
            if is_ours and path.stem not in wanted:
                self.volumes.remove(path.stem)

    def make_drive(self, path: Path) -> None:
        """Make a drive's directory."""
        if path.is_relative_to(self._storage.pool.top):
            self._storage.pool.allot(path, None)
            path.chmod(0o755)
        else:
            path.mkdir(mode=0o755, parents=True, exist_ok=True)

    def remove_drive(self, path: Path) -> None:
        """Remove a drive's directory with all that is in it."""
        if path.is_relative_to(self._storage.pool.top):
            self._storage.pool.remove(path)
            return
        with contextlib.suppress(FileNotFoundError):
            delete_tree(path)
            path.rmdir()
