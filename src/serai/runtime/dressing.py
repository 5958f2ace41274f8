"""Making files look like others: types, links, owners, modes, attributes and times."""

import contextlib
import itertools
import os
import stat
from collections.abc import Callable, Mapping

TARGET = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_DROPPED = frozenset({"trusted.overlay.uuid", "user.overlay.uuid"})
"""Of one overlay only; a copy belongs to another."""


class Look(tuple[int, int, int, int, int]):
    """Mode with type, owner, group, time of access and of change in nanoseconds."""

    __slots__ = ()

    @classmethod
    def of(cls, found: os.stat_result) -> "Look":
        """The look of a file."""
        times = found.st_atime_ns, found.st_mtime_ns
        return cls((found.st_mode, found.st_uid, found.st_gid, *times))


def attributes(descriptor: int) -> dict[str, bytes]:
    """The extended attributes of an open file or directory that a copy shall have."""
    names = os.listxattr(descriptor)
    return {name: os.getxattr(descriptor, name) for name in names if name not in _DROPPED}


def dress(descriptor: int, look: Look, noted: Mapping[str, bytes]) -> None:
    """Owner, attributes, mode and times, in the order in which none undoes another."""
    mode, user, group, *times = look
    os.fchown(descriptor, user, group)
    for name, value in noted.items():
        os.setxattr(descriptor, name, value)
    os.fchmod(descriptor, stat.S_IMODE(mode))
    os.utime(descriptor, ns=(times[0], times[1]))


def make_symlink(folder: int, name: str, look: Look, target: str) -> None:
    """A symbolic link."""
    os.symlink(target, name, dir_fd=folder)
    _dress_name(folder, name, look)


def make_special(folder: int, name: str, look: Look, device: int) -> None:
    """A pipe, a socket, or a device: ``0`` is what overlays say "deleted" with."""
    os.mknod(name, look[0], device, dir_fd=folder)
    _dress_name(folder, name, look)


def _dress_name(folder: int, name: str, look: Look) -> None:
    mode, user, group, *times = look
    os.chown(name, user, group, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISLNK(mode):
        os.chmod(name, stat.S_IMODE(mode), dir_fd=folder)
    os.utime(name, ns=(times[0], times[1]), dir_fd=folder, follow_symlinks=False)


class LinkPool:
    """Files with several names: the first of each is kept in a directory of ours meanwhile.

    Args:
        folder: descriptor of an empty directory on the same file system.
    """

    def __init__(self, folder: int) -> None:
        self._folder = folder
        self._known: dict[object, str] = {}
        self._numbers = itertools.count()

    def place(self, key: object, folder: int, name: str, make: Callable[[], None]) -> None:
        """Make the file of that key, or give it another name if it is there already."""
        if key in self._known:
            with contextlib.suppress(OSError):  # too many names
                self.again(key, folder, name)
                return
        make()
        self.keep(key, folder, name)

    def again(self, key: object, folder: int, name: str) -> None:
        """Give the file of that key, which is kept, another name."""
        _link(self._folder, self._known[key], folder, name)

    def keep(self, key: object, folder: int, name: str) -> None:
        """Remember a file just made by a key."""
        known = str(next(self._numbers))
        _link(folder, name, self._folder, known)
        self._known[key] = known


def _link(folder: int, name: str, other: int, other_name: str) -> None:
    os.link(name, other_name, src_dir_fd=folder, dst_dir_fd=other, follow_symlinks=False)
