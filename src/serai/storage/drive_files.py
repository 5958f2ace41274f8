"""The files of drives: one directory per drive, written by workloads that nobody trusts.

Every step below a drive's directory is taken without following symbolic links, so that a link
that a workload planted leads nowhere.
"""

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from serai.kernel.errors import BadRequest

PATH_MAX = 4096
NO_FOLDER = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})
FOLLOW_NOTHING = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def split_path(path: str, field: str) -> list[str]:
    """The folders of an absolute path in a drive.

    Raises:
        BadRequest: it is too long, or climbs.
    """
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if len(path) > PATH_MAX or "\0" in path or ".." in parts:
        raise BadRequest(
            f"{field} {path[:80]!r} is not a path in the drive: use at most {PATH_MAX} characters "
            "and no '..'."
        )
    return parts


class DriveFiles:
    """The directories of all drives, by the drive's id; made and removed as the host can."""

    def __init__(
        self,
        root: Path,
        make: Callable[[Path], None] = Path.mkdir,
        remove: Callable[[Path], None] = shutil.rmtree,
    ) -> None:
        self._root = root
        self._make = make
        self._remove = remove
        self._trash = root / ".trash"

    def prepare(self, wanted: set[str]) -> None:
        """Make the directory, and remove what a crash left: drives that no document names."""
        self._trash.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in self._root.iterdir():
            if left != self._trash and left.name not in wanted:
                self.retire(left.name)
        self.empty_trash()

    def path(self, drive_id: str) -> Path:
        """The directory of a drive, made on first use."""
        path = self._root / drive_id
        if not path.exists():
            self._make(path)
        return path

    def retire(self, drive_id: str) -> None:
        """Take a drive away at once; ``empty_trash`` removes its files."""
        with suppress(FileNotFoundError):
            (self._root / drive_id).rename(self._trash / f"{drive_id}.{secrets.token_hex(4)}")

    def empty_trash(self) -> None:
        """Remove the files of drives that were taken away."""
        for gone in self._trash.iterdir():
            self._remove(gone)

    def size(self, drive_id: str) -> int:
        """Bytes that the files of a drive take on disk; what vanishes meanwhile counts nothing."""
        total, places = 0, [self.path(drive_id)]
        while places:
            with suppress(OSError), os.scandir(places.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        places.append(Path(entry.path))
                    else:
                        with suppress(FileNotFoundError):
                            total += entry.stat(follow_symlinks=False).st_blocks * 512
        return total

    def folders(self, drive_id: str, path: str) -> list[str]:
        """The names of the folders in a folder, sorted; none when it does not exist."""
        parts = split_path(path, "path")
        with self._opened(drive_id, parts) as folder:
            if folder is None:
                return []
            with os.scandir(folder) as entries:
                return sorted(
                    entry.name
                    for entry in entries
                    if entry.is_dir(follow_symlinks=False) and _is_text(entry.name)
                )

    def remove_folder(self, drive_id: str, path: str) -> None:
        """Delete a folder and what is in it; one that does not exist is deleted already.

        Raises:
            BadRequest: the path is the drive itself, or no folder.
        """
        parts = split_path(path, "path")
        if not parts:
            raise BadRequest(
                "path is the drive itself, which cannot be emptied this way; delete the drive."
            )
        with self._opened(drive_id, parts[:-1]) as parent:
            if parent is None:
                return
            try:
                mode = os.stat(parts[-1], dir_fd=parent, follow_symlinks=False).st_mode
            except OSError as problem:
                if problem.errno in NO_FOLDER:
                    return
                raise
            if not stat.S_ISDIR(mode):
                raise BadRequest(f"path {path[:80]!r} is not a folder.")
            # rmtree opens what it descends into without following links, too.
            shutil.rmtree(parts[-1], dir_fd=parent)

    @contextmanager
    def _opened(self, drive_id: str, parts: list[str]) -> Iterator[int | None]:
        """The directory at a path; None when it, or a part of it, is no directory."""
        descriptor = self._open(drive_id, parts)
        try:
            yield descriptor
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def _open(self, drive_id: str, parts: list[str]) -> int | None:
        descriptor = os.open(self.path(drive_id), FOLLOW_NOTHING)
        for part in parts:
            try:
                below = os.open(part, FOLLOW_NOTHING, dir_fd=descriptor)
            except OSError as problem:
                if problem.errno in NO_FOLDER:
                    return None
                raise
            finally:
                os.close(descriptor)
            descriptor = below
        return descriptor


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
