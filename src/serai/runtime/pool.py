"""The pool: one sparse file that holds what sandboxes write, so that all of it has a limit.

The file is a Btrfs file system, mounted through a loop device in mounts that only this server
and its children see (``privacy``). Each sandbox and each drive is a subvolume with a limit of
its own; a group above them keeps the host's disk from filling up. Nothing has to be unmounted:
the kernel does it when the last server and the last sandbox are gone.
"""

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import structlog

from serai.runtime import btrfs, linux, loops, processes
from serai.runtime.port import RuntimeProblem
from serai.runtime.trees import delete_tree

log = structlog.get_logger("serai")

MEGABYTE = 1 << 20
SMALLEST_MB = 1024
_SHARE = 0.8
"""Of the free disk, when nobody chose a size."""
_RESERVE = 0.02
_LARGEST_RESERVE = 2 << 30
_FLAGS = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOATIME
_OPTIONS = "nodatacow,discard=async"
_FORMAT_SECONDS = 60


class Pool:
    """The pool of one data directory.

    Args:
        root: the data directory.
        size_mb: how large it may become; 0 for a share of the disk.
        own_mounts: whether this process has mounts of its own.
    """

    def __init__(self, root: Path, size_mb: int = 0, *, own_mounts: bool) -> None:
        self.top = root / "pool"
        self._image = root / "pool.img"
        self._size_mb = size_mb
        self._own_mounts = own_mounts
        self._allowed: int | None = None
        self.is_open = False
        self.why_not = "not opened"

    def open(self) -> None:
        """Make the pool if there is none, and mount it; ``why_not`` tells why it is not there.

        Raises:
            RuntimeProblem: there is one, with files of sandboxes in it, that cannot be mounted.
        """
        self.why_not = self._obstacle()
        if self.why_not and not self._image.exists():
            return
        try:
            if not self._image.exists():
                self._make()
            self._mount()
        except OSError as error:
            self.why_not = f"{self._image}: {error}"
            if self._image.exists():
                raise RuntimeProblem(
                    f"{self._image} holds files of sandboxes and cannot be mounted: {error}. It "
                    "needs root, loop devices and Btrfs in the kernel"
                ) from error
            return
        self.is_open, self.why_not = True, ""
        self.watch()

    def close(self) -> None:
        """Unmount it here; sandboxes keep what they have of it."""
        if self.is_open:
            self.is_open, self.why_not = False, "closed"
            linux.unmount(str(self.top))

    def _obstacle(self) -> str:
        if not self._own_mounts:
            return "Serai may not mount here (it is not the host's root)"
        if formatter() is None:
            return "mkfs.btrfs is missing (apt install btrfs-progs)"
        if "btrfs" not in Path("/proc/filesystems").read_text().split():
            with contextlib.suppress(OSError):
                subprocess.run(["modprobe", "-q", "btrfs"], timeout=10, check=False)
            if "btrfs" not in Path("/proc/filesystems").read_text().split():
                return "the kernel has no Btrfs"
        return ""

    def _make(self) -> None:
        size = self._size_mb * MEGABYTE or int(free_bytes(self._image.parent) * _SHARE)
        make_image(self._image, max(size, SMALLEST_MB * MEGABYTE))

    def _mount(self) -> None:
        self.top.mkdir(exist_ok=True, mode=0o700)
        wanted = self._size_mb * MEGABYTE
        grows = wanted > self._image.stat().st_size
        if grows:
            os.truncate(self._image, wanted)
        with loops.attached(self._image) as device:
            if grows:
                loops.take_size(device)
            if not self.top.is_mount():
                linux.mount(device, str(self.top), "btrfs", _FLAGS, _OPTIONS)
        if grows:
            btrfs.take_size(self.top)
        btrfs.count_use(self.top)
        for name in ("sandboxes", "drives", "trash"):
            (self.top / name).mkdir(exist_ok=True, mode=0o700)

    def watch(self, promised: int = 0) -> None:
        """Allow no more than the host's disk has room for; to be called again and again.

        Args:
            promised: bytes of the disk that are kept for others.
        """
        state = self._image.stat()
        room = free_bytes(self._image.parent) - promised
        allowed = max(0, min(state.st_size, state.st_blocks * 512 + room))
        if self._size_mb:
            allowed = min(allowed, self._size_mb * MEGABYTE)
        if self._allowed is None or abs(allowed - self._allowed) >= MEGABYTE:
            btrfs.limit(self.top, allowed, btrfs.EVERYTHING)
            if allowed < state.st_size // 10 and (self._allowed or allowed + 1) > allowed:
                log.warning("pool_short_of_disk", allowed_mb=allowed // MEGABYTE)
            self._allowed = allowed

    def allot(self, path: Path, size_mb: int | None) -> None:
        """Make sure of a directory in the pool that holds at most ``size_mb`` MiB."""
        with contextlib.suppress(FileExistsError):
            btrfs.make_subvolume(path)
        if btrfs.is_subvolume(path):
            btrfs.join_everything(path)
            btrfs.limit(path, None if size_mb is None else size_mb * MEGABYTE)

    def remove(self, path: Path) -> None:
        """Remove a directory of the pool, whatever is in it; one that is gone is fine."""
        with contextlib.suppress(FileNotFoundError):
            if btrfs.remove_subvolume(path):
                return
            bag = self.top / "trash" / os.urandom(8).hex()
            bag.mkdir(mode=0o700)
            path.rename(bag / path.name)
            delete_tree(bag)
            bag.rmdir()

    def empty_trash(self) -> None:
        """Finish removals that were cut short."""
        for bag in (self.top / "trash").iterdir():
            delete_tree(bag)
            bag.rmdir()


def formatter() -> str | None:
    """The program that makes Btrfs file systems, if it is installed."""
    return shutil.which("mkfs.btrfs", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")


def free_bytes(path: Path) -> int:
    """What may still be written to the disk of ``path``, leaving a reserve."""
    disk = os.statvfs(path)
    reserve = min(_LARGEST_RESERVE, int(disk.f_blocks * disk.f_frsize * _RESERVE))
    return max(0, disk.f_bavail * disk.f_frsize - reserve)


def make_image(image: Path, size: int, *options: str) -> None:
    """Make a file with an empty Btrfs file system in it, whole or not at all.

    Raises:
        OSError: the program is missing, or says what is wrong.
    """
    program = formatter()
    if program is None:
        raise OSError("mkfs.btrfs is missing (apt install btrfs-progs)")
    draft = image.with_suffix(".new")
    draft.unlink(missing_ok=True)
    try:
        with draft.open("xb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.truncate(size)
        done = subprocess.run(
            [program, "-q", "-K", "-m", "single", "-d", "single", *options, str(draft)],
            env=processes.PLAIN_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_FORMAT_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise OSError(f"mkfs.btrfs: {done.stderr.strip()[-300:]}")
        draft.replace(image)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
