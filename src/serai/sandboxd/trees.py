"""Whole trees: read with their contents, and copied; run in worker threads."""

import os
import stat

import msgspec

from serai.kernel.errors import BadRequest, NotFound
from serai.sandboxd.copying import copy_content
from serai.sandboxd.errors import AlreadyExists, Unprocessable, refused
from serai.sandboxd.files import Files, opened_at_once
from serai.sandboxd.paths import Location, text
from serai.sandboxd.search import Found, Scope, name_filter, walk
from serai.wire.sandbox_files import Subdirectory, Tree, TreeFile

MOST_FILES, MOST_BYTES = 10_000, 32 * 1024 * 1024
"""What one answer holds when nothing is said."""
CEILING_FILES, CEILING_BYTES = 100_000, 100 * 1024 * 1024


class TreeQuery(msgspec.Struct, frozen=True):
    """What of a tree is wanted, and how much it may be."""

    patterns: str
    content: bool
    most_files: int
    most_bytes: int


def read_tree(files: Files, place: Location, scope: Scope, wanted: TreeQuery) -> Tree:
    """Everything below a directory; links are shown, not followed.

    Raises:
        Unprocessable: when it is more than wanted; nothing is given then.
    """
    tree = Tree(
        path=text(place.shown),
        name=text(os.path.basename(place.real) or "/"),
        files=[],
        subdirectories=[],
    )
    accepts = name_filter(wanted.patterns)
    left = wanted.most_bytes
    for found in walk(scope):
        shown = text(os.path.join(place.shown, found.path))
        if found.kind == "directory":
            tree.subdirectories.append(Subdirectory(path=shown, name=text(found.name)))
        elif accepts(found.name):
            file = _tree_file(files, shown, os.path.join(place.real, found.path), found)
            if file is not None and wanted.content:
                left -= _add_content(file, os.path.join(place.real, found.path), left)
            tree.files += [file] if file is not None else []
        if len(tree.files) > wanted.most_files or len(tree.subdirectories) > CEILING_FILES:
            raise Unprocessable(
                f"{text(place.real)} holds more than {wanted.most_files} files: raise maxFiles, or"
                " choose less with patterns and excludeDirs"
            )
        if left < 0:
            raise Unprocessable(
                f"files in {text(place.real)} hold more than {wanted.most_bytes} bytes: raise"
                " maxBytes, or choose less with patterns and excludeDirs"
            )
    return tree


def _tree_file(files: Files, shown: str, real: str, found: Found) -> TreeFile | None:
    try:
        base = files.describe(shown, found.name, os.lstat(real))
    except OSError:  # it vanished meanwhile
        return None
    return TreeFile(**{name: getattr(base, name) for name in base.__struct_fields__})


def _add_content(file: TreeFile, real: str, left: int) -> int:
    """Read a regular file, or one that a link leads to; the number of bytes it has."""
    try:
        with open(real, "rb", opener=opened_at_once) as source:
            data = source.read(left + 1)
    except OSError:
        return 0
    file.content = data.decode("utf-8", "replace")
    return len(data)


class Copier:
    """One copy of a file or a tree, entry by entry."""

    def __init__(self, source: Location, destination: Location, *, overwrite: bool) -> None:
        self._source = source
        self._target = destination.real
        self._overwrite = overwrite

    def run(self) -> str:
        """Copy; the path of the copy.

        Into a directory that exists the copy goes under its own name. Not a transaction: what
        was copied before a failure stays.

        Raises:
            NotFound: when there is no source.
            AlreadyExists: when something is there already and must not be replaced.
            BadRequest: when a directory would be copied into itself.
            Unprocessable: when the system refuses.
        """
        source = self._source.real
        if not os.path.lexists(source):
            raise NotFound(f"source {text(source)} does not exist")
        target = self._target
        if os.path.isdir(target):
            target = os.path.join(target, os.path.basename(source))
        if not self._overwrite and os.path.lexists(target):
            raise _exists(target)
        inside = os.path.realpath(target) + "/"
        if os.path.isdir(source) and inside.startswith(os.path.realpath(source) + "/"):
            raise BadRequest(f"destination: {text(target)} is inside the source")
        try:
            self._copy(source, target, follow=True)
        except FileExistsError as error:
            raise _exists(error.filename or target) from error
        except OSError as error:
            raise refused("error copying", "copy", text(source), error) from error
        return target

    def _copy(self, source: str, target: str, *, follow: bool = False) -> None:
        """Copy one entry and, without recursion, all below it."""
        pending = [(source, target, follow)]
        while pending:
            source, target, follow = pending.pop()
            info = os.stat(source, follow_symlinks=follow)
            if stat.S_ISLNK(info.st_mode):
                self._link(source, target)
            elif stat.S_ISDIR(info.st_mode):
                self._directory(target, info)
                names = os.listdir(source)
                pending += [(f"{source}/{name}", f"{target}/{name}", False) for name in names]
            elif stat.S_ISREG(info.st_mode):
                self._file(source, target, stat.S_IMODE(info.st_mode))
            else:
                raise Unprocessable(f"error copying: {text(source)} is no file, directory or link")

    def _link(self, source: str, target: str) -> None:
        if self._overwrite and os.path.islink(target):
            os.unlink(target)
        os.symlink(os.readlink(source), target)

    def _directory(self, target: str, info: os.stat_result) -> None:
        try:
            os.mkdir(target, stat.S_IMODE(info.st_mode) & 0o777 | 0o700)
        except FileExistsError:
            if not self._overwrite or not os.path.isdir(target):
                raise

    def _file(self, source: str, target: str, mode: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        flags |= os.O_TRUNC if self._overwrite else os.O_EXCL
        with open(source, "rb", opener=opened_at_once) as reading:
            descriptor = os.open(target, flags, mode & 0o777)
            try:
                copy_content(reading.fileno(), descriptor)
            finally:
                os.close(descriptor)


def _exists(path: str) -> AlreadyExists:
    return AlreadyExists(f"destination {text(path)} exists already")


def kind_of(mode: int) -> str:
    """A file's type in one word."""
    if stat.S_ISREG(mode):
        return "file"
    return "directory" if stat.S_ISDIR(mode) else "other"
