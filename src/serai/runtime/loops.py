"""Files as block devices, through the kernel's loop driver and without any program.

A device is set to clear itself: it vanishes with its last user, be that a mount, so nothing
has to be cleaned up after a crash.
"""

import contextlib
import errno
import fcntl
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

_CONTROL = "/dev/loop-control"
_GET_FREE, _CONFIGURE, _GET_STATUS, _SET_CAPACITY = 0x4C82, 0x4C0A, 0x4C05, 0x4C07
_AUTOCLEAR, _DIRECT_IO = 4, 16
_INFO = struct.Struct("=5Q4I64s64s32s2Q")
_ATTEMPTS = 50
_MAJOR = 7


@contextlib.contextmanager
def attached(path: Path | str) -> Iterator[str]:
    """The device of a file, the one it has already or a new one, held for as long as it is needed.

    One file never gets two devices, as two caches of one file system would ruin it.

    Raises:
        OSError: no device could be had.
    """
    backing = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        device, name = _existing(backing) or _new(backing)
    finally:
        os.close(backing)
    try:
        yield name
    finally:
        os.close(device)


def device_of(path: Path) -> str | None:
    """The device that a file is behind now."""
    backing = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        found = _existing(backing)
    finally:
        os.close(backing)
    if found is None:
        return None
    os.close(found[0])
    return found[1]


def take_size(name: str) -> None:
    """Let a device be as long as its file is now."""
    device = os.open(name, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(device, _SET_CAPACITY)
    finally:
        os.close(device)


def _existing(backing: int) -> tuple[int, str] | None:
    wanted = os.fstat(backing)
    for entry in Path("/sys/block").glob("loop*/loop"):
        name = f"/dev/{entry.parent.name}"
        try:
            device = os.open(name, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue
        # Only what is true of a device that we hold stays true.
        if _file_of(device) == (wanted.st_dev, wanted.st_ino):
            return device, name
        os.close(device)
    return None


def _file_of(device: int) -> tuple[int, int] | None:
    status = bytearray(_INFO.size)
    try:
        fcntl.ioctl(device, _GET_STATUS, status)
    except OSError:
        return None
    fields = _INFO.unpack(status)
    return fields[0], fields[1]


def _new(backing: int) -> tuple[int, str]:
    control = os.open(_CONTROL, os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(_ATTEMPTS):
            number = fcntl.ioctl(control, _GET_FREE)
            name = _node(number)
            device = os.open(name, os.O_RDWR | os.O_CLOEXEC)
            try:
                _configure(device, backing)
            except OSError as error:
                os.close(device)
                if error.errno != errno.EBUSY:
                    raise
            else:
                return device, name
    finally:
        os.close(control)
    raise OSError(errno.EBUSY, "other programs took every free loop device")


def _node(number: int) -> str:
    name = f"/dev/loop{number}"
    if not os.path.exists(name):  # no devtmpfs, as in some containers
        with contextlib.suppress(FileExistsError):
            os.mknod(name, stat.S_IFBLK | 0o600, os.makedev(_MAJOR, number))
    return name


def _configure(device: int, backing: int) -> None:
    """Direct I/O keeps the host from caching everything twice, where its file system can."""
    for flags in (_AUTOCLEAR | _DIRECT_IO, _AUTOCLEAR):
        info = _INFO.pack(0, 0, 0, 0, 0, 0, 0, 0, flags, b"serai", b"", b"", 0, 0)
        request = struct.pack("=II", backing, 0) + info + bytes(64)
        try:
            fcntl.ioctl(device, _CONFIGURE, request)
        except OSError as error:
            if error.errno != errno.EINVAL or not flags & _DIRECT_IO:
                raise
        else:
            return
