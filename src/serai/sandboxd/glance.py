"""Small files that are in memory already, read at once instead of by a thread.

Handing a read over to a thread and back takes longer than the read itself. Opening only succeeds
here when the kernel need not ask a disk for any part of the path (``RESOLVE_CACHED``, Linux 5.12);
everything else, and every kernel that does not know this, is left to the threads.
"""

import contextlib
import ctypes
import os
import stat
import struct

from serai.sandboxd.files import is_ours

SMALL = 64 * 1024
_OPENAT2 = 437
_AT_FDCWD = -100
_RESOLVE_CACHED = 0x20
_HOW = struct.pack("=QQQ", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, 0, _RESOLVE_CACHED)
_libc = ctypes.CDLL(None, use_errno=True)


def glance(path: str) -> tuple[os.stat_result, bytes] | None:
    """State and content of a small regular file; None when that could take time, or it is none."""
    name = os.fsencode(path)
    size = ctypes.c_size_t(len(_HOW))
    descriptor = _libc.syscall(_OPENAT2, _AT_FDCWD, name, _HOW, size)
    if descriptor < 0:
        return None
    try:
        info = os.fstat(descriptor)
        # What has no size is made while it is read, such as what /proc tells: that may take time.
        if not stat.S_ISREG(info.st_mode) or not 0 < info.st_size <= SMALL or is_ours(descriptor):
            return None
        with contextlib.suppress(OSError):
            content = os.pread(descriptor, SMALL + 1, 0)
            return (info, content) if len(content) <= SMALL else None
        return None
    finally:
        os.close(descriptor)
