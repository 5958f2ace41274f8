"""From an uploaded archive to one that is safe to unpack anywhere; a program of its own.

It reads what strangers made, which may take long and much memory: the server runs it as another
process with limits, and reads one JSON object from its output. Nothing is ever unpacked on the
host: what comes out is a tar file of plain files, folders and links that stay within it, with
everything below one folder, without owners, times before 1980, or special permissions.
"""

import calendar
import io
import json
import lzma
import posixpath
import resource
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from serai.storage.archive_check import Header, Unusable, check_archive

TOP = "blaxel"
"""The folder that everything is below: where a project lies in its image."""
PRIVATE = (".env.build", ".docker/config.json")
"""What is for the build alone: values, and credentials of registries."""
PRIVATE_MAX = 1 << 20
TOTAL_MAX = 8 << 30
FREE_RATIO_BYTES = 64 << 20
RATIO_MAX = 200
ENTRIES_MAX = 100_000
NAME_MAX, PART_MAX, DEPTH_MAX, LINK_MAX = 4096, 255, 64, 4096
CPU_SECONDS = 300
MEMORY_BYTES = 2 << 30
STEERING = frozenset(
    {
        *PRIVATE,
        ".npmrc",
        "blaxel.toml",
        "containerfile",
        "dockerfile",
        "package-lock.json",
        "package.json",
        "pnpm-lock.yaml",
        "pyproject.toml",
        "requirements.txt",
        "uv.lock",
        "yarn.lock",
    }
)
"""Files that decide what is built: there may be one spelling of each, whatever the case."""
LEFT_OUT = frozenset({".git", ".venv", "node_modules", "venv"})
"""Folders at the top that are made anew by a build without a Dockerfile."""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_OLDEST = 315532800
_PIECE = 1 << 20


class Entry(NamedTuple):
    """A file, folder or link; ``content`` opens a file, ``target`` is a link's."""

    name: str
    kind: str
    mode: int
    mtime: float
    size: int = 0
    target: str = ""
    content: Callable[[], IO[bytes]] | None = None


class Tree:
    """The entries of an archive by their names, checked one by one; the last of a name counts."""

    def __init__(self, archive_bytes: int) -> None:
        self.entries: dict[str, Entry] = {}
        self._folded: dict[str, str] = {}
        self._total = 0
        self._count = 0
        self._most = max(FREE_RATIO_BYTES, RATIO_MAX * archive_bytes)

    def add(self, entry: Entry) -> None:
        """Take an entry, whose name is as the archive has it.

        Raises:
            Unusable: naming it and the rule.
        """
        self._count += 1
        if self._count > ENTRIES_MAX:
            raise Unusable(f"it has more than {ENTRIES_MAX} entries")
        name = checked_name(entry.name)
        shown = repr(entry.name[:80])
        self._account(entry, shown)
        if not name:
            if entry.kind != "folder":
                raise Unusable(f"{shown} is no name for a file or a link")
            return
        self._check_spelling(name)
        known = self.entries.get(name)
        if known is not None and known.kind != entry.kind:
            raise Unusable(f"{shown} is a {entry.kind}, and was a {known.kind} before")
        if entry.kind == "link":
            _check_target(name, entry.target)
        self.entries.pop(name, None)  # so that they stay in the order of the archive
        self.entries[name] = entry._replace(name=name)

    def _account(self, entry: Entry, shown: str) -> None:
        self._total += entry.size
        if self._total > TOTAL_MAX:
            raise Unusable(f"its files are larger than {TOTAL_MAX >> 30} GiB together, at {shown}")
        if self._total > self._most:
            raise Unusable(
                f"its files are more than {RATIO_MAX} times as large as the archive, at {shown}: "
                "it looks like a bomb"
            )

    def _check_spelling(self, name: str) -> None:
        folded = name.casefold()
        if folded in STEERING and self._folded.setdefault(folded, name) != name:
            raise Unusable(
                f"{name!r} and {self._folded[folded]!r} differ in case alone: keep one of them"
            )

    def finish(self) -> list[Entry]:
        """All entries, in the order of the archive.

        Raises:
            Unusable: something lies below a file or a link, or nothing is there.
        """
        if not self.entries:
            raise Unusable("it is empty")
        for name, entry in self.entries.items():
            above = posixpath.dirname(name)
            while above:
                found = self.entries.get(above)
                if found is not None and found.kind != "folder":
                    raise Unusable(f"{entry.name[:80]!r} lies below a {found.kind}")
                above = posixpath.dirname(above)
        return list(self.entries.values())


def checked_name(text: str) -> str:
    """The path of an entry; empty for the folder that the archive stands for.

    Raises:
        Unusable: it is absolute, leads upwards, or cannot be a path.
    """
    shown = repr(text[:80])
    if text.startswith("/"):
        raise Unusable(f"{shown} has an absolute path")
    if "\\" in text:
        raise Unusable(f"{shown} has a backslash: make the archive with '/' between folders")
    if len(text.encode(errors="surrogateescape")) > NAME_MAX:
        raise Unusable(f"{shown} has a name of more than {NAME_MAX} bytes")
    if not text.isprintable():
        raise Unusable(f"{shown} has a name with characters that cannot be printed")
    parts = [part for part in text.removeprefix("./").rstrip("/").split("/") if part != ""]
    if any(part in {".", ".."} for part in parts) and text.rstrip("/") not in {".", ""}:
        raise Unusable(f"{shown} leads out of the archive, or has a '.' or '..' in it")
    if len(parts) > DEPTH_MAX:
        raise Unusable(f"{shown} lies more than {DEPTH_MAX} folders deep")
    if any(len(part.encode()) > PART_MAX for part in parts):
        raise Unusable(f"{shown} has a name of more than {PART_MAX} bytes")
    return "" if parts in ([], ["."]) else "/".join(parts)


def _check_target(name: str, target: str) -> None:
    shown = repr(name[:80])
    if not target or len(target) > LINK_MAX or not target.isprintable():
        raise Unusable(f"{shown} is a link to no path")
    end = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
    if target.startswith("/") or end == ".." or end.startswith("../"):
        raise Unusable(f"{shown} links to {target[:80]!r}, outside of the archive")
    parts = [part for part in target.split("/") if part not in {"", "."}]
    ups = next((number for number, part in enumerate(parts) if part != ".."), len(parts))
    if ".." in parts[ups:]:  # what comes before may be a link, and lead elsewhere than it seems
        raise Unusable(f"{shown} links to {target[:80]!r}: '..' may only stand at its beginning")


def zip_entries(path: Path) -> Iterator[Entry]:
    """The entries of a zip file.

    Raises:
        Unusable: it is damaged, encrypted, overlaps itself, or holds something special.
    """
    archive = zipfile.ZipFile(path)
    infos = archive.infolist()
    _check_overlaps(infos, path.stat().st_size)
    for info in infos:
        yield _zip_entry(archive, info)


def _zip_entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Entry:
    shown = repr(info.orig_filename[:80])
    if "\0" in info.orig_filename:
        raise Unusable(f"{shown} has a null in its name")
    if info.flag_bits & 1:
        raise Unusable(f"{shown} is encrypted")
    if info.compress_type not in _METHODS:
        raise Unusable(f"{shown} is packed by method {info.compress_type}, which is not known")
    mode, mtime = info.external_attr >> 16, _moment(info)
    form = stat.S_IFMT(mode)
    if info.is_dir():
        return Entry(info.filename, "folder", 0o755, mtime)
    if form == stat.S_IFLNK:
        if info.file_size > LINK_MAX:
            raise Unusable(f"{shown} is a link to no path")
        target = archive.read(info).decode(errors="surrogateescape")
        return Entry(info.filename, "link", 0o777, mtime, target=target)
    if form not in {0, stat.S_IFREG}:
        raise Unusable(f"{shown} is neither a file, a folder nor a link")
    plain = 0o755 if mode & 0o111 else 0o644
    return Entry(
        info.filename, "file", plain, mtime, info.file_size, content=lambda: archive.open(info)
    )


def _check_overlaps(infos: list[zipfile.ZipInfo], size: int) -> None:
    """Two entries must not share bytes: a small file could hold a huge one many times."""
    end, before = 0, ""
    for info in sorted(infos, key=lambda each: each.header_offset):
        if info.header_offset < end or info.header_offset + info.compress_size > size:
            raise Unusable(f"{info.filename[:80]!r} and {before[:80]!r} overlap in the archive")
        end, before = info.header_offset + 30 + info.compress_size, info.filename


def _moment(info: zipfile.ZipInfo) -> float:
    return max(float(calendar.timegm((*info.date_time, 0, 0, 0))), _OLDEST)


def tar_entries(path: Path) -> Iterator[Entry]:
    """The entries of a tar file, plain or packed.

    Raises:
        Unusable: it is damaged, or not safe to unpack.
    """
    check_archive(path, ENTRIES_MAX)
    archive = tarfile.open(path, "r:*", tarinfo=Header)  # noqa: SIM115
    for member in archive:
        mtime = min(max(float(member.mtime), _OLDEST), float(1 << 33))
        plain = 0o755 if member.mode & 0o111 else 0o644
        if member.isdir():
            yield Entry(member.name, "folder", 0o755, mtime)
        elif member.issym():
            yield Entry(member.name, "link", 0o777, mtime, target=member.linkname)
        else:
            real = archive._find_link_target(member) if member.islnk() else member  # type: ignore[attr-defined]
            yield Entry(
                member.name, "file", plain, mtime, real.size, content=_member(archive, real)
            )


def _member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Callable[[], IO[bytes]]:
    def opened() -> IO[bytes]:
        found = archive.extractfile(member)
        assert found is not None
        return found

    return opened


def entries_of(path: Path) -> Iterator[Entry]:
    """The entries of an archive of any known kind.

    Raises:
        Unusable: it is none, or not acceptable.
    """
    with path.open("rb") as file:
        magic = file.read(4)
    if magic == b"PK\x05\x06":
        raise Unusable("it is empty")
    if magic == b"PK\x03\x04":
        return zip_entries(path)
    return tar_entries(_without_zstd(path) if magic == b"\x28\xb5\x2f\xfd" else path)


def _without_zstd(path: Path) -> Path:
    """The tar file in one that is packed by zstd, which is beside it for as long as we run."""
    program = shutil.which("zstd")
    if program is None:
        raise Unusable("it is packed by zstd, and this machine has no program zstd; use gzip")
    plain = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115
    most = max(FREE_RATIO_BYTES, RATIO_MAX * path.stat().st_size) + ENTRIES_MAX * 1024
    with path.open("rb") as source:
        command = [program, "-dcq", "--memory=128MB"]
        process = subprocess.Popen(command, stdin=source, stdout=subprocess.PIPE)
        assert process.stdout is not None
        size = 0
        while data := process.stdout.read(_PIECE):
            size += len(data)
            if size > most:
                process.kill()
                raise Unusable(f"it is more than {RATIO_MAX} times as large once it is unpacked")
            plain.write(data)
        if process.wait() != 0:
            raise Unusable("it is damaged: zstd cannot unpack it")
    plain.flush()
    _open_for_good.append(plain)
    return Path(f"/proc/self/fd/{plain.fileno()}")


_open_for_good: list[IO[bytes]] = []
"""Files that are read until the program ends."""


def repack(source: Path, target: Path) -> dict[str, object]:
    """Write ``target``; answers its entries and bytes, and what is private to the build.

    Raises:
        Unusable: naming the entry and the rule.
    """
    try:
        tree = Tree(source.stat().st_size)
        for entry in entries_of(source):
            tree.add(entry)
        entries = tree.finish()
        private = {name: _private(tree.entries[name]) for name in PRIVATE if name in tree.entries}
        names = {entry.name for entry in entries}
        whole = bool(names & {"Dockerfile", "Containerfile", "oci-layout"})
        kept = [each for each in entries if _is_kept(each.name, whole=whole)]
        with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
            size = sum(_write(archive, each) for each in kept)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, ValueError, NotImplementedError) as e:
        raise Unusable(f"it cannot be read ({str(e)[:200]})") from None
    except (zlib.error, lzma.LZMAError):
        raise Unusable("it is damaged") from None
    return {"entries": len(kept), "size": size, "private": private}


def _is_kept(name: str, *, whole: bool) -> bool:
    top = name.partition("/")[0]
    return name not in PRIVATE and top != ".docker" and (whole or top not in LEFT_OUT)


def _private(entry: Entry) -> str:
    if entry.content is None or entry.size > PRIVATE_MAX:
        raise Unusable(f"{entry.name!r} is no file of less than {PRIVATE_MAX >> 20} MiB")
    with entry.content() as file:
        return file.read(PRIVATE_MAX).decode(errors="replace")


def _write(archive: tarfile.TarFile, entry: Entry) -> int:
    info = tarfile.TarInfo(f"{TOP}/{entry.name}")
    info.mode, info.mtime = entry.mode, int(entry.mtime)
    if entry.kind == "folder":
        info.type = tarfile.DIRTYPE
        archive.addfile(info)
    elif entry.kind == "link":
        info.type, info.linkname = tarfile.SYMTYPE, entry.target
        archive.addfile(info)
    else:
        assert entry.content is not None
        info.size = entry.size
        with entry.content() as file:
            archive.addfile(info, io.BufferedReader(_Exact(file, entry), _PIECE))
    return entry.size


class _Exact(io.RawIOBase):
    """A file that is as long as it was said to be, or an error."""

    def __init__(self, file: IO[bytes], entry: Entry) -> None:
        super().__init__()
        self._file, self._left, self._name = file, entry.size, entry.name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._file.read(min(len(buffer), self._left)) if self._left else b""
        if not data and self._left:
            raise Unusable(f"{self._name[:80]!r} ends too early")
        buffer[: len(data)] = data
        self._left -= len(data)
        if not self._left and self._file.read(1):
            raise Unusable(f"{self._name[:80]!r} is longer than it says")
        return len(data)


def main() -> None:
    """Repack the archive that the command line names into its second argument."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    answer: dict[str, object]
    try:
        answer = repack(Path(sys.argv[1]), Path(sys.argv[2]))
    except Unusable as problem:
        answer = {"problem": str(problem)}
    except OSError as problem:
        answer = {"failure": problem.strerror or str(problem)}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
