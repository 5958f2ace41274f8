"""Which paths a sandbox may have changed on top of its image, and whether the image has them.

Found by walking the upper directories of its overlays, its own and those of the saved files that
it lies on, beside the layers of the image, by open directories only. What became of a path is not
said here: whoever sees the sandbox's files, that is, what is inside, knows whether it is there.

A list is records of one byte, a path of any bytes without a leading slash, and a zero byte.
"""

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from serai.runtime.walk import FOLDER, walk

LIST_MAX = 64 << 20
"""Bytes of a list."""
IN_IMAGE, NEW = b"i", b"n"
"""The first byte: whether the image has something at that path."""
_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")
_REDIRECT = ("trusted.overlay.redirect", "user.overlay.redirect")
_NOT_THERE = (FileNotFoundError, NotADirectoryError, PermissionError)


class _Folder:
    """A directory on the way down: its path, the image's layers of it, and if it hides them."""

    def __init__(self, path: bytes, layers: list[int], *, hides: bool) -> None:
        self.path = path
        self.layers = layers
        self.hides = hides

    def below(self, name: str) -> bytes:
        """The path of an entry."""
        return self.path + b"/" + os.fsencode(name) if self.path else os.fsencode(name)

    def close(self) -> None:
        """Give the descriptors back."""
        for layer in self.layers:
            os.close(layer)


class ChangeList:
    """Writes what changed.

    Args:
        file: where records go.
        base: first host uid of the range of users of sandboxes: files that the image has as
            the host's may be seen as the sandbox's.
    """

    def __init__(self, file: BinaryIO, base: int) -> None:
        self._file = file
        self._base = base
        self._size = 0

    def add(self, prefix: bytes, upper: int, layers: Sequence[str]) -> None:
        """Walk one overlay's changes.

        Args:
            prefix: where the overlay is, without slashes around; empty for ``/``.
            upper: descriptor of the directory with the changes.
            layers: directories of the image that lie below, the topmost first.

        Raises:
            OSError: something cannot be read.
        """
        folders = [_Folder(prefix, list(_opened(layers)), hides=_has(upper, _OPAQUE))]
        try:
            self._list_image(folders[0])
            for step in walk(upper):
                if step.what == "entry":
                    self._add(folders[-1], step.name, in_image(folders[-1].layers, step.name))
                elif step.what == "enter":
                    folders.append(self._entered(folders[-1], step.name, step.folder, step.found))
                    self._list_image(folders[-1])
                else:
                    folders.pop().close()
        finally:
            for folder in folders:
                folder.close()

    def _entered(
        self, parent: _Folder, name: str, descriptor: int, found: os.stat_result
    ) -> _Folder:
        if _has(descriptor, _REDIRECT):
            raise OSError(
                "a directory was renamed by reference, which cannot be followed: turn overlay's"
                " redirect_dir off on the host"
            )
        old = in_image(parent.layers, name)
        if old is None or not self._looks_like(found, old):
            self._add(parent, name, old)
        hides = parent.hides or _has(descriptor, _OPAQUE)
        return _Folder(parent.below(name), list(_descend(parent.layers, name)), hides=hides)

    def _looks_like(self, found: os.stat_result, old: os.stat_result) -> bool:
        """Whether a directory is only there because of what is below it."""
        return found.st_mode == old.st_mode and all(
            mine in (its, its + self._base)
            for mine, its in ((found.st_uid, old.st_uid), (found.st_gid, old.st_gid))
        )

    def _list_image(self, folder: _Folder) -> None:
        """Of a directory that hides the image's, everything the image has in it."""
        if not folder.hides:
            return
        for name in sorted({name for layer in folder.layers for name in os.listdir(layer)}):
            found = in_image(folder.layers, name)
            if found is not None:
                self._add(folder, name, found)

    def _add(self, folder: _Folder, name: str, old: os.stat_result | None) -> None:
        self._size += self._file.write(
            (NEW if old is None else IN_IMAGE) + folder.below(name) + b"\0"
        )
        if self._size > LIST_MAX:
            raise OSError(f"the names of the changed files take more than {LIST_MAX >> 20} MiB")


def in_image(layers: Sequence[int], name: str) -> os.stat_result | None:
    """What the image has under a name in a directory, given that directory's layers."""
    for layer in layers:
        with contextlib.suppress(*_NOT_THERE):
            found = os.stat(name, dir_fd=layer, follow_symlinks=False)
            return None if is_whiteout(found) else found
    return None


def is_whiteout(found: os.stat_result) -> bool:
    """Whether this is what overlays say "deleted" with."""
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def _opened(layers: Sequence[str]) -> Iterator[int]:
    for layer in layers:
        with contextlib.suppress(*_NOT_THERE):
            yield os.open(layer, FOLDER)


def _descend(layers: Sequence[int], name: str) -> Iterator[int]:
    """The layers of a directory within one, as far down as they are seen."""
    for layer in layers:
        try:
            found = os.stat(name, dir_fd=layer, follow_symlinks=False)
            if not stat.S_ISDIR(found.st_mode):
                return
            below = os.open(name, FOLDER, dir_fd=layer)
        except _NOT_THERE:
            continue
        yield below
        if _has(below, _OPAQUE):
            return


def _has(descriptor: int, names: Sequence[str]) -> bool:
    for name in names:
        with contextlib.suppress(OSError):
            if os.getxattr(descriptor, name) != b"n":
                return True
    return False
