"""Files in the making, which appear whole or not at all."""

import contextlib
import errno
import os
import stat

from serai.kernel.ids import token
from serai.sandboxd.copying import copy_content
from serai.sandboxd.errors import Unprocessable, refused
from serai.sandboxd.paths import text

TEMPORARY = ".serai-write-"
"""Prefix of files in the making; the letter after it says ``c`` for new or ``w`` for replaced."""
_DESCRIPTORS = "/proc/self/fd"
_NO_UNNAMED = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT)
_MOST_VIEWS = 512
_NO_RENAME = (errno.EBUSY, errno.EXDEV, errno.EPERM)


class Draft:
    """The next content of a file.

    Until :meth:`commit` it has no name where the file system allows that, so a crash leaves
    nothing behind. Mode and owner of a replaced file are kept, links are written through. Where
    no file can be made or renamed beside the target (devices, bind mounts, a directory without
    permission) the target is overwritten in place.
    """

    def __init__(self, path: str, mode: int) -> None:
        self._fd = -1
        self._temporary: str | None = None
        self._in_place = False
        self._path = os.path.realpath(path)
        try:
            self._old = self._existing()
            self._open(mode)
        except OSError as error:
            raise self._refused(error) from error

    def __del__(self) -> None:
        self.discard()

    def _refused(self, error: OSError) -> Unprocessable:
        return refused("error writing file", "open", text(self._path), error)

    def _existing(self) -> os.stat_result | None:
        os.makedirs(os.path.dirname(self._path), 0o755, exist_ok=True)
        try:
            return os.stat(self._path)
        except FileNotFoundError:
            return None

    def _open(self, mode: int) -> None:
        if self._old is not None and not stat.S_ISREG(self._old.st_mode):
            self._open_in_place(os.O_NONBLOCK)  # a pipe without a reader must fail, not hang
            return
        try:
            self._open_beside(mode)
        except PermissionError:
            if self._old is None:
                raise
            self._open_in_place(0)

    def _open_in_place(self, flags: int) -> None:
        flags |= os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC
        self._fd, self._in_place = os.open(self._path, flags), True

    def _open_beside(self, mode: int) -> None:
        flags = os.O_WRONLY | os.O_CLOEXEC
        if os.path.isdir(_DESCRIPTORS):
            try:
                self._fd = os.open(os.path.dirname(self._path), flags | os.O_TMPFILE, mode)
                return
            except OSError as error:
                if error.errno not in _NO_UNNAMED:
                    raise
        temporary = self._temporary_name()
        self._fd = os.open(temporary, flags | os.O_CREAT | os.O_EXCL, mode)
        self._temporary = temporary

    def _temporary_name(self) -> str:
        kind = "c" if self._old is None else "w"
        return os.path.join(os.path.dirname(self._path), f"{TEMPORARY}{kind}-{token(12)}")

    def write(self, *pieces: bytes | memoryview) -> None:
        """Append bytes.

        Raises:
            Unprocessable: when the system refuses.
        """
        views = [memoryview(piece) for piece in pieces if len(piece)]
        try:
            while views:
                done = os.writev(self._fd, views[:_MOST_VIEWS])
                while views and done >= len(views[0]):
                    done -= len(views.pop(0))
                if done:
                    views[0] = views[0][done:]
        except OSError as error:
            raise refused("error writing file", "write", text(self._path), error) from error

    def append(self, source: int) -> None:
        """Append what is in another file.

        Raises:
            Unprocessable: when the system refuses.
        """
        try:
            copy_content(source, self._fd)
        except OSError as error:
            raise refused("error writing file", "write", text(self._path), error) from error

    def commit(self, path: str | None = None) -> None:
        """Put the file in its place, or at ``path`` in the same directory.

        Raises:
            Unprocessable: when the system refuses.
        """
        self._path = path or self._path
        try:
            if not self._in_place:
                self._appear()
        except OSError as error:
            raise self._refused(error) from error
        finally:
            self.discard()

    def _appear(self) -> None:
        name = self._temporary or self._temporary_name()
        if self._temporary is None:
            # Only with a directory descriptor does Python's link follow the link of /proc.
            os.link(f"{_DESCRIPTORS}/{self._fd}", name, src_dir_fd=self._fd)
            self._temporary = name
        if self._old is not None:
            with contextlib.suppress(PermissionError):
                os.fchown(self._fd, self._old.st_uid, self._old.st_gid)
            os.fchmod(self._fd, stat.S_IMODE(self._old.st_mode))
        try:
            os.rename(name, self._path)
            self._temporary = None
        except OSError as error:
            if error.errno not in _NO_RENAME:
                raise
            self._copy_over(name)

    def _copy_over(self, temporary: str) -> None:
        with open(temporary, "rb") as source, open(self._path, "wb") as target:
            while data := source.read(1 << 20):
                target.write(data)

    def discard(self) -> None:
        """Forget what was not committed."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._temporary)
            self._temporary = None
