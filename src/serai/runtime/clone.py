"""Copying a tree that untrusted code wrote, exactly, and without ever following a link.

Kept are types, modes, owners, times to the nanosecond, extended attributes (with the marks of
overlays), hard links within the tree, holes, and names of any bytes. The tree may be deeper than
a path can be long: every step is relative to an open directory. Data is shared with the original
where the file system can (``FICLONE``), else copied inside the kernel.

Nobody may change the original meanwhile.
"""

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator

import msgspec

FICLONE = 0x40049409
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SOURCE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOATIME
_TARGET = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_NOT_SHARED = {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY}
_SMALL = 64 << 10
_CHUNK = 1 << 20
_BLOCK = 512
_DROPPED = {"trusted.overlay.uuid", "user.overlay.uuid"}
"""Of one overlay only; a copy belongs to another."""


class Copied(msgspec.Struct, kw_only=True):
    """What a copy holds: ``files`` of any type but directories, and the bytes they take on disk."""

    files: int = 0
    size: int = 0


class _Level(msgspec.Struct):
    """A directory on the way down: its names still to do, and what it must look like at the end."""

    source: os.stat_result
    target: os.stat_result
    folders: list[str]


class TreeCloner:
    """Copies trees; one instance remembers hard links and whether data can be shared.

    Args:
        pool: an empty directory of ours on the target's file system, for files with several
            names while copying.
    """

    def __init__(self, pool: int) -> None:
        self.copied = Copied()
        self._pool = pool
        self._links: dict[tuple[int, int], str] = {}
        self._can_share = True

    def clone(self, source: int, target: int) -> None:
        """Copy what is in the directory ``source`` (and its own attributes) into ``target``.

        Args:
            source, target: descriptors of directories; ``target`` is empty.

        Raises:
            OSError: the disk is full, or something else failed; ``target`` is then unfinished.
        """
        source, target = os.dup(source), os.dup(target)
        levels: list[_Level] = []
        try:
            levels.append(self._enter(source, target))
            while levels:
                level = levels[-1]
                if level.folders:
                    name = level.folders.pop()
                    os.mkdir(name, 0o700, dir_fd=target)
                    source = _move(source, name)
                    target = _move(target, name)
                    levels.append(self._enter(source, target))
                    continue
                _dress_folder(source, target, level.source)
                levels.pop()
                if levels:
                    source = _climb(source, levels[-1].source)
                    target = _climb(target, levels[-1].target)
        finally:
            os.close(source)
            os.close(target)

    def _enter(self, source: int, target: int) -> _Level:
        """Copy everything in a directory but the directories, which are told."""
        folders = []
        with os.scandir(source) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                else:
                    found = entry.stat(follow_symlinks=False)
                    self._copy(source, target, entry.name, found)
        return _Level(os.fstat(source), os.fstat(target), folders)

    def _copy(self, source: int, target: int, name: str, found: os.stat_result) -> None:
        self.copied.files += 1
        if found.st_nlink > 1:
            key = (found.st_dev, found.st_ino)
            known = self._links.get(key)
            if known is not None:
                with contextlib.suppress(OSError):
                    os.link(
                        known, name, src_dir_fd=self._pool, dst_dir_fd=target, follow_symlinks=False
                    )
                    return
            self._make(source, target, name, found)
            known = f"{len(self._links)}"
            os.link(name, known, src_dir_fd=target, dst_dir_fd=self._pool, follow_symlinks=False)
            self._links[key] = known
            return
        self._make(source, target, name, found)

    def _make(self, source: int, target: int, name: str, found: os.stat_result) -> None:
        self.copied.size += found.st_blocks * _BLOCK
        if stat.S_ISREG(found.st_mode):
            self._copy_file(source, target, name, found)
        elif stat.S_ISLNK(found.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
            os.chown(name, found.st_uid, found.st_gid, dir_fd=target, follow_symlinks=False)
            _set_times(name, found, target)
        else:
            os.mknod(name, found.st_mode, found.st_rdev, dir_fd=target)
            os.chown(name, found.st_uid, found.st_gid, dir_fd=target, follow_symlinks=False)
            os.chmod(name, stat.S_IMODE(found.st_mode), dir_fd=target)
            _set_times(name, found, target)

    def _copy_file(self, source: int, target: int, name: str, found: os.stat_result) -> None:
        reads = os.open(name, _SOURCE, dir_fd=source)
        try:
            writes = os.open(name, _TARGET, 0o600, dir_fd=target)
            try:
                if found.st_size:
                    self._copy_data(reads, writes, found)
                _dress(reads, writes, found)
            finally:
                os.close(writes)
        finally:
            os.close(reads)

    def _copy_data(self, reads: int, writes: int, found: os.stat_result) -> None:
        if self._can_share:
            try:
                fcntl.ioctl(writes, FICLONE, reads)
            except OSError as error:
                if error.errno not in _NOT_SHARED:
                    raise
                self._can_share = False
            else:
                return
        if found.st_blocks * _BLOCK < found.st_size:
            os.truncate(writes, found.st_size)
            for start, end in _data(reads, found.st_size):
                _copy_range(reads, writes, start, end)
        elif found.st_size <= _SMALL:
            os.write(writes, os.read(reads, found.st_size))
        else:
            _copy_range(reads, writes, 0, found.st_size)


def _data(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """The parts of a file that are no holes."""
    end = 0
    while end < size:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, end


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


def _dress(reads: int, writes: int, found: os.stat_result) -> None:
    """Owner, mode, attributes and times of an open file or directory, in the order that keeps."""
    os.fchown(writes, found.st_uid, found.st_gid)
    for name in os.listxattr(reads):
        if name not in _DROPPED:
            os.setxattr(writes, name, os.getxattr(reads, name))
    os.fchmod(writes, stat.S_IMODE(found.st_mode))
    os.utime(writes, ns=(found.st_atime_ns, found.st_mtime_ns))


_dress_folder = _dress


def _set_times(name: str, found: os.stat_result, folder: int) -> None:
    os.utime(name, ns=(found.st_atime_ns, found.st_mtime_ns), dir_fd=folder, follow_symlinks=False)


def _move(folder: int, name: str) -> int:
    """Open a directory in ``folder``, which is closed."""
    below = os.open(name, _FOLDER, dir_fd=folder)
    os.close(folder)
    return below


def _climb(folder: int, wanted: os.stat_result) -> int:
    above = _move(folder, "..")
    if not os.path.samestat(os.fstat(above), wanted):
        raise OSError(errno.ESTALE, "the tree changed while it was copied")
    return above
