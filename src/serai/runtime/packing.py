"""Trees as one compressed file, and back: every file exactly as ``clone`` would copy it.

The file is a gzip stream of records. A record is its length as four bytes, big-endian, and an
array in MessagePack: the letter of its kind, then what the kind needs. The data of a file follows
its record. Tar holds no trees deeper than a path, and its sparse files and attributes are each
tool's own, so this is no tar.
"""

import gzip
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from typing import IO, Any

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

MAGIC = "serai archive 1"
_LEVEL = 1
_CHUNK = 1 << 20
_LENGTH = struct.Struct("!I")
_RECORD_MAX = 8 << 20
_NAMES_MAX = 60_000
"""File systems allow a file some thousands of names more."""
_encoder, _decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder()


_KINDS = frozenset({"tree", "enter", "leave", "again", "link", "special", "file"})
_DAMAGES = (
    EOFError,
    gzip.BadGzipFile,
    zlib.error,
    msgspec.DecodeError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
)


class BrokenArchive(OSError):
    """An archive that was cut off or changed."""


class Packer:
    """Writes trees into a file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._stream = gzip.GzipFile(fileobj=file, mode="wb", compresslevel=_LEVEL, mtime=0)
        self._numbers: dict[tuple[int, int], tuple[int, int]] = {}
        self._last = 0
        self._put(MAGIC)

    def add(self, name: str, top: int) -> None:
        """Add the tree in the directory ``top`` under a name."""
        self._put("tree", name)
        for step in walk(top):
            if step.what == "enter":
                self._put("enter", os.fsencode(step.name))
            elif step.what == "leave":
                self._put("leave", Look.of(step.found), attributes(step.folder))
            else:
                self._entry(step)

    def close(self) -> None:
        """Write the end, without which an archive is not whole."""
        self._put("end")
        self._stream.close()

    def _entry(self, step: Step) -> None:
        found, name = step.found, os.fsencode(step.name)
        number = 0
        if found.st_nlink > 1:
            number, is_new = self._number(found)
            if not is_new:
                self._put("again", name, number)
                return
        head = name, Look.of(found), number
        if stat.S_ISREG(found.st_mode):
            self._file(step, head)
        elif stat.S_ISLNK(found.st_mode):
            target = os.readlink(step.name, dir_fd=step.folder)
            self._put("link", *head, os.fsencode(target))
        else:
            self._put("special", *head, found.st_rdev)

    def _number(self, found: os.stat_result) -> tuple[int, bool]:
        """The number of a file with several names, and whether this is the first of them."""
        number, names = self._numbers.get((found.st_dev, found.st_ino), (0, _NAMES_MAX))
        is_new = names >= _NAMES_MAX
        if is_new:
            self._last += 1
            number, names = self._last, 0
        self._numbers[found.st_dev, found.st_ino] = number, names + 1
        return number, is_new

    def _file(self, step: Step, head: tuple[Any, ...]) -> None:
        reads = os.open(step.name, SOURCE, dir_fd=step.folder)
        try:
            ranges = list(data_ranges(reads, step.found))
            self._put("file", *head, attributes(reads), step.found.st_size, ranges)
            for start, end in ranges:
                while start < end:
                    data = os.pread(reads, min(end - start, _CHUNK), start)
                    if not data:
                        raise OSError("a file became shorter while it was read")
                    self._stream.write(data)
                    start += len(data)
        finally:
            os.close(reads)

    def _put(self, *record: Any) -> None:
        body = _encoder.encode(record)
        self._stream.write(_LENGTH.pack(len(body)) + body)


class Unpacker:
    """Reads trees from a file.

    Args:
        file: an archive.
        top: the directory below which each tree gets a directory.
        below: the directory in that one which receives it.
        pool: descriptor of an empty directory on the same file system.
    """

    def __init__(self, file: IO[bytes], top: str, below: str, pool: int) -> None:
        self._stream = gzip.GzipFile(fileobj=file, mode="rb")
        self._top = top
        self._below = below
        self._links = LinkPool(pool)
        self._depth = -1
        self._target = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def run(self) -> None:
        """Unpack everything.

        Raises:
            BrokenArchive: it is not whole; what was unpacked is to be removed.
        """
        try:
            if self._next() != [MAGIC]:
                raise BrokenArchive("this is no archive of this version")
            for kind, *details in self._records():
                self._take(kind, details)
        except _DAMAGES as error:
            raise BrokenArchive(f"the archive is damaged: {error}") from error
        finally:
            os.close(self._target)

    def _take(self, kind: str, details: list[Any]) -> None:
        if kind not in _KINDS:
            raise ValueError(f"a record of kind {str(kind)[:20]!r}")
        if kind != "tree" and self._depth < 0:
            raise ValueError("something is in no tree")
        if kind not in ("tree", "leave"):
            _check_name(details[0])
        getattr(self, f"_on_{kind}")(*details)

    def _records(self) -> Iterator[list[Any]]:
        while (record := self._next()) != ["end"]:
            yield record
        if self._stream.read(1):  # at its end, gzip compares its checksum
            raise ValueError("something follows its end")

    def _next(self) -> list[Any]:
        (length,) = _LENGTH.unpack(self._exactly(_LENGTH.size))
        if length > _RECORD_MAX:
            raise ValueError(f"a record of {length} bytes")
        record: list[Any] = _decoder.decode(self._exactly(length))
        return record

    def _exactly(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) < size:
            raise EOFError("it ends too early")
        return data

    def _on_tree(self, name: str) -> None:
        _check_name(os.fsencode(name))
        self._depth = 0
        goal = os.path.join(self._top, name, self._below)
        os.makedirs(goal)
        os.close(self._target)
        self._target = os.open(goal, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def _on_enter(self, name: bytes) -> None:
        os.mkdir(name, 0o700, dir_fd=self._target)
        self._target = move(self._target, os.fsdecode(name))
        self._depth += 1

    def _on_leave(self, look: list[int], noted: dict[str, bytes]) -> None:
        dress(self._target, Look(look), noted)
        self._depth -= 1
        if self._depth >= 0:  # above a tree there is nothing of the archive's
            self._target = move(self._target, "..")

    def _on_again(self, name: bytes, number: int) -> None:
        self._links.again(number, self._target, os.fsdecode(name))

    def _on_link(self, name: bytes, look: list[int], number: int, target: bytes) -> None:
        make_symlink(self._target, os.fsdecode(name), Look(look), os.fsdecode(target))
        self._keep(number, name)

    def _on_special(self, name: bytes, look: list[int], number: int, device: int) -> None:
        make_special(self._target, os.fsdecode(name), Look(look), device)
        self._keep(number, name)

    def _on_file(
        self,
        name: bytes,
        look: list[int],
        number: int,
        noted: dict[str, bytes],
        size: int,
        ranges: list[list[int]],
    ) -> None:
        writes = os.open(name, TARGET, 0o600, dir_fd=self._target)
        try:
            os.truncate(writes, size)
            for start, end in ranges:
                self._fill(writes, start, end)
            dress(writes, Look(look), noted)
        finally:
            os.close(writes)
        self._keep(number, name)

    def _fill(self, writes: int, start: int, end: int) -> None:
        while start < end:
            data = self._exactly(min(end - start, _CHUNK))
            while data:
                done = os.pwrite(writes, data, start)
                data, start = data[done:], start + done

    def _keep(self, number: int, name: bytes) -> None:
        if number:
            self._links.keep(number, self._target, os.fsdecode(name))


def _check_name(name: bytes) -> None:
    """Refuse what is no name in one directory: nothing of an archive lands elsewhere.

    Raises:
        ValueError: it is none.
    """
    if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
        raise ValueError(f"{name[:80]!r} is no name of a file")
