"""Files and directories: plain synchronous functions, run in worker threads."""

import errno
import os
import stat
import time

from serai.kernel.errors import BadRequest, NotFound
from serai.sandboxd.drafts import TEMPORARY, Draft
from serai.sandboxd.errors import Unprocessable, reason, refused
from serai.sandboxd.owners import Owners
from serai.sandboxd.paths import Location, text
from serai.sandboxd.reach import is_out_of_reach
from serai.sandboxd.removal import remove_tree
from serai.wire.sandbox_files import Directory, File, FileWithContent, Subdirectory

TEXT_LIMIT = 100 * 1024 * 1024
"""Bytes of a file that may be read or written as JSON."""
_GO_BITS = (
    (stat.S_ISUID, 1 << 23),
    (stat.S_ISGID, 1 << 22),
    (stat.S_ISVTX, 1 << 20),
)
_GO_TYPES = {
    stat.S_IFDIR: 1 << 31,
    stat.S_IFLNK: 1 << 27,
    stat.S_IFBLK: 1 << 26,
    stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24,
    stat.S_IFCHR: (1 << 26) | (1 << 21),
}


def permissions(mode: int) -> str:
    """A file mode as clients know it: octal, type and special bits in Go's places."""
    value = stat.S_IMODE(mode) & 0o777 | _GO_TYPES.get(stat.S_IFMT(mode), 0)
    for bit, shown in _GO_BITS:
        value |= shown if mode & bit else 0
    return f"{value:o}"


def parse_permissions(value: str | None, default: int) -> int:
    """Octal text as a mode.

    Raises:
        BadRequest: when it is no octal number up to 7777.
    """
    if not value:
        return default
    try:
        mode = int(value, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o7777:
        raise BadRequest(f"invalid permissions format '{value}': octal digits such as 0644")
    return mode


def modified(info: os.stat_result) -> str:
    """Time of the last change, RFC 3339 with microseconds."""
    seconds, rest = divmod(info.st_mtime_ns, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest // 1000:06d}Z"


def opened_at_once(path: str, flags: int) -> int:
    """Open a file for reading, without waiting, and only if it is one.

    What was a file a moment ago may be a pipe without a writer now, or a link to what ``/proc``
    tells about this very process.

    Raises:
        OSError: it cannot be opened, is no regular file, or is ours.
    """
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(descriptor).st_mode) and not is_ours(descriptor):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "is not a regular file", path)


def is_ours(descriptor: int) -> bool:
    """Whether a file is what ``/proc`` tells about this very process, or only to it."""
    if is_out_of_reach(descriptor):
        return True
    try:
        name = os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return False
    return name.startswith(f"/proc/{os.getpid()}/")


def status_of(place: Location) -> os.stat_result:
    """Follow links and say what is there.

    Raises:
        NotFound: when nothing is.
        Unprocessable: when the system refuses to tell.
    """
    try:
        return os.stat(place.real)
    except FileNotFoundError as error:
        raise NotFound(f"stat {text(place.real)}: {reason(error)}") from error
    except OSError as error:
        raise refused("error reading file", "stat", text(place.real), error) from error


class Files:
    """File operations of one sandbox. Paths are real and absolute."""

    def __init__(self) -> None:
        self._owners = Owners()

    def describe(self, shown: str, name: str, info: os.stat_result) -> File:
        """A file as listings show it."""
        return File(
            path=text(shown),
            name=text(name),
            permissions=permissions(info.st_mode),
            size=info.st_size,
            last_modified=modified(info),
            owner=self._owners.user(info.st_uid),
            group=self._owners.group(info.st_gid),
        )

    def read(self, place: Location) -> FileWithContent:
        """A file as text.

        Raises:
            Unprocessable: when it is too large for that or cannot be read.
        """
        try:
            with open(place.real, "rb", opener=opened_at_once) as file:
                info = os.fstat(file.fileno())
                content = file.read(TEXT_LIMIT + 1)
        except OSError as error:
            raise refused("error reading file", "open", text(place.real), error) from error
        if len(content) > TEXT_LIMIT:
            raise Unprocessable(
                f"error reading file: {text(place.real)} is over {TEXT_LIMIT} bytes; "
                "read it with 'Accept: application/octet-stream'"
            )
        return self.as_text(place, info, content)

    def as_text(self, place: Location, info: os.stat_result, content: bytes) -> FileWithContent:
        """A file and what is in it."""
        base = self.describe(place.shown, "", info)
        return FileWithContent(
            path=base.path,
            name=base.name,
            permissions=base.permissions,
            size=base.size,
            last_modified=base.last_modified,
            owner=base.owner,
            group=base.group,
            content=content.decode("utf-8", "replace"),
        )

    def text_of(self, place: Location, limit: int) -> str | None:
        """A file's exact text, None when there is no file.

        Raises:
            Unprocessable: when it has over ``limit`` bytes, is no text or cannot be read.
        """
        name = text(place.real)
        try:
            with open(place.real, "rb", opener=opened_at_once) as file:
                content = file.read(limit + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise refused("error reading file", "open", name, error) from error
        if len(content) > limit:
            raise Unprocessable(f"error reading file: {name} is over {limit} bytes")
        try:
            return content.decode()
        except UnicodeDecodeError:
            raise Unprocessable(f"error reading file: {name} is not UTF-8 text") from None

    def listing(self, place: Location) -> Directory:
        """One level of a directory, hidden entries included.

        Raises:
            Unprocessable: when it cannot be read.
        """
        files: list[File] = []
        directories: list[Subdirectory] = []
        try:
            with os.scandir(place.real) as entries:
                for entry in sorted(entries, key=lambda e: e.name):
                    self._add(place, entry, files, directories)
        except OSError as error:
            raise refused("error listing directory", "open", text(place.real), error) from error
        name = os.path.basename(place.real) or "/"
        return Directory(
            path=text(place.shown), name=text(name), files=files, subdirectories=directories
        )

    def _add(
        self,
        place: Location,
        entry: "os.DirEntry[str]",
        files: list[File],
        directories: list[Subdirectory],
    ) -> None:
        if entry.name.startswith(TEMPORARY):
            return
        shown = os.path.join(place.shown, entry.name)
        try:
            if entry.is_dir():
                directories.append(Subdirectory(path=text(shown), name=text(entry.name)))
            else:
                info = entry.stat(follow_symlinks=False)
                files.append(self.describe(shown, entry.name, info))
        except OSError:  # it vanished between listing and looking
            return

    def make_directory(self, path: str, mode: int) -> None:
        """Make a directory and its parents; one that exists stays as it is.

        Raises:
            Unprocessable: when the system refuses.
        """
        try:
            os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
            if not os.path.isdir(path):
                os.mkdir(path, mode)
        except OSError as error:
            raise refused("error creating directory", "mkdir", text(path), error) from error

    def write(self, path: str, content: bytes, mode: int) -> None:
        """Replace a file's content, all or nothing.

        Raises:
            Unprocessable: when the system refuses, with the cause (no space, no permission).
        """
        draft = Draft(path, mode)
        try:
            draft.write(content)
            draft.commit()
        finally:
            draft.discard()

    def delete(self, place: Location, recursive: bool) -> bool:
        """Remove a file or directory; True for a directory.

        Raises:
            NotFound: when there is none.
            Unprocessable: when the system refuses, for example a directory that is not empty.
        """
        if not os.path.exists(place.real):
            raise NotFound("file or directory not found")
        directory = os.path.isdir(place.real) and not os.path.islink(place.real)
        what = "error deleting directory" if directory else "error deleting file"
        try:
            if not directory:
                os.unlink(place.real)
            elif recursive:
                remove_tree(place.real)
            else:
                os.rmdir(place.real)
        except OSError as error:
            raise refused(what, "remove", text(place.real), error) from error
        return directory
