"""Copying a tree that untrusted code wrote, exactly, and without ever following a link.

Kept are types, modes, owners, times to the nanosecond, extended attributes (with the marks of
overlays), hard links within the tree, holes, and names of any bytes. The tree may be deeper than
a path can be long. Data is shared with the original where the file system can (``FICLONE``), else
copied inside the kernel.

Nobody may change the original meanwhile.
"""

import errno
import fcntl
import os
import stat

import msgspec

from serai.runtime.dressing import (
    TARGET,
    LinkPool,
    Look,
    attributes,
    dress,
    make_special,
    make_symlink,
)
from serai.runtime.walk import SOURCE, Step, data_ranges, move, walk

FICLONE = 0x40049409
_NOT_SHARED = {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS}
_SMALL = 64 << 10
_CHUNK = 1 << 20
_BLOCK = 512


class Copied(msgspec.Struct, kw_only=True):
    """What a copy holds: ``files`` of any type but directories, and the bytes they take on disk."""

    files: int = 0
    size: int = 0


class TreeCloner:
    """Copies trees; one instance remembers hard links and whether data can be shared.

    Args:
        pool: descriptor of an empty directory on the target's file system.
    """

    def __init__(self, pool: int) -> None:
        self.copied = Copied()
        self._links = LinkPool(pool)
        self._can_share = True

    def clone(self, source: int, target: int) -> None:
        """Copy what is in the directory ``source`` (and its own attributes) into ``target``.

        Args:
            source: descriptor of a directory.
            target: descriptor of an empty one.

        Raises:
            OSError: the disk is full, or something else failed; ``target`` is then unfinished.
        """
        target = os.dup(target)
        try:
            for step in walk(source):
                if step.what == "entry":
                    self._copy(step, target)
                elif step.what == "enter":
                    os.mkdir(step.name, 0o700, dir_fd=target)
                    target = move(target, step.name)
                else:
                    dress(target, Look.of(step.found), attributes(step.folder))
                    target = move(target, "..")
        finally:
            os.close(target)

    def _copy(self, step: Step, target: int) -> None:
        self.copied.files += 1
        if step.found.st_nlink == 1:
            self._make(step, target)
            return
        key = step.found.st_dev, step.found.st_ino
        self._links.place(key, target, step.name, lambda: self._make(step, target))

    def _make(self, step: Step, target: int) -> None:
        found, look = step.found, Look.of(step.found)
        self.copied.size += found.st_blocks * _BLOCK
        if stat.S_ISREG(found.st_mode):
            self._copy_file(step, target, look)
        elif stat.S_ISLNK(found.st_mode):
            make_symlink(target, step.name, look, os.readlink(step.name, dir_fd=step.folder))
        else:
            make_special(target, step.name, look, found.st_rdev)

    def _copy_file(self, step: Step, target: int, look: Look) -> None:
        reads = os.open(step.name, SOURCE, dir_fd=step.folder)
        try:
            writes = os.open(step.name, TARGET, 0o600, dir_fd=target)
            try:
                if step.found.st_size and not self._share(reads, writes):
                    _copy_data(reads, writes, step.found)
                dress(writes, look, attributes(reads))
            finally:
                os.close(writes)
        finally:
            os.close(reads)

    def _share(self, reads: int, writes: int) -> bool:
        if self._can_share:
            try:
                fcntl.ioctl(writes, FICLONE, reads)
            except OSError as error:
                if error.errno not in _NOT_SHARED:
                    raise
                self._can_share = False
        return self._can_share


def _copy_data(reads: int, writes: int, found: os.stat_result) -> None:
    if found.st_size <= _SMALL and found.st_blocks * _BLOCK >= found.st_size:
        done = os.write(writes, os.read(reads, found.st_size))
        _copy_range(reads, writes, done, found.st_size)
        return
    os.truncate(writes, found.st_size)
    for start, end in data_ranges(reads, found):
        _copy_range(reads, writes, start, end)


def _copy_range(reads: int, writes: int, start: int, end: int) -> None:
    while start < end:
        try:
            count = os.copy_file_range(reads, writes, end - start, start, start)
        except OSError as error:
            if error.errno not in _NOT_SHARED:
                raise
            count = os.pwrite(writes, os.pread(reads, min(end - start, _CHUNK), start), start)
        if count == 0:
            return
        start += count
