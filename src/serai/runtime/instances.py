"""Sandboxes of data directories that are gone: found, and ended.

A suspended sandbox has no server and needs none; when its data directory is deleted, nobody would
ever end it. So each data directory that has run sandboxes is noted in a directory of this boot
(``/run``), with what tells it from any other: only what is certainly gone is ended, never what
another instance may come back to, or what lies on a disk that is not mounted now.
"""

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
import structlog

from serai.runtime import cgroups, processes
from serai.runtime.messages import Hierarchy

log = structlog.get_logger(__name__)


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """A data directory in use.

    Attributes:
        data_dir: its path.
        device: of its file system, which must be the one that is seen where it was.
        root: device and inode of ``/``: in a container the same path means something else.
        boot: the kernel's boot id; what runs ends with it.
        pid, started: the server process, by its start time.
        groups: parents of its sandboxes' control groups.
    """

    data_dir: str
    device: int
    root: tuple[int, int]
    boot: str
    pid: int
    started: int
    groups: tuple[str, ...]


class Orphans(msgspec.Struct, frozen=True, kw_only=True):
    """What is left of a data directory that is gone."""

    data_dir: str
    sandboxes: int
    groups: tuple[str, ...]
    note: str


def note(data_dir: Path, key: str, hierarchies: Iterable[Hierarchy]) -> None:
    """Write down that this process runs sandboxes of a data directory."""
    written = Note(
        data_dir=str(data_dir),
        device=data_dir.stat().st_dev,
        root=_root(),
        boot=processes.boot_id(),
        pid=os.getpid(),
        started=processes.start_time(os.getpid()) or 0,
        groups=tuple(each.parent for each in hierarchies),
    )
    folder = _folder()
    if folder is None:
        return
    draft = folder / f"{key}.new"
    draft.write_bytes(msgspec.json.encode(written))
    draft.rename(folder / f"{key}.json")


def forget(key: str, hierarchies: Sequence[Hierarchy]) -> None:
    """The server of a data directory stops; unless sandboxes go on, nothing is left to find."""
    cgroups.forget(hierarchies)
    folder = _folder()
    if folder is not None and not any(Path(each.parent).exists() for each in hierarchies):
        (folder / f"{key}.json").unlink(missing_ok=True)


def orphans() -> Iterator[Orphans]:
    """What nobody will ever come back to."""
    folder = _folder()
    for path in sorted(folder.glob("*.json")) if folder is not None else ():
        try:
            found = msgspec.json.decode(path.read_bytes(), type=Note)
        except (OSError, msgspec.DecodeError):
            continue
        if not _is_gone(found):
            continue
        groups = tuple(group for group in found.groups if Path(group).is_dir())
        ids = {child.name for group in groups for child in _children(Path(group))}
        yield Orphans(data_dir=found.data_dir, sandboxes=len(ids), groups=groups, note=str(path))


def end_orphans() -> int:
    """End what is left of data directories that are gone; how many sandboxes that were."""
    ended = 0
    for each in list(orphans()):
        try:
            _end(each)
        except OSError as problem:
            log.warning("orphans_stay", data_dir=each.data_dir, reason=str(problem))
            continue
        ended += each.sandboxes
        if each.sandboxes:
            log.warning("orphans_ended", data_dir=each.data_dir, sandboxes=each.sandboxes)
    return ended


def _end(found: Orphans) -> None:
    """Their mounts and loop devices go with the last process that sees them."""
    groups = [child for group in found.groups for child in _children(Path(group))]
    for group in groups:  # all first: what is frozen in one hierarchy does not end in another
        cgroups.kill_all(group)
    for group in groups:
        for inner in sorted(group.rglob("*/"), key=lambda path: -len(path.parts)):
            cgroups.remove(inner)
        cgroups.remove(group)
    for parent in found.groups:
        with contextlib.suppress(FileNotFoundError):
            Path(parent).rmdir()
    Path(found.note).unlink(missing_ok=True)


def _is_gone(found: Note) -> bool:
    """Whether a data directory was deleted, as far as can be known for certain."""
    if found.boot != processes.boot_id():
        return True  # with all that ran
    if found.root != _root() or processes.start_time(found.pid) == found.started:
        return False
    path = Path(found.data_dir)
    try:
        path.lstat()
    except FileNotFoundError:
        pass
    except OSError:
        return False
    else:
        return False
    while not path.exists():
        path = path.parent
    return path.stat().st_dev == found.device  # else its disk may only not be mounted


def _children(group: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return [path for path in group.iterdir() if path.is_dir()]
    return []


def _root() -> tuple[int, int]:
    found = os.stat("/")
    return found.st_dev, found.st_ino


def _folder() -> Path | None:
    """Where notes are kept until the next boot, if there is such a place of ours."""
    base = Path("/run") if os.access("/run", os.W_OK) else Path("/tmp")  # noqa: S108
    folder = base / f"serai-{os.geteuid()}-instances"
    try:
        folder.mkdir(exist_ok=True, mode=0o700)
        found = folder.lstat()
    except OSError:
        return None
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    return folder if ours and not found.st_mode & 0o077 else None
