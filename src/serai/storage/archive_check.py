"""Whether an uploaded archive can be unpacked safely; a program of its own.

It reads what strangers made, which may take long and much memory: the server runs it as another
process with limits, and reads one JSON object from its output.
"""

import json
import lzma
import resource
import sys
import tarfile
import zlib
from pathlib import Path, PurePosixPath

UNPACKED_MAX = 16 * 1024**3
ENTRIES_MAX = 200_000
HEADER_MAX = 1024**2
NAME_MAX = 4096
END_MAX = 16 * 1024**2
CPU_SECONDS = 120
MEMORY_BYTES = 1024**3
EXTENSIONS = frozenset(
    {
        tarfile.XHDTYPE,
        tarfile.XGLTYPE,
        tarfile.SOLARIS_XHDTYPE,
        tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_LONGLINK,
    }
)
"""Headers whose content is names and attributes, which are read whole."""


class Unusable(Exception):
    """The archive cannot be read, or not safely unpacked; says why."""


class Header(tarfile.TarInfo):
    """A header that is either right, or the end mark, or an error, and never a huge name."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "Header":
        """Parse a header. Without this, tarfile takes a damaged one for the end."""
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as problem:
            raise tarfile.ReadError(f"cut off or damaged: {problem}") from None
        if header.type in EXTENSIONS and header.size > HEADER_MAX:
            raise tarfile.ReadError(f"a header is larger than {HEADER_MAX} bytes")
        return header


class Seen:
    """What the archive has made of which paths so far."""

    def __init__(self) -> None:
        self.folders: set[PurePosixPath] = set()
        self.files: set[PurePosixPath] = set()
        self.links: set[PurePosixPath] = set()


def check_archive(path: Path, entries_max: int = ENTRIES_MAX) -> int:
    """The size of an archive's files, in bytes, when it is safe to unpack.

    Tar is understood, plain or packed by gzip, bzip2 or xz. Safe means: every name and link stays
    below the directory it is unpacked in, nothing is written through a link, there are no devices,
    and not more than fits.

    Raises:
        Unusable: naming the entry and the rule.
    """
    try:
        with tarfile.open(path, "r:*", tarinfo=Header) as archive:
            total = _check(archive, entries_max)
            _check_end(archive)
            return total
    except (tarfile.TarError, EOFError, OSError, ValueError, ArithmeticError) as problem:
        raise Unusable(f"it cannot be read ({str(problem)[:200]})") from None
    except (zlib.error, lzma.LZMAError):
        raise Unusable("it is damaged") from None


def _check(archive: tarfile.TarFile, entries_max: int) -> int:
    total = number = 0
    seen = Seen()
    while (member := archive.next()) is not None:
        # Members add up in the archive's list, which nothing here reads.
        archive.members.clear()  # type: ignore[attr-defined]
        number += 1
        total += member.size
        if number > entries_max:
            raise Unusable(f"it has more than {entries_max} entries")
        if total > UNPACKED_MAX:
            raise Unusable(f"its files are larger than {UNPACKED_MAX // 1024**3} GiB together")
        _check_member(member, seen)
    if number == 0:
        raise Unusable("it is empty")
    return total


def _check_member(member: tarfile.TarInfo, seen: Seen) -> None:
    shown, path = repr(member.name[:80]), _plain(member.name, member.name)
    if not seen.links.isdisjoint((path, *path.parents)):
        raise Unusable(f"{shown} lies below a link, or replaces one")
    if not seen.files.isdisjoint(path.parents):
        raise Unusable(f"{shown} lies below a file")
    if member.islnk():
        target = _plain(member.linkname, member.name)
        if target not in seen.files or target == path or member.linkname.endswith("/"):
            raise Unusable(f"{shown} is a hard link to something that is no file before it")
    elif not (member.issym() or member.isreg() or member.isdir()):
        raise Unusable(f"{shown} is neither a file, a folder nor a link")
    seen.folders.update(path.parents)
    if member.isdir():
        _add_folder(path, shown, seen)
    else:
        _add_other(member, path, shown, seen)


def _add_folder(path: PurePosixPath, shown: str, seen: Seen) -> None:
    if path in seen.files:
        raise Unusable(f"{shown} is a folder, and was something else before")
    seen.folders.add(path)


def _add_other(member: tarfile.TarInfo, path: PurePosixPath, shown: str, seen: Seen) -> None:
    if not path.parts or member.name.endswith("/"):
        raise Unusable(f"{shown} is no name for a file or a link")
    if path in seen.folders:
        raise Unusable(f"{shown} is a file or a link, and was a folder before")
    seen.files.discard(path)
    if member.issym():
        _inside(str(path.parent / member.linkname), member.name)
        seen.links.add(path)
    else:
        seen.files.add(path)


def _check_end(archive: tarfile.TarFile) -> None:
    """Only zeros follow the last entry; reading them makes packers check what they unpacked."""
    rest = 0
    assert archive.fileobj is not None
    while chunk := archive.fileobj.read(HEADER_MAX):
        rest += len(chunk)
        if rest > END_MAX or chunk.count(0) != len(chunk):
            raise Unusable("something follows its end")


def _plain(text: str, name: str) -> PurePosixPath:
    """The path of an entry, which has no dots in it but for a ``./`` at its beginning.

    Tar readers do not agree on what other dots mean.
    """
    path = _inside(text, name)
    if text.rstrip("/").removeprefix("./") not in {str(path), ""}:
        raise Unusable(f"{name[:80]!r} has a '.', '..' or nothing between two '/'")
    return path


def _inside(text: str, name: str) -> PurePosixPath:
    """The path without dots, when it never leaves the directory it is unpacked in."""
    shown = repr(name[:80])
    if len(text) > NAME_MAX or "\0" in text:
        raise Unusable(f"{shown} has a name of more than {NAME_MAX} characters, or a null in it")
    if text.startswith("/"):
        raise Unusable(f"{shown} has, or links to, an absolute path")
    parts: list[str] = []
    for part in text.split("/"):
        if part == "..":
            if not parts:
                raise Unusable(f"{shown} leads out of the archive")
            parts.pop()
        elif part not in {"", "."}:
            parts.append(part)
    return PurePosixPath(*parts)


def main() -> None:
    """Check the archive that the command line names."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    answer: dict[str, object]
    try:
        answer = {"unpacked": check_archive(Path(sys.argv[1]))}
    except Unusable as problem:
        answer = {"problem": str(problem)}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
