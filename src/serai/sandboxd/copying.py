"""What is in one file, into another: by the kernel where it can, and holes as holes."""

import errno
import os

_PIECE = 8 * 1024 * 1024
_NOT_BY_KERNEL = (
    errno.EXDEV,
    errno.EINVAL,
    errno.ENOSYS,
    errno.EOPNOTSUPP,
    errno.EPERM,
    errno.EBADF,
)


def copy_content(source: int, target: int) -> None:
    """Copy a whole file to the current end of ``target``, which is empty or is appended to.

    A hole costs nothing, whatever its size: a file of terabytes may hold no block at all.

    Raises:
        OSError: the system refuses.
    """
    size, begin = os.fstat(source).st_size, os.lseek(target, 0, os.SEEK_CUR)
    at = 0
    while at < size:
        start = _next_data(source, at, size)
        at = start if start >= size else _next_hole(source, start, size)
        os.lseek(target, begin + start, os.SEEK_SET)
        if start < size:
            _copy_range(source, target, start, at)
    if not size:  # files of /proc do not know their size
        _append(source, target)
    elif os.fstat(target).st_size < begin + size:
        os.ftruncate(target, begin + size)
    os.lseek(target, 0, os.SEEK_END)


def _next_data(source: int, at: int, size: int) -> int:
    try:
        return os.lseek(source, at, os.SEEK_DATA)
    except OSError as error:
        return size if error.errno == errno.ENXIO else at


def _next_hole(source: int, at: int, size: int) -> int:
    try:
        return os.lseek(source, at, os.SEEK_HOLE)
    except OSError:
        return size


def _copy_range(source: int, target: int, start: int, end: int) -> None:
    os.lseek(source, start, os.SEEK_SET)
    left = end - start
    while left > 0:
        try:
            done = os.copy_file_range(source, target, min(left, _PIECE))
        except OSError as error:
            if error.errno not in _NOT_BY_KERNEL:
                raise
            done = _write_all(target, os.read(source, min(left, _PIECE)))
        if not done:  # it became shorter meanwhile
            return
        left -= done


def _append(source: int, target: int) -> None:
    os.lseek(source, 0, os.SEEK_SET)
    while _write_all(target, os.read(source, _PIECE)):
        pass


def _write_all(target: int, data: bytes) -> int:
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]
    return len(data)
