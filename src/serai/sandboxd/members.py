"""Members of a tar archive, of files that nobody looked after: exact sizes first, then the bytes.

Headers are those of the standard library's ``tarfile``, with PAX records for what the old format
has no room for: names of any bytes, long ones, nanoseconds, extended attributes, and holes, which
are written as GNU's sparse format 1.0.
"""

import errno
import os
import stat
import tarfile
from collections.abc import Iterator

import msgspec

BLOCK = 512
PIECE = 256 << 10
"""Bytes read at once."""
SPARSE_FROM = 64 << 10
"""Bytes of holes from which on it is worth telling where they are."""
_SHORT = 3000
"""Bytes of a path that the system takes as a whole; a longer one is walked."""
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_TYPES = {
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
}
_OVERLAY = ("trusted.overlay.", "user.overlay.")


class Member(msgspec.Struct, frozen=True):
    """One member: what comes before the content, and where that is.

    Attributes:
        path: of the file, without a leading slash.
        head: all headers, and for a file with holes the list of its parts.
        parts: ranges of the file that follow.
        size: bytes that follow the head, without padding.
    """

    path: bytes
    head: bytes
    parts: tuple[tuple[int, int], ...] = ()
    size: int = 0

    @property
    def length(self) -> int:
        """All bytes in the archive."""
        return len(self.head) + self.size + -self.size % BLOCK


class Seen(msgspec.Struct):
    """Files with several names, by device and number, and the first name of each."""

    names: dict[tuple[int, int], bytes] = {}


def lstat(path: bytes) -> os.stat_result | None:
    """What is at a path below ``/``; None where nothing is."""
    try:
        if len(path) < _SHORT:
            return os.lstat(b"/" + path)
        folder = _parent(path)
        try:
            return os.stat(path.rpartition(b"/")[2], dir_fd=folder, follow_symlinks=False)
        finally:
            os.close(folder)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise


def _parent(path: bytes) -> int:
    folder = os.open("/", _FOLDER)
    for name in path.split(b"/")[:-1]:
        below = os.open(name, _FOLDER, dir_fd=folder)
        os.close(folder)
        folder = below
    return folder


def opened(path: bytes, flags: int = _READ) -> int:
    """Open what is at a path below ``/``, never through a link at its end.

    Raises:
        OSError: it is not there any more.
    """
    if len(path) < _SHORT:
        return os.open(b"/" + path, flags)
    folder = _parent(path)
    try:
        return os.open(path.rpartition(b"/")[2], flags, dir_fd=folder)
    finally:
        os.close(folder)


def member(path: bytes, found: os.stat_result, seen: Seen) -> Member | None:
    """A file as a member; None for what an archive cannot hold: sockets and devices.

    Raises:
        OSError: it cannot be read.
    """
    kind = _TYPES.get(stat.S_IFMT(found.st_mode))
    if kind is None:
        return None
    info = _info(path, found, kind)
    if kind == tarfile.SYMTYPE:
        info.linkname = os.fsdecode(_target(path))
        return Member(path, _head(info))
    if kind == tarfile.FIFOTYPE:
        return Member(path, _head(info))
    key = found.st_dev, found.st_ino
    if kind == tarfile.REGTYPE and found.st_nlink > 1 and key in seen.names:
        info.type, info.linkname = tarfile.LNKTYPE, os.fsdecode(seen.names[key])
        return Member(path, _head(info))
    descriptor = opened(path)
    try:
        info.pax_headers = {**info.pax_headers, **_attributes(descriptor)}
        if kind == tarfile.DIRTYPE:
            return Member(path, _head(info))
        seen.names[key] = path
        return _regular(path, info, descriptor, found)
    finally:
        os.close(descriptor)


def made(name: str, content: bytes, moment: int) -> Member:
    """The head of a member whose content, padded, is part of it."""
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = len(content), moment, 0o600
    return Member(os.fsencode(name), _head(info) + content + bytes(-len(content) % BLOCK))


def _info(path: bytes, found: os.stat_result, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(os.fsdecode(path))
    info.type, info.mode = kind, stat.S_IMODE(found.st_mode)
    info.uid, info.gid = found.st_uid, found.st_gid
    seconds, rest = divmod(found.st_mtime_ns, 10**9)
    info.mtime = max(0, seconds)
    if rest or seconds < 0:
        sign, whole = ("-", -found.st_mtime_ns) if seconds < 0 else ("", found.st_mtime_ns)
        info.pax_headers = {"mtime": f"{sign}{whole // 10**9}.{whole % 10**9:09}"}
    return info


def _head(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _target(path: bytes) -> bytes:
    if len(path) < _SHORT:
        return os.readlink(b"/" + path)
    folder = _parent(path)
    try:
        return os.readlink(path.rpartition(b"/")[2], dir_fd=folder)
    finally:
        os.close(folder)


def _attributes(descriptor: int) -> dict[str, str]:
    """Extended attributes as PAX records; those whose names are no text are left out."""
    found = {}
    try:
        names = os.listxattr(descriptor)
    except OSError:
        return {}
    for name in names:
        if name.startswith(_OVERLAY) or not name.isascii() or "=" in name:
            continue
        try:
            value = os.getxattr(descriptor, name)
        except OSError:
            continue
        found[f"SCHILY.xattr.{name}"] = os.fsdecode(value)
    return found


def _regular(path: bytes, info: tarfile.TarInfo, descriptor: int, found: os.stat_result) -> Member:
    size = found.st_size
    if size - found.st_blocks * BLOCK < SPARSE_FROM:
        info.size = size
        return Member(path, _head(info), ((0, size),) if size else (), size)
    parts = tuple(_parts(descriptor, size))
    listed = [str(len(parts))] + [str(n) for start, end in parts for n in (start, end - start)]
    text = "".join(f"{number}\n" for number in listed).encode("ascii")
    text += bytes(-len(text) % BLOCK)
    held = sum(end - start for start, end in parts)
    info.pax_headers = {
        **info.pax_headers,
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": info.name,
        "GNU.sparse.realsize": str(size),
    }
    info.name = "GNUSparseFile.0/" + info.name.rpartition("/")[2]
    info.size = len(text) + held
    return Member(path, _head(info) + text, parts, held)


def _parts(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """Ranges of a file that are no holes; at its end an empty one, as GNU has it."""
    end = 0
    while end < size:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                break
            raise
        if start >= size:
            break
        end = min(os.lseek(descriptor, start, os.SEEK_HOLE), size)
        yield start, end
    yield size, size


def content(one: Member) -> Iterator[bytes]:
    """A member's bytes, exactly ``length`` of them.

    Raises:
        OSError: the file is not there any more, or it became shorter.
    """
    yield one.head
    if not one.size:
        return
    descriptor = opened(one.path)
    try:
        for start, end in one.parts:
            while start < end:
                data = os.pread(descriptor, min(PIECE, end - start), start)
                if not data:
                    raise OSError(errno.ESTALE, "a file became shorter while it was archived")
                start += len(data)
                yield data
    finally:
        os.close(descriptor)
    yield bytes(-one.size % BLOCK)
