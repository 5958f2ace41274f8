"""Finds what only some users of the host may read in its system directories.

Reading ``/usr`` takes seconds when it is not in memory, so this runs as a process of its own
(``main``), which holds up nobody and can be ended at any time.
"""

import contextlib
import os
import signal
import stat
import sys
from collections.abc import Collection
from pathlib import Path

import msgspec

from serai.runtime import linux

_MOST = 20_000
_DEEPEST = 100
_POLITE = 10
"""A tenth of what others get: on a busy machine, less would take too long to notice anything."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What to read, and how.

    Attributes:
        directories: paths below such a directory not to look at, by the directory's name in
            ``/``.
        as_mounted: look at a copy of the mount, which shows what a sandbox would see: nothing
            of the mounts below it, but what they cover. Needs the host's root; otherwise, what
            we see ourselves is looked at.
        polite: leave the processors to everyone else.
    """

    directories: dict[str, tuple[str, ...]]
    as_mounted: bool
    polite: bool


class Found(msgspec.Struct, frozen=True):
    """Private paths, relative to the directory in ``/`` whose name they are listed under."""

    paths: dict[str, list[bytes]]


def main(request: str) -> None:
    """Answer a Request, in JSON, with a Found, in JSON, on standard output."""
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)  # else it would go on for nobody
    asked = msgspec.json.decode(request, type=Request)
    if asked.polite:
        _step_back()
    paths = {}
    for name, known in asked.directories.items():
        top = _open(f"/{name}", as_mounted=asked.as_mounted)
        paths[name] = [os.fsencode(path) for path in private_below(top, known)]
        os.close(top)
    sys.stdout.buffer.write(msgspec.json.encode(Found(paths)))


def _step_back() -> None:
    """Leave the processors to others; sessions are weighed as a whole, where autogroups are on."""
    os.nice(_POLITE)
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(_POLITE))


def _open(path: str, *, as_mounted: bool) -> int:
    if as_mounted:
        return linux.clone_mount(path)
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def private_below(top: int, known: Collection[str] = (), most: int = _MOST) -> list[str]:
    """Sorted paths below the directory ``top`` that not everyone may read; no path's parent.

    Links are not followed. A directory is named as a whole if others may not read or enter it,
    if it cannot be read now, if it is deep beyond reason, or if more than ``most`` paths would
    be named with its own ones.
    """
    found: list[str] = []
    pending = [""]
    while pending:
        folder = pending.pop()
        try:
            private, deeper = _look(top, folder, known)
        except (FileNotFoundError, NotADirectoryError):
            if not folder:
                raise
            continue
        except OSError:
            if not folder:
                raise
            private, deeper = [folder], []
        if folder and (len(found) + len(private) > most or folder.count("/") > _DEEPEST):
            private, deeper = ([folder] if private or deeper else []), []
        found += private
        pending += deeper
    return sorted(found)


def _look(top: int, folder: str, known: Collection[str]) -> tuple[list[str], list[str]]:
    """The private entries of one directory, and the directories to look at next."""
    private, deeper = [], []
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(folder or ".", flags, dir_fd=top)
    try:
        with os.scandir(descriptor) as entries:
            for entry in entries:
                path = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_symlink() or path in known:
                    continue
                if not _is_public(entry):
                    private.append(path)
                elif entry.is_dir(follow_symlinks=False):
                    deeper.append(path)
    finally:
        os.close(descriptor)
    return private, deeper


def _is_public(entry: "os.DirEntry[str]") -> bool:
    try:
        mode = entry.stat(follow_symlinks=False).st_mode
    except FileNotFoundError:
        return True
    needed = stat.S_IROTH | stat.S_IXOTH if stat.S_ISDIR(mode) else stat.S_IROTH
    return mode & needed == needed
