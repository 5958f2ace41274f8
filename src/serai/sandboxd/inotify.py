"""Changes in directories, from the kernel's inotify through the C library."""

import asyncio
import ctypes
import errno
import os
import struct
from collections import deque

import msgspec

from serai.sandboxd.drafts import TEMPORARY
from serai.sandboxd.errors import Unprocessable, reason
from serai.sandboxd.handover import ChangesGoing

_MODIFY, _ATTRIB, _MOVED_FROM, _MOVED_TO = 0x2, 0x4, 0x40, 0x80
_CREATE, _DELETE, _DELETE_SELF, _MOVE_SELF = 0x100, 0x200, 0x400, 0x800
_OVERFLOW, _IGNORED, _ISDIR, _ONLYDIR = 0x4000, 0x8000, 0x40000000, 0x01000000
_MASK = _MODIFY | _ATTRIB | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF
_OPERATIONS = (
    (_CREATE | _MOVED_TO, "CREATE"),
    (_MODIFY, "WRITE"),
    (_DELETE | _DELETE_SELF, "REMOVE"),
    (_MOVED_FROM | _MOVE_SELF, "RENAME"),
    (_ATTRIB, "CHMOD"),
)
_HEADER = struct.Struct("iIII")
QUEUE_LIMIT = 10_000
"""Events kept for a client that does not read; further ones are dropped and it is told."""
OVERFLOW = "some changes were lost: the reader is too slow"

_libc = ctypes.CDLL(None, use_errno=True)


class Change(msgspec.Struct, frozen=True):
    """One change: what happened to ``name`` in the directory ``path``."""

    operation: str
    path: str
    name: str
    error: str | None = None


def _fail(action: str) -> OSError:
    code = ctypes.get_errno()
    return OSError(code, f"{action}: {os.strerror(code)}")


def _unnamed(directory: str, name: str) -> bool:
    """Whether an event is about a file without a name: the kernel calls those ``#<inode>``."""
    if not name.startswith("#") or not name[1:].isdecimal():
        return False
    return not os.path.lexists(os.path.join(directory, name))


class Watcher:
    """Watches one directory, or all below it; changes are read from :attr:`queue`.

    Our own files in the making are hidden: a write shows as CREATE and WRITE of the file itself,
    as if it had been written in place.

    Args:
        ignored: parts of paths of which nothing is told.
        earlier: what an earlier version of this API has watched so far.
    """

    def __init__(
        self,
        root: str,
        recursive: bool,
        ignored: list[str],
        earlier: ChangesGoing | None = None,
    ) -> None:
        self._recursive = recursive
        self._ignored = ignored
        self._paths: dict[int, str] = {}
        self._drafts: dict[int, str] = {}
        self._root = root
        self._waiter: asyncio.Future[None] | None = None
        self.queue: deque[Change] = deque()
        if earlier is not None:
            self._paths, self._drafts = earlier.paths, earlier.drafts
            self.queue.extend(Change(*each) for each in earlier.queue)
            self._file = open(earlier.fd, "rb", buffering=0)  # noqa: SIM115
            return
        descriptor = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if descriptor < 0:
            raise Unprocessable(f"error watching directory: {reason(_fail('inotify'))}")
        self._file = open(descriptor, "rb", buffering=0)  # noqa: SIM115
        try:
            self._add(root)
            if recursive:
                self._add_below(root, announce=False)
        except OSError as error:
            self._file.close()
            raise Unprocessable(f"error watching directory: {root}: {reason(error)}") from error

    def state(self) -> ChangesGoing:
        """The same for a later version of this API: the kernel goes on watching meanwhile."""
        return ChangesGoing(
            fd=self._file.fileno(),
            root=self._root,
            recursive=self._recursive,
            ignored=self._ignored,
            paths=self._paths,
            drafts=self._drafts,
            queue=[(each.operation, each.path, each.name, each.error) for each in self.queue],
        )

    def _ignores(self, path: str) -> bool:
        return any(part in path for part in self._ignored)

    def start(self) -> None:
        """Take changes from now on; what happened since the watcher was made is among them."""
        asyncio.get_running_loop().add_reader(self._file, self._ready)

    def close(self) -> None:
        """Stop watching."""
        asyncio.get_running_loop().remove_reader(self._file)
        self._file.close()

    async def changed(self, seconds: float) -> None:
        """Return when there are changes, or after some seconds."""
        if not self.queue:
            self._waiter = asyncio.get_running_loop().create_future()
            await asyncio.wait({self._waiter}, timeout=seconds)

    def _add(self, path: str) -> None:
        watch = _libc.inotify_add_watch(self._file.fileno(), os.fsencode(path), _MASK | _ONLYDIR)
        if watch < 0:
            raise _fail("watch")
        self._paths[watch] = path

    def _add_below(self, root: str, announce: bool) -> None:
        """Watch all directories below; those that just appeared announce what they hold."""
        pending = [root]
        while pending:
            directory = pending.pop()
            try:
                entries = list(os.scandir(directory))
            except OSError:
                continue
            for entry in entries:
                if self._ignores(entry.path):
                    continue
                if announce and not entry.name.startswith(TEMPORARY):
                    self._emit("CREATE", directory, entry.name)
                if entry.is_dir(follow_symlinks=False):
                    self._try_add(entry.path)
                    pending.append(entry.path)

    def _try_add(self, path: str) -> None:
        try:
            self._add(path)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):  # gone or replaced meanwhile
                self._emit("CHMOD", os.path.dirname(path), os.path.basename(path), reason(error))

    def _emit(self, operation: str, path: str, name: str, error: str | None = None) -> None:
        if self._ignores(os.path.join(path, name)):
            return
        if len(self.queue) >= QUEUE_LIMIT:
            if self.queue[-1].error != OVERFLOW:
                self.queue.append(Change("WRITE", path, "", OVERFLOW))
            return
        self.queue.append(Change(operation, path, name, error))

    def _ready(self) -> None:
        data = self._file.read(64 * 1024) or b""
        at = 0
        while at < len(data):
            watch, mask, cookie, size = _HEADER.unpack_from(data, at)
            raw = data[at + _HEADER.size : at + _HEADER.size + size].rstrip(b"\0")
            at += _HEADER.size + size
            self._handle(watch, mask, cookie, os.fsdecode(raw))
        if self.queue and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _handle(self, watch: int, mask: int, cookie: int, name: str) -> None:
        if mask & _OVERFLOW:
            self.queue.append(Change("WRITE", "", "", OVERFLOW))
            return
        path = self._paths.get(watch)
        if mask & _IGNORED:
            self._paths.pop(watch, None)
            return
        if path is None:
            return
        if _unnamed(path, name):
            return
        if name.startswith(TEMPORARY):
            if mask & _MOVED_FROM:
                self._drafts[cookie] = name[len(TEMPORARY)]
            return
        self._report(path, mask, cookie, name)

    def _report(self, path: str, mask: int, cookie: int, name: str) -> None:
        draft = self._drafts.pop(cookie, None) if mask & _MOVED_TO else None
        if draft is not None:
            if draft == "c":
                self._emit("CREATE", path, name)
            self._emit("WRITE", path, name)
            return
        if not name:  # the watched directory itself; below the root its parent reports it
            if path != self._root or not mask & _DELETE_SELF:
                return
            path, name = os.path.dirname(path), os.path.basename(path)
        for bits, operation in _OPERATIONS:
            if mask & bits:
                self._emit(operation, path, name)
        full = os.path.join(path, name)
        if self._recursive and mask & _ISDIR and mask & (_CREATE | _MOVED_TO):
            self._try_add(full)
            self._add_below(full, announce=True)
