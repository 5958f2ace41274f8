"""The few requests to Btrfs that sandboxes need, by ioctl: a program would cost milliseconds.

Numbers and layouts are those of ``linux/btrfs.h``; all paths are directories of one mount.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path

_SUBVOLUME_CREATE, _SUBVOLUME_DESTROY, _RESIZE = 0x5000940E, 0x5000940F, 0x50009403
_INODE_LOOKUP = 0xD0009412
_SNAPSHOT_CREATE, _INHERIT = 0x50009417, 1 << 2
_QUOTA_CONTROL, _QGROUP_ASSIGN = 0xC0109428, 0x40189429
_QGROUP_CREATE, _QGROUP_LIMIT = 0x4010942A, 0x8030942B
_ENABLE, _ENABLE_SIMPLE = 1, 4
_MAX_REFERENCED = 1
_TOP_INODE = 256
_UNLIMITED = (1 << 64) - 1
SMALLEST_GROWN = 256 << 20
"""The kernel makes no file system larger that is smaller than this afterwards."""
EVERYTHING = 1 << 48
"""The group above all subvolumes, ``1/0``."""


def make_subvolume(path: Path) -> None:
    """A new, empty subvolume.

    Raises:
        FileExistsError: there is something of that name.
    """
    with _opened(path.parent) as parent:
        fcntl.ioctl(parent, _SUBVOLUME_CREATE, _named(path.name))


def snapshot(source: Path, target: Path) -> bool:
    """Make a subvolume with everything that is in another, sharing its data; False when it is none.

    It is counted in the group above all.

    Raises:
        OSError: the limit of that group is reached, or ``target`` is there.
    """
    inherited = ctypes.create_string_buffer(
        struct.pack("=10Q", 0, 1, 0, 0, 0, 0, 0, 0, 0, EVERYTHING)
    )
    with _opened(source) as origin, _opened(target.parent) as parent:
        if os.fstat(origin).st_ino != _TOP_INODE:
            return False
        head = struct.pack(
            "=qQQQQ", origin, 0, _INHERIT, len(inherited) - 1, ctypes.addressof(inherited)
        )
        request = bytearray(head.ljust(56, b"\0") + os.fsencode(target.name).ljust(4040, b"\0"))
        try:
            fcntl.ioctl(parent, _SNAPSHOT_CREATE, request)
        except OSError as error:
            if error.errno in {errno.EXDEV, errno.ENOTTY, errno.EINVAL}:
                return False
            raise
    return True


def remove_subvolume(path: Path) -> bool:
    """Remove a subvolume whatever is in it; False when it is none, or has others in it."""
    try:
        with _opened(path.parent) as parent:
            fcntl.ioctl(parent, _SUBVOLUME_DESTROY, _named(path.name))
    except OSError as error:
        if error.errno in {errno.EINVAL, errno.ENOTEMPTY, errno.ENOTTY}:
            return False
        raise
    return True


def is_subvolume(path: Path) -> bool:
    """Whether a directory is the top of a subvolume."""
    return path.stat().st_ino == _TOP_INODE


def count_use(path: Path) -> None:
    """Begin to count what each subvolume holds: simply where the kernel (6.7) can, else by owner.

    Raises:
        OSError: the file system cannot.
    """
    with _opened(path) as top:
        try:
            fcntl.ioctl(top, _QUOTA_CONTROL, struct.pack("=QQ", _ENABLE_SIMPLE, 0))
        except OSError as error:
            if error.errno not in {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTTY}:
                raise
            fcntl.ioctl(top, _QUOTA_CONTROL, struct.pack("=QQ", _ENABLE, 0))
        with contextlib.suppress(FileExistsError):
            fcntl.ioctl(top, _QGROUP_CREATE, struct.pack("=QQ", 1, EVERYTHING))


def limit(path: Path, size: int | None, group: int | None = None) -> None:
    """Let a subvolume (or a group) hold ``size`` bytes; None for any number."""
    with _opened(path) as top:
        number = _number(top) if group is None else group
        wanted = _UNLIMITED if size is None else size
        request = struct.pack("=QQQQQQ", number, _MAX_REFERENCED, wanted, 0, 0, 0)
        fcntl.ioctl(top, _QGROUP_LIMIT, request)


def join_everything(path: Path) -> None:
    """Count a subvolume in the group above all, if it is not counted there yet."""
    with _opened(path) as top:
        request = struct.pack("=QQQ", 1, _number(top), EVERYTHING)
    with _opened(path.parent) as parent, contextlib.suppress(FileExistsError):
        fcntl.ioctl(parent, _QGROUP_ASSIGN, request)  # of a full subvolume it would be refused


def take_size(path: Path | str) -> None:
    """Let a mounted file system fill its device."""
    with _opened(path) as top:
        fcntl.ioctl(top, _RESIZE, _named("max"))


def _number(top: int) -> int:
    found = bytearray(struct.pack("=QQ", 0, _TOP_INODE).ljust(4096, b"\0"))
    fcntl.ioctl(top, _INODE_LOOKUP, found)
    (number,) = struct.unpack_from("=Q", found)
    return int(number)


def _named(name: str) -> bytearray:
    """``btrfs_ioctl_vol_args``; Python passes on so much only from a buffer it may change."""
    return bytearray(struct.pack("=q", 0) + os.fsencode(name).ljust(4088, b"\0"))


@contextlib.contextmanager
def _opened(path: Path | str) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
