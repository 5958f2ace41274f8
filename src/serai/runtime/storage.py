"""What lies on disk for a sandbox, and removing it although untrusted code wrote it."""

import contextlib
import hashlib
import os
import stat
from pathlib import Path

from serai.runtime.pool import Pool
from serai.runtime.port import RuntimeProblem
from serai.runtime.trees import delete_tree, remove_tree

_SOCKET_PATH_LIMIT = 100
_LONGEST_NAME = "x" * 32 + ".port"


class Storage:
    """The directories of one data directory; new sandboxes go to the pool, where there is one."""

    def __init__(self, data_dir: Path, pool: Pool | None = None) -> None:
        self.root = data_dir.absolute()
        self.pool = pool or Pool(self.root, own_mounts=False)
        self.key = hashlib.sha256(str(self.root).encode()).hexdigest()[:10]
        self.sandboxes = self.root / "sandboxes"
        self.layers = self.root / "layers"
        self._saved = self.root / "saved"
        self._packed = self.root / "archived"
        self._trash = self.root / "trash"
        self._sockets = self.root / "run"

    def prepare(self) -> None:
        """Make the directories and finish removals that were cut short."""
        for folder in (self.sandboxes, self.layers, self._saved, self._packed, self._trash):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.layers.chmod(0o755)
        self._sockets = self._socket_directory()
        self.pool.open()
        if self.pool.is_open:
            (self.pool.top / "saved").mkdir(exist_ok=True, mode=0o700)
        for place in self._places("memory", "saved-memory"):
            place.mkdir(exist_ok=True, mode=0o700)
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

    def leave(self) -> None:
        """Leave nothing outside of the data directory, unless sandboxes go on that need it."""
        if self._sockets.parent != self.root:
            with contextlib.suppress(OSError):
                self._sockets.rmdir()

    def directory(self, sandbox_id: str) -> Path:
        """The directory of one sandbox; those from before there was a pool stay where they are."""
        plain = self.sandboxes / sandbox_id
        if not self.pool.is_open or plain.exists():
            return plain
        return self.pool.top / "sandboxes" / sandbox_id

    def allot(self, sandbox_id: str, size_mb: int | None) -> None:
        """Make sure of a sandbox's directory, and of its limit where one can be set."""
        directory = self.directory(sandbox_id)
        if directory.parent != self.sandboxes:
            self.pool.allot(directory, size_mb)

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
        places = [self.sandboxes]
        if self.pool.is_open:
            places.append(self.pool.top / "sandboxes")
        return {path.name for place in places for path in place.iterdir()}

    def saved_files(self, saved_id: str) -> Path:
        """The directory of a set of saved files; see ``directory``."""
        plain = self._saved / saved_id
        if not self.pool.is_open or plain.exists():
            return plain
        return self.pool.top / "saved" / saved_id

    def _places(self, *names: str) -> list[Path]:
        """Directories of these names: those from before there was a pool, and in it."""
        tops = [self.root, *([self.pool.top] if self.pool.is_open else [])]
        return [top / name for top in tops for name in names]

    def memory(self, sandbox_id: str) -> Path:
        """The checkpoint that a sandbox which was never started begins with."""
        return self._first("memory", sandbox_id)

    def saved_memory(self, saved_id: str) -> Path:
        """The checkpoint that belongs to a set of saved files; see ``directory``."""
        return self._first("saved-memory", saved_id)

    def _first(self, name: str, key: str) -> Path:
        """Where it is, or is to be made."""
        places = [place / key for place in self._places(name)]
        return next((path for path in places if path.exists()), places[-1])

    def known_saved(self) -> list[str]:
        """Ids of sets of saved files, also of those that were never completed."""
        places = self._places("saved", "saved-memory")
        paths = [path for place in places for path in place.iterdir()]
        return sorted({path.name.removesuffix(".new") for path in paths})

    def remove(self, sandbox_id: str) -> None:
        """Remove a sandbox's files; a crash half-way is finished by the next ``prepare``."""
        self.trash(self.directory(sandbox_id))
        self.forget_memory(sandbox_id)

    def forget_memory(self, sandbox_id: str) -> None:
        """Remove the checkpoint that a sandbox began with, or was to."""
        memory = self.memory(sandbox_id)
        for path in (memory.with_name(f"{sandbox_id}.new"), memory):
            if path.exists():
                self.trash(path)

    def trash(self, path: Path) -> None:
        """Remove a directory of ours, at once out of its place; see ``remove``."""
        self.burn(self.put_away(path))

    def put_away(self, path: Path) -> Path | None:
        """Take a directory out of its place, into a bag that is still to be burnt, if any."""
        if self.pool.is_open and path.is_relative_to(self.pool.top):
            self.pool.remove(path)
            return None
        bag = self._trash / os.urandom(8).hex()
        bag.mkdir(mode=0o700)
        with contextlib.suppress(FileNotFoundError):
            path.rename(bag / path.name)
        return bag

    def burn(self, bag: Path | None) -> None:
        """Remove a bag and all that is in it."""
        if bag is not None:
            delete_tree(bag)
            bag.rmdir()

    def packed(self, sandbox_id: str) -> Path:
        """The archive of a sandbox's files."""
        return self._packed / sandbox_id

    def known_packed(self) -> list[str]:
        """Ids of sandboxes that have an archive, or a part of one."""
        return sorted({path.name.removesuffix(".new") for path in self._packed.iterdir()})

    def drop_packed(self, sandbox_id: str) -> None:
        """Remove the archive of a sandbox, if there is one."""
        for name in (f"{sandbox_id}.new", sandbox_id):
            self.packed(name).unlink(missing_ok=True)

    def empty_trash(self) -> None:
        """Delete everything that was moved to the trash by a process that died then."""
        if self.pool.is_open:
            self.pool.empty_trash()
        for bag in self._trash.iterdir():
            self.burn(bag)


def run_directory(api_socket: str) -> Path:
    """Where a sandbox may make sockets itself: beside ours, on the same file system."""
    return Path(api_socket).with_suffix(".run")
