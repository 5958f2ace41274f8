"""What lies on disk for a sandbox, and removing it although untrusted code wrote it."""

import contextlib
import hashlib
import os
import stat
from pathlib import Path

from serai.runtime.port import RuntimeProblem

_SOCKET_PATH_LIMIT = 100
_LONGEST_NAME = "x" * 32 + ".port"


class Storage:
    """The directories of one data directory."""

    def __init__(self, data_dir: Path) -> None:
        self.root = data_dir.absolute()
        self.key = hashlib.sha256(str(self.root).encode()).hexdigest()[:10]
        self.sandboxes = self.root / "sandboxes"
        self.layers = self.root / "layers"
        self._trash = self.root / "trash"
        self._sockets = self.root / "run"

    def prepare(self) -> None:
        """Make the directories and finish removals that were cut short."""
        for folder in (self.sandboxes, self.layers, self._trash):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.layers.chmod(0o755)
        self._sockets = self._socket_directory()
        self.empty_trash()

    def _socket_directory(self) -> Path:
        """Where sockets live: paths of Unix sockets hold 107 bytes, data directories more."""
        inside = self.root / "run"
        if len(os.fsencode(inside / _LONGEST_NAME)) <= _SOCKET_PATH_LIMIT:
            inside.mkdir(exist_ok=True, mode=0o700)
            return inside
        base = Path("/run") if os.access("/run", os.W_OK) else Path("/tmp")  # noqa: S108
        folder = base / f"serai-{os.geteuid()}-{self.key}"
        folder.mkdir(exist_ok=True, mode=0o700)
        found = folder.lstat()
        ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
        if not ours or found.st_mode & 0o077:
            raise RuntimeProblem(
                f"{folder} must be a directory of ours with mode 0700; remove it, or choose a "
                f"data directory whose path is shorter than {_SOCKET_PATH_LIMIT - 40} bytes"
            )
        return folder

    def directory(self, sandbox_id: str) -> Path:
        """The directory of one sandbox."""
        return self.sandboxes / sandbox_id

    def sockets(self, sandbox_id: str) -> tuple[str, str]:
        """Paths of a sandbox's API socket and port socket."""
        return (
            str(self._sockets / f"{sandbox_id}.api"),
            str(self._sockets / f"{sandbox_id}.port"),
        )

    def remove_sockets(self, sandbox_id: str) -> None:
        """Remove a sandbox's socket files and the directory it made some in, if there."""
        for path in self.sockets(sandbox_id):
            Path(path).unlink(missing_ok=True)
        remove_tree(run_directory(self.sockets(sandbox_id)[0]))

    def known_sockets(self) -> set[str]:
        """Ids that have a socket file."""
        return {path.stem for path in self._sockets.iterdir()}

    def has(self, sandbox_id: str) -> bool:
        """Whether a sandbox of this id has a directory."""
        return self.directory(sandbox_id).exists()

    def known(self) -> set[str]:
        """Ids that have a directory."""
        return {path.name for path in self.sandboxes.iterdir()}

    def remove(self, sandbox_id: str) -> None:
        """Remove a sandbox's files; a crash half-way is finished by the next ``prepare``."""
        bag = self._trash / os.urandom(8).hex()
        bag.mkdir(mode=0o700)
        with contextlib.suppress(FileNotFoundError):
            self.directory(sandbox_id).rename(bag / sandbox_id)
        delete_tree(bag)
        bag.rmdir()

    def empty_trash(self) -> None:
        """Delete everything that was moved to the trash by a process that died then."""
        for bag in self._trash.iterdir():
            delete_tree(bag)
            bag.rmdir()


def run_directory(api_socket: str) -> Path:
    """Where a sandbox may make sockets itself: beside ours, on the same file system."""
    return Path(api_socket).with_suffix(".run")


def remove_tree(folder: Path) -> None:
    """Delete a directory with all below it, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        delete_tree(folder)
        folder.rmdir()


def delete_tree(top: Path) -> None:
    """Delete everything below ``top``, however deep, odd or unreadable it is.

    Directories found inside are first moved up to ``top``, so that neither the depth of the
    tree nor the length of its paths matters. Links are never followed.
    """
    descriptor = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        while pending := os.listdir(descriptor):
            for name in pending:
                _delete_entry(descriptor, name)
    finally:
        os.close(descriptor)


def _delete_entry(top: int, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISDIR(os.stat(name, dir_fd=top, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=top)
            return
        os.chmod(name, 0o700, dir_fd=top)
        folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
        try:
            _flatten(top, folder)
        finally:
            os.close(folder)
        os.rmdir(name, dir_fd=top)


def _flatten(top: int, folder: int) -> None:
    with os.scandir(folder) as entries:
        for entry in list(entries):
            if entry.is_dir(follow_symlinks=False):
                os.chmod(entry.name, 0o700, dir_fd=folder)
                target = f"moved-{os.urandom(12).hex()}"
                os.rename(entry.name, target, src_dir_fd=folder, dst_dir_fd=top)
            else:
                os.unlink(entry.name, dir_fd=folder)
