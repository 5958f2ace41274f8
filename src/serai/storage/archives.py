"""Uploaded archives: checked before they are kept, and kept by the digest of their content."""

import asyncio
import hashlib
import lzma
import os
import secrets
import tarfile
import zlib
from collections.abc import AsyncIterator
from pathlib import Path, PurePosixPath

import msgspec

from serai.kernel.errors import BadRequest, PayloadTooLarge

ARCHIVE_MAX = 1024**3
UNPACKED_MAX = 16 * 1024**3
ENTRIES_MAX = 200_000
HEADER_MAX = 1024**2
NAME_MAX = 4096
PRIVATE = 0o600
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
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


class Archive(msgspec.Struct, frozen=True):
    """A kept archive: SHA-256 of its bytes in hex, its size, and the size of its files."""

    digest: str
    size: int
    unpacked: int


class Header(tarfile.TarInfo):
    """A header of a tar archive that does not make us read a huge name into memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "Header":
        """Parse a header; its extensions must be small."""
        header = super().frombuf(buf, encoding, errors)
        if header.type in EXTENSIONS and header.size > HEADER_MAX:
            raise tarfile.ReadError(f"a header is larger than {HEADER_MAX} bytes")
        return header


class Archives:
    """The archives below one directory: ``ab/abcdef…`` by digest, ``incoming`` for the rest."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incoming = root / "incoming"

    def prepare(self, wanted: set[str]) -> None:
        """Make the directory; drop what a crash left: half uploads, and archives not ``wanted``."""
        self._incoming.mkdir(mode=0o700, parents=True, exist_ok=True)
        for leftover in self._incoming.iterdir():
            leftover.unlink()
        for kept in self._root.glob("[0-9a-f][0-9a-f]/*"):
            if kept.name not in wanted:
                kept.unlink()

    def path(self, digest: str) -> Path:
        """Where an archive is kept."""
        return self._root / digest[:2] / digest

    def drop(self, digest: str) -> None:
        """Forget an archive."""
        self.path(digest).unlink(missing_ok=True)

    async def receive(self, chunks: AsyncIterator[bytes]) -> "Received":
        """Write an upload to disk and check it.

        Raises:
            PayloadTooLarge: it is larger than ``ARCHIVE_MAX``.
            BadRequest: it is no archive, damaged, or not safe to unpack.
        """
        path = self._incoming / secrets.token_hex(16)
        digest, size = hashlib.sha256(), 0
        try:
            with os.fdopen(os.open(path, NEW_FILE, PRIVATE), "wb") as file:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > ARCHIVE_MAX:
                        raise _too_large()
                    digest.update(chunk)
                    file.write(chunk)
                file.flush()
                await asyncio.to_thread(os.fsync, file.fileno())
            unpacked = await asyncio.to_thread(check_archive, path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return Received(path, Archive(digest.hexdigest(), size, unpacked))

    def keep(self, received: "Received") -> None:
        """Put a checked upload in its place, durably."""
        place = self.path(received.archive.digest)
        place.parent.mkdir(mode=0o700, exist_ok=True)
        received.path.replace(place)
        for directory in (place.parent, self._root):
            _sync(directory)


class Received(msgspec.Struct, frozen=True):
    """A checked upload that is not kept yet."""

    path: Path
    archive: Archive


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _too_large() -> PayloadTooLarge:
    return PayloadTooLarge(f"The archive is larger than {ARCHIVE_MAX // 1024**2} MiB.")


def check_archive(path: Path) -> int:
    """The size of an archive's files, in bytes, when it is safe to unpack.

    Tar is understood, plain or packed by gzip, bzip2 or xz. Safe means: every name and link stays
    below the directory it is unpacked in, nothing is written through a link, there are no devices,
    and not more than fits.

    Raises:
        BadRequest: naming the entry and the rule.
    """
    try:
        with tarfile.open(path, "r:*", tarinfo=Header) as archive:
            return _check(archive)
    except (tarfile.TarError, EOFError, OSError, ValueError, ArithmeticError) as problem:
        raise invalid(f"it cannot be read ({str(problem)[:200]})") from None
    except (zlib.error, lzma.LZMAError):
        raise invalid("it is damaged") from None


def _check(archive: tarfile.TarFile) -> int:
    total = number = 0
    links: set[PurePosixPath] = set()
    while (member := archive.next()) is not None:
        # Members add up in the archive's list, which nothing here reads.
        archive.members.clear()  # type: ignore[attr-defined]
        number += 1
        total += member.size
        if number > ENTRIES_MAX:
            raise invalid(f"it has more than {ENTRIES_MAX} entries")
        if total > UNPACKED_MAX:
            raise invalid(f"its files are larger than {UNPACKED_MAX // 1024**3} GiB together")
        _check_member(member, links)
    if number == 0:
        raise invalid("it is empty")
    return total


def _check_member(member: tarfile.TarInfo, links: set[PurePosixPath]) -> None:
    shown, path = repr(member.name[:80]), _inside(member.name, member.name)
    if not links.isdisjoint(path.parents):
        raise invalid(f"{shown} lies below a link")
    if member.issym():
        _inside(str(path.parent / member.linkname), member.name)
        links.add(path)
    elif member.islnk():
        target = _inside(member.linkname, member.name)
        if not links.isdisjoint({target, *target.parents}):
            raise invalid(f"{shown} is a hard link to or through a link")
    elif member.isreg() or member.isdir():
        links.discard(path)
    else:
        raise invalid(f"{shown} is neither a file, a folder nor a link")


def _inside(text: str, name: str) -> PurePosixPath:
    """The path without dots, when it never leaves the directory it is unpacked in."""
    shown = repr(name[:80])
    if len(text) > NAME_MAX or "\0" in text:
        raise invalid(f"{shown} has a name of more than {NAME_MAX} characters, or a null in it")
    if text.startswith("/"):
        raise invalid(f"{shown} has, or links to, an absolute path")
    parts: list[str] = []
    for part in text.split("/"):
        if part == "..":
            if not parts:
                raise invalid(f"{shown} leads out of the archive")
            parts.pop()
        elif part not in {"", "."}:
            parts.append(part)
    return PurePosixPath(*parts)


def invalid(why: str) -> BadRequest:
    """The answer to an upload that is not kept."""
    return BadRequest(
        f"The upload is not a usable archive: {why}. Send a tar archive of the files.",
        code="INVALID_ARCHIVE",
    )
