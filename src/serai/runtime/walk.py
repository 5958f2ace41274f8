"""Walking a tree that untrusted code wrote, however deep it is, without ever following a link."""

import errno
import os
from collections.abc import Iterator
from typing import Literal

import msgspec

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
SOURCE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOATIME


class Step(msgspec.Struct, frozen=True):
    """Where a walk has come.

    Attributes:
        what: at an ``entry`` that is no directory, or about to ``enter`` or ``leave`` one.
        folder: descriptor of the directory that holds the entry, or that is entered or left.
        name: of the entry, or of the directory that is entered.
        found: its attributes.
    """

    what: Literal["entry", "enter", "leave"]
    folder: int
    name: str
    found: os.stat_result


class _Level(msgspec.Struct):
    """A directory on the way down, and the names of those in it that are still to do."""

    found: os.stat_result
    folders: list[str]


def walk(top: int) -> Iterator[Step]:
    """Everything below the directory ``top``; its own attributes come with the last step.

    Nobody may change the tree meanwhile. Descriptors are good until the next step.

    Raises:
        OSError: something cannot be read, or the tree did change.
    """
    folder = os.dup(top)
    try:
        levels = [_Level(os.fstat(folder), [])]
        yield from _entries(folder, levels[-1])
        while levels:
            level = levels[-1]
            if level.folders:
                name = level.folders.pop()
                folder = move(folder, name)
                levels.append(_Level(os.fstat(folder), []))
                yield Step("enter", folder, name, levels[-1].found)
                yield from _entries(folder, levels[-1])
                continue
            yield Step("leave", folder, "", level.found)
            levels.pop()
            if levels:
                folder = move(folder, "..")
                if not os.path.samestat(os.fstat(folder), levels[-1].found):
                    raise OSError(errno.ESTALE, "the tree changed while it was read")
    finally:
        os.close(folder)


def _entries(folder: int, level: _Level) -> Iterator[Step]:
    """Everything in a directory but the directories, whose names go to ``level``."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                level.folders.append(entry.name)
            else:
                yield Step("entry", folder, entry.name, entry.stat(follow_symlinks=False))


def move(folder: int, name: str) -> int:
    """Open a directory in ``folder``, which is closed."""
    below = os.open(name, FOLDER, dir_fd=folder)
    os.close(folder)
    return below


def data_ranges(descriptor: int, found: os.stat_result) -> Iterator[tuple[int, int]]:
    """The parts of a file that are no holes."""
    if found.st_blocks * 512 >= found.st_size:
        yield from [(0, found.st_size)] if found.st_size else []
        return
    end = 0
    while end < found.st_size:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        end = min(os.lseek(descriptor, start, os.SEEK_HOLE), found.st_size)
        yield start, end
