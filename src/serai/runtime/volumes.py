"""Volumes on disk: one file system image each, so that its size is a size for everyone.

``df`` inside shows it, a full volume says so, and it grows while it is in use. The file is
sparse: it takes of the host's disk what is in it.
"""

import contextlib
import os
import tarfile
import threading
from pathlib import Path

from serai.runtime import btrfs, linux, loops, mounting, pool
from serai.runtime.port import Mount, RuntimeProblem
from serai.runtime.trees import delete_tree

SMALLEST_MB = 16
"""Of the file system; volumes that are meant to be smaller are as large as this."""


class VolumeImages:
    """The images below one directory, by the volume's id. Methods block."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._changing = threading.Lock()

    def prepare(self) -> None:
        """Make the directory, and remove what a crash left half made."""
        self.root.mkdir(exist_ok=True, mode=0o700)
        for left in (*self.root.glob("*.new"), *self.root.glob("*.raw")):
            _remove(left)

    def path(self, volume_id: str) -> Path:
        """Where a volume's image is, or will be."""
        return self.root / f"{volume_id}.img"

    def plain(self, volume_id: str) -> Path:
        """Where a volume's files are, if it was made without an image."""
        return self.root / f"{volume_id}.files"

    def provide(self, wanted: Mount, is_image: bool) -> None:
        """Make a volume that was never used before, with what it starts with.

        Raises:
            RuntimeProblem: it does not fit on the disk, or cannot be made.
        """
        with self._changing:
            try:
                if not is_image:
                    self._make_plain(wanted)
                elif self.path(wanted.id).exists():
                    self._grow(wanted.id, wanted.size_mb)
                else:
                    self._make(wanted)
            except (OSError, tarfile.TarError) as error:
                raise RuntimeProblem(f"volume at {wanted.path}: {error}") from error

    def _make(self, wanted: Mount) -> None:
        size = max(wanted.size_mb, SMALLEST_MB) << 20
        self._require_room(size)
        raw = self.root / f"{wanted.id}.raw"
        pool.make_image(raw, size, "--mixed")
        if wanted.content:
            place = self.root / "filling"
            with mounting.mounted_image(str(raw), str(place)):
                _fill(place, wanted.content)
                linux.sync_file_system(place)
        raw.replace(self.path(wanted.id))

    def _make_plain(self, wanted: Mount) -> None:
        if (files := self.plain(wanted.id)).exists():
            return
        raw = files.with_suffix(".raw")
        _remove(raw)
        raw.mkdir(mode=0o755)
        if wanted.content:
            _fill(raw, wanted.content)
        raw.rename(files)

    def grow(self, volume_id: str, size_mb: int) -> None:
        """Let a volume be at least this large, also while a sandbox uses it.

        Raises:
            RuntimeProblem: that much is not free on the disk.
        """
        with self._changing:
            try:
                if self.path(volume_id).exists():
                    self._grow(volume_id, size_mb)
            except OSError as error:
                raise RuntimeProblem(f"the volume cannot grow: {error}") from error

    def _grow(self, volume_id: str, size_mb: int) -> None:
        image = self.path(volume_id)
        state = image.stat()
        size = size_mb << 20
        if size <= state.st_size:
            return
        size = max(size, btrfs.SMALLEST_GROWN)
        self._require_room(size - state.st_blocks * 512)
        os.truncate(image, size)
        with loops.attached(image) as device:
            loops.take_size(device)
            place = str(self.root / "growing")
            with mounting.mounted_image(str(image), place):
                btrfs.take_size(place)

    def _require_room(self, size: int) -> None:
        free = pool.free_bytes(self.root) - self.promised()
        if size > free:
            raise OSError(
                f"{size >> 20} MB do not fit on the disk, where {max(0, free) >> 20} MB are free"
            )

    def promised(self) -> int:
        """Bytes that volumes may still take of the disk."""
        states = [image.stat() for image in self.root.glob("*.img")]
        return sum(max(0, state.st_size - state.st_blocks * 512) for state in states)

    def remove(self, volume_id: str) -> None:
        """Delete a volume's files; the disk is free once no sandbox uses it any more."""
        for path in (self.path(volume_id), self.plain(volume_id)):
            _remove(path)

    def remove_all(self, prefix: str) -> None:
        """Delete the files of all volumes whose ids begin like this."""
        for path in self.root.glob(f"{prefix}*"):
            _remove(path)


def _fill(place: Path, content: str) -> None:
    with tarfile.open(content) as archive:
        archive.extractall(place, filter="data")


def _remove(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if path.is_dir():
            delete_tree(path)
            path.rmdir()
        else:
            path.unlink()
