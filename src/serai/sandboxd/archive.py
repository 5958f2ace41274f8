"""What goes into an archive of everything the sandbox changed on top of its image.

Which paths may have changed is told from outside (``serai.runtime.changes``); what is there now is
looked up here, where the files are seen as programs in the sandbox see them.
"""

import fnmatch
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import msgspec

from serai import __version__
from serai.kernel.clock import now, rfc3339
from serai.sandboxd.members import PIECE, Member, Seen, content, lstat, made, member
from serai.wire.sandbox_api import ArchiveChange, ArchiveManifest

FOLDER = ".serai-archive"
MANIFEST, PROCESSES = f"{FOLDER}/manifest.json", f"{FOLDER}/processes.json"
EXCLUDES = (
    f"/{FOLDER}",
    "/dev",
    "/proc",
    "/sys",
    "/run",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/machine-id",
    "/etc/resolv.conf",
    "/etc/ssl/certs/ca-certificates.crt",
    "/opt/python",
    "/usr/local/share/ca-certificates/serai-egress.crt",
    "/var/log/sandboxd.log",
)
"""What the platform puts into each sandbox anew, and what is no file."""
END = bytes(1024)
"""Of a tar archive."""


class Planned(msgspec.Struct, frozen=True):
    """A file to be archived, and the bytes it takes there."""

    path: bytes
    length: int


class Archive(msgspec.Struct, kw_only=True):
    """An archive that can be written: its size in bytes is exact."""

    manifest: ArchiveManifest
    changes: list[ArchiveChange]
    first: list[Member]
    files: list[Planned]
    size: int

    def pieces(self) -> Iterator[bytes]:
        """All of it, in pieces of about 256 KiB.

        Raises:
            OSError: a file is not any more what it was when the archive was planned.
        """
        held = bytearray()
        for data in self._stream():
            held += data
            if len(held) >= PIECE:
                yield bytes(held)
                held.clear()
        yield bytes(held + END)

    def _stream(self) -> Iterator[bytes]:
        for each in self.first:
            yield from content(each)
        seen = Seen({})
        for planned in self.files:
            found = lstat(planned.path)
            one = member(planned.path, found, seen) if found is not None else None
            if one is None or one.length != planned.length:
                raise OSError("a file changed while it was archived")
            yield from content(one)


class _Census:
    """Looks at each path, and keeps what an archive of them holds."""

    def __init__(self) -> None:
        self.changes: list[ArchiveChange] = []
        self.files: list[Planned] = []
        self.deleted: list[str] = []
        self.payload = 0
        self._seen = Seen({})

    def look(self, path: bytes, *, in_image: bool) -> None:
        """Note what became of a path."""
        found = lstat(path)
        if found is None:
            if in_image:
                self.deleted.append(_text(path))
                self.changes.append(ArchiveChange(kind="deleted", path=_text(path)))
            return
        one = member(path, found, self._seen)
        if one is None:
            return
        self.files.append(Planned(path, one.length))
        size = found.st_size if one.size or one.parts else 0
        self.payload += size
        kind: Literal["modified", "added"] = "modified" if in_image else "added"
        self.changes.append(ArchiveChange(kind=kind, path=_text(path), size=size))


def plan(records: bytes, excludes: Sequence[str], processes: bytes | None) -> Archive:
    """Look at every path that may have changed.

    Args:
        records: see ``serai.runtime.changes``.
        excludes: paths, with all below them, or patterns of such, to leave out.
        processes: the process list as JSON; None to archive none.

    Raises:
        OSError: a file cannot be read.
    """
    left_out = [*EXCLUDES, *excludes]
    is_out = _matcher([*left_out, *_mounts()])
    paths: dict[bytes, bool] = {}
    for record in records.split(b"\0")[:-1]:
        if not is_out(record[1:]):
            paths[record[1:]] = record[:1] == b"i"
    census = _Census()
    hidden = b"\0"
    for path in sorted(paths):
        if path.startswith(hidden):
            continue  # below something deleted, which is said once
        count = len(census.deleted)
        census.look(path, in_image=paths[path])
        if len(census.deleted) > count:
            hidden = path + b"/"
    return _put_together(census, left_out, processes)


def _put_together(census: _Census, excludes: list[str], processes: bytes | None) -> Archive:
    kinds = [change.kind for change in census.changes]
    manifest = ArchiveManifest(
        version=1,
        created_at=rfc3339(now()),
        root="/",
        api_version=f"v{__version__}",
        added=kinds.count("added"),
        modified=kinds.count("modified"),
        deleted=census.deleted,
        excludes=excludes,
        payload_bytes=census.payload,
        processes=processes is not None,
    )
    moment = int(time.time())
    first = [made(MANIFEST, msgspec.json.encode(manifest), moment)]
    if processes is not None:
        first.append(made(PROCESSES, processes, moment))
    size = sum(each.length for each in first) + sum(each.length for each in census.files)
    return Archive(
        manifest=manifest,
        changes=census.changes,
        first=first,
        files=census.files,
        size=size + len(END),
    )


def _matcher(excludes: Sequence[str]) -> Callable[[bytes], bool]:
    """Whether a path, or something above it, is one of these; ``*`` stands for anything."""
    patterns = [fnmatch.translate(each.strip("/")) for each in excludes if each.strip("/")]
    found = re.compile("|".join(f"(?:{pattern})" for pattern in patterns) or r"(?!)")

    def matches(path: bytes) -> bool:
        text = os.fsdecode(path)
        end = len(text)
        while end > 0:
            if found.match(text[:end]):
                return True
            end = text.rfind("/", 0, end)
        return False

    return matches


def _mounts() -> list[str]:
    """Where other things than the sandbox's own files are seen: volumes, drives, and the like."""
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            place = before.split(" ")[4]
            if place != "/" and not after.startswith("overlay "):
                plain = re.sub(r"\\(\d{3})", lambda found: chr(int(found[1], 8)), place)
                found.append("".join(f"[{c}]" if c in "*?[" else c for c in plain))
    return found


def _text(path: bytes) -> str:
    """A path for people and JSON, in which bytes that are no text are escaped."""
    return path.decode("utf-8", "backslashreplace")
