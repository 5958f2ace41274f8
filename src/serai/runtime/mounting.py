"""Putting volumes and drives into a sandbox, whose own code chooses what is at their places.

Every path below is walked one name at a time without following links, and the mount goes on
the directory that was reached, not on its name. So a link, or a directory that is exchanged
meanwhile, leads nowhere but to another directory of the same sandbox.
"""

import contextlib
import errno
import os
from collections.abc import Iterator

from serai.runtime import btrfs, linux, loops
from serai.runtime.messages import Placed

RESERVED = frozenset({"proc", "sys", "dev", ".serai"})
"""Top directories that the kernel's own files are in, or ours."""
IMAGE_OPTIONS = "nodatacow,discard=async"
IMAGE_FLAGS = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOATIME
_PLACE = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_DIRECTORY = {errno.ENOTDIR, errno.ELOOP}


def names_of(path: str) -> list[str]:
    """The names on an absolute path at which something may be mounted.

    Raises:
        OSError: it may not.
    """
    names = [name for name in path.split("/") if name not in {"", "."}]
    if not path.startswith("/") or ".." in names or "\0" in path:
        raise OSError(f"{path[:80]!r} is not an absolute path without '..'")
    if not names or names[0] in RESERVED:
        raise OSError(f"nothing can be mounted at {path[:80]!r}")
    return names


def walk(top: int, names: list[str], owner: int | None) -> int:
    """Open the directory that ``names`` lead to from ``top``; close it when done.

    Args:
        owner: user and group of directories that have to be made; None to make none.

    Raises:
        OSError: a name is a link or a file, or there is nothing.
    """
    place = os.dup(top)
    for number, name in enumerate(names):
        try:
            below = _step(place, name, owner)
        except OSError as error:
            if error.errno in _NO_DIRECTORY:
                far = "/".join(names[: number + 1])
                raise OSError(f"/{far} is a link or no directory") from error
            raise
        finally:
            os.close(place)
        place = below
    return place


def _step(place: int, name: str, owner: int | None) -> int:
    try:
        return os.open(name, _PLACE, dir_fd=place)
    except FileNotFoundError:
        if owner is None:
            raise
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o755, dir_fd=place)
        os.chown(name, owner, owner, dir_fd=place, follow_symlinks=False)
    return os.open(name, _PLACE, dir_fd=place)


def take(wanted: Placed, map_fd: int | None) -> int:
    """A detached mount of a directory of the host, owned inside by who owns it on disk.

    Raises:
        OSError: it is not there, or owners cannot be mapped.
    """
    top = os.open(wanted.source, _PLACE)
    try:
        names = [name for name in wanted.folder.split("/") if name not in {"", "."}]
        if ".." in names:
            raise OSError(f"{wanted.folder[:80]!r} climbs out of the drive")
        found = walk(top, names, None if wanted.read_only else 0)
        try:
            mount_fd = linux.clone_mount_of(found)
        finally:
            os.close(found)
    finally:
        os.close(top)
    _restrict(mount_fd, wanted, map_fd)
    return mount_fd


def _restrict(mount_fd: int, wanted: Placed, map_fd: int | None) -> None:
    if map_fd is None:
        raise OSError("this kernel cannot map the owners of a mount (Linux 5.15 can)")
    attributes = linux.MOUNT_ATTR_NOSUID | linux.MOUNT_ATTR_NODEV
    if wanted.read_only:
        attributes |= linux.MOUNT_ATTR_RDONLY
    linux.change_mount(mount_fd, attributes, map_fd)


def put_all(mounts: tuple[Placed, ...], root: str, map_fd: int | None, owner: int | None) -> None:
    """Mount all that a sandbox starts with below ``root``, the outer ones first."""
    for wanted in sorted(mounts, key=lambda each: len(names_of(each.path))):
        try:
            _put(wanted, root, map_fd, owner)
        except OSError as error:
            raise OSError(f"{wanted.path}: {error}") from error


def _put(wanted: Placed, root: str, map_fd: int | None, owner: int | None) -> None:
    top = os.open(root, _PLACE)
    try:
        place = walk(top, names_of(wanted.path), owner or 0)
    finally:
        os.close(top)
    try:
        if not wanted.is_image:
            mount_fd = take(wanted, map_fd)
        else:
            with mounted_image(wanted.source, "volume"):
                if os.stat(wanted.source).st_size >= btrfs.SMALLEST_GROWN:
                    btrfs.take_size("volume")  # a crash may have kept it from growing
                mount_fd = linux.clone_mount("volume")
            _restrict(mount_fd, wanted, map_fd)
        linux.attach_mount_to(mount_fd, place)
        os.close(mount_fd)
    finally:
        os.close(place)


@contextlib.contextmanager
def mounted_image(image: str, place: str) -> Iterator[None]:
    """Have a file system image mounted at the directory ``place`` for a while."""
    os.makedirs(place, exist_ok=True)
    with loops.attached(image) as device:
        linux.mount(device, place, "btrfs", IMAGE_FLAGS, IMAGE_OPTIONS)
    try:
        yield
    finally:
        linux.unmount(place)
