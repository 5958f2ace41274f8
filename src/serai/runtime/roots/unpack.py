"""Unpacks the tar file of one layer into a directory, whoever made it.

Names are resolved by the kernel as if the directory were the root (openat2), so nothing leads
out of it. Left out are devices, attributes, and what the runtime provides itself; whiteouts
(OCI image specification, layer.md) become those of overlay file systems.
"""

import contextlib
import errno
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from serai.runtime import linux
from serai.runtime.roots.problems import ImageProblem

if TYPE_CHECKING:
    from serai.runtime.roots.oci import Hashing

MAX_BYTES = 64 << 30
MAX_ENTRIES = 4_000_000
MAX_HEADER = 1 << 20
MAX_HEADERS = 64
_OVERFLOW_ID = 65534
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_PROVIDED = frozenset({"etc/hostname", "etc/hosts", "etc/resolv.conf", ".dockerenv"})
_PROVIDED_BELOW = ("dev/", "proc/", "sys/")
_LONG_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_PIECE = 1 << 20
_SPARSE = "the layer has a sparse file, which it must not: a few bytes would fill the disk"
"""OCI image specification, layer.md: "Sparse files ... SHOULD NOT be used"."""


class _Archive(tarfile.TarFile):
    """Counts the extra headers: those of one member, and those for all, which it keeps."""

    headers = header_bytes = global_bytes = 0

    def members_one_by_one(self) -> Iterator[tarfile.TarInfo]:
        """All members, none of which is kept: there may be millions, with long headers."""
        while (member := self.next()) is not None:
            self.members.clear()  # type: ignore[attr-defined]
            self.headers = self.header_bytes = 0
            yield member

    def count_header(self, size: int, *, is_global: bool) -> None:
        """Refuse headers that would fill the memory, or the stack: each is read within the last.

        Raises:
            ImageProblem: they do.
        """
        self.headers += 1
        self.header_bytes += size
        self.global_bytes += size if is_global else 0
        if max(self.header_bytes, self.global_bytes) > MAX_HEADER:
            raise ImageProblem(f"the layer has headers of more than {MAX_HEADER} bytes")
        if self.headers > MAX_HEADERS:
            raise ImageProblem(f"the layer has more than {MAX_HEADERS} headers for one entry")


class _Member(tarfile.TarInfo):
    """A member whose extra headers cannot fill the memory, and that is no larger than it looks."""

    def _proc_member(self, tar: _Archive) -> tarfile.TarInfo:
        if self.size < 0:
            raise tarfile.ReadError("a member of negative size")
        if self.type in _LONG_HEADERS:
            tar.count_header(self.size, is_global=self.type == tarfile.XGLTYPE)
        if self.type == tarfile.GNUTYPE_SPARSE:
            raise ImageProblem(_SPARSE)
        found: tarfile.TarInfo = super()._proc_member(tar)  # type: ignore[misc]
        return found

    def _proc_gnusparse(self, *_: object) -> NoReturn:
        """Called before the map of holes is read, which has no end but the archive's."""
        raise ImageProblem(_SPARSE)

    _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _proc_gnusparse


class Unpacker:
    """Unpacks into ``folder``.

    Args:
        folder: an empty directory.
        owner: host uid that is root inside; None makes everything our own.
        max_bytes: most bytes that files may hold together.
    """

    def __init__(self, folder: Path, owner: int | None, max_bytes: int = MAX_BYTES) -> None:
        self._folder = folder
        self._owner = owner
        self._max_bytes = max_bytes
        self._opaque = "user.overlay.opaque" if owner is None else "trusted.overlay.opaque"
        self._parents: dict[str, int] = {}
        self.size = 0
        self.entries = 0
        self._root = -1

    def run(self, stream: "Hashing") -> None:
        """Unpack an uncompressed tar file.

        Raises:
            ImageProblem: it is not acceptable; the directory's content is then to be thrown away.
        """
        self._root = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._own(self._root, None)
            os.chmod(self._root, 0o755)  # noqa: S103
            # Of a file it only reads in this mode, whatever its types ask for.
            with _Archive.open(fileobj=stream, mode="r|", tarinfo=_Member) as archive:  # type: ignore[call-overload]
                for member in archive.members_one_by_one():
                    self._take(archive, member)
        except (tarfile.TarError, EOFError, ValueError) as error:
            raise ImageProblem(f"the layer is not a whole tar file: {error}") from error
        except OSError as error:
            raise _explained(error) from error
        finally:
            self._forget_parents()
            os.close(self._root)

    def _take(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        self.entries += 1
        if self.entries > MAX_ENTRIES:
            raise ImageProblem(f"the layer has more than {MAX_ENTRIES} entries")
        name = _clean(member.name)
        if not name:
            if member.isdir():
                self._own(self._root, member)
            return
        if name in _PROVIDED or name.startswith(_PROVIDED_BELOW):
            return
        head, _, last = name.rpartition("/")
        parent = self._parent(head)
        if last.startswith(_WHITEOUT):
            self._whiteout(parent, last)
        elif member.isdir():
            self._directory(parent, last, member)
        elif member.issym():
            self._make_room(parent, last)
            os.symlink(member.linkname, last, dir_fd=parent)
            self._own_entry(parent, last, member)
        elif member.islnk():
            self._hard_link(parent, last, member)
        elif member.isreg():
            self._file(archive, parent, last, member)
        elif member.isfifo():
            self._make_room(parent, last)
            os.mkfifo(last, 0o600, dir_fd=parent)
            self._own_entry(parent, last, member)
            os.chmod(last, stat.S_IMODE(member.mode), dir_fd=parent)

    def _parent(self, path: str) -> int:
        """A descriptor of a directory of the layer, made when missing."""
        known = self._parents.get(path)
        if known is not None:
            return known
        if not path:
            return self._root
        try:
            descriptor = linux.open_inside(self._root, path, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            descriptor = self._make_parent(path)
        if len(self._parents) >= 256:
            self._forget_parents()
        self._parents[path] = descriptor
        return descriptor

    def _make_parent(self, path: str) -> int:
        head, _, last = path.rpartition("/")
        above = self._parent(head)
        os.mkdir(last, 0o755, dir_fd=above)
        self._own_entry(above, last, None)
        return linux.open_inside(self._root, path, os.O_RDONLY | os.O_DIRECTORY)

    def _forget_parents(self) -> None:
        for descriptor in self._parents.values():
            os.close(descriptor)
        self._parents.clear()

    def _directory(self, parent: int, name: str, member: tarfile.TarInfo) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if not stat.S_ISDIR(found.st_mode):
                self._make_room(parent, name)
                os.mkdir(name, 0o700, dir_fd=parent)
        self._own_entry(parent, name, member)
        # Without our own rights we could not go on below it where we are not root.
        os.chmod(name, stat.S_IMODE(member.mode) | stat.S_IRWXU, dir_fd=parent)

    def _file(
        self, archive: tarfile.TarFile, parent: int, name: str, member: tarfile.TarInfo
    ) -> None:
        self._account(member.size)
        self._make_room(parent, name)
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        content = archive.extractfile(member)
        descriptor = os.open(name, flags, 0o600, dir_fd=parent)
        try:
            left = member.size
            while left and content is not None:
                data = content.read(min(left, _PIECE))
                if not data:
                    raise ImageProblem(f"the layer ends within {member.name[:200]!r}")
                left -= len(data)
                _write_all(descriptor, data)
            self._own(descriptor, member)
            os.fchmod(descriptor, stat.S_IMODE(member.mode))
            with contextlib.suppress(OverflowError, OSError):
                os.utime(descriptor, (member.mtime, member.mtime))
        finally:
            os.close(descriptor)

    def _account(self, size: int) -> None:
        self.size += size
        if self.size > self._max_bytes:
            raise ImageProblem(
                f"the layer's files are larger than {self._max_bytes >> 20} MiB together"
            )

    def _hard_link(self, parent: int, name: str, member: tarfile.TarInfo) -> None:
        target = _clean(member.linkname)
        if target in _PROVIDED:
            return
        head, _, last = target.rpartition("/")
        try:
            source = self._parent(head)
            self._make_room(parent, name)
            os.link(last, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError as error:
            raise ImageProblem(
                f"the layer links {member.name[:200]!r} to {target[:200]!r}, which it does not hold"
            ) from error

    def _whiteout(self, parent: int, name: str) -> None:
        if name == _OPAQUE:
            os.setxattr(parent, self._opaque, b"y")
            return
        hidden = name.removeprefix(_WHITEOUT)
        if hidden.startswith(_WHITEOUT) or hidden in ("", ".", ".."):
            return  # AUFS keeps its own notes under such names
        self._make_room(parent, hidden)
        os.mknod(hidden, stat.S_IFCHR, os.makedev(0, 0), dir_fd=parent)

    def _make_room(self, parent: int, name: str) -> None:
        """Remove what an earlier entry of the same name left; later ones win."""
        try:
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return
        if stat.S_ISDIR(found.st_mode):
            self._forget_parents_but(parent)
            os.rmdir(name, dir_fd=parent)
        else:
            if stat.S_ISLNK(found.st_mode):
                self._forget_parents_but(parent)
            os.unlink(name, dir_fd=parent)

    def _forget_parents_but(self, kept: int) -> None:
        for path, descriptor in list(self._parents.items()):
            if descriptor != kept:
                os.close(descriptor)
                del self._parents[path]

    def _own_entry(self, parent: int, name: str, member: tarfile.TarInfo | None) -> None:
        if self._owner is not None:
            user, group = self._ids(member)
            os.chown(name, user, group, dir_fd=parent, follow_symlinks=False)

    def _own(self, descriptor: int, member: tarfile.TarInfo | None) -> None:
        if self._owner is not None:
            os.fchown(descriptor, *self._ids(member))

    def _ids(self, member: tarfile.TarInfo | None) -> tuple[int, int]:
        assert self._owner is not None
        inside = (0, 0) if member is None else (member.uid, member.gid)
        user, group = (each if 0 <= each < 65536 else _OVERFLOW_ID for each in inside)
        return self._owner + user, self._owner + group


def _clean(name: str) -> str:
    """A member's path without leading and doubled slashes and dots.

    Raises:
        ImageProblem: it leads upwards, or cannot be a path.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in name:
        raise ImageProblem(f"the layer has an entry {name[:200]!r} that leads out of it")
    return "/".join(parts)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _explained(error: OSError) -> ImageProblem:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ImageProblem(
            "the disk is full: free some space (`serai images prune` removes images that nothing "
            "uses) and try again"
        )
    return ImageProblem(f"the layer cannot be unpacked: {error}")
