"""Uploaded archives: checked before they are kept, and kept by the digest of their content."""

import asyncio
import hashlib
import os
import secrets
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from serai.kernel.errors import BadRequest, PayloadTooLarge

ARCHIVE_MAX = 1024**3
CHECKS_AT_ONCE = 2
PRIVATE = 0o600
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class Archive(msgspec.Struct, frozen=True):
    """A kept archive: SHA-256 of its bytes in hex, its size, and the size of its files."""

    digest: str
    size: int
    unpacked: int


class Archives:
    """The archives below one directory: ``ab/abcdef…`` by digest, ``incoming`` for the rest."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incoming = root / "incoming"
        self._checks = asyncio.Semaphore(CHECKS_AT_ONCE)

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
            async with self._checks:
                unpacked = await check(path)
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


class Verdict(msgspec.Struct):
    """What ``archive_check`` says: the size of the files in bytes, or what is wrong."""

    unpacked: int = 0
    problem: str | None = None


async def check(path: Path) -> int:
    """The size of an archive's files, in bytes, when it is safe to unpack.

    Raises:
        BadRequest: it is not, or cannot be read within limits.
    """
    command = (sys.executable, "-m", "serai.storage.archive_check", str(path))
    process = await asyncio.create_subprocess_exec(
        *command, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL
    )
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        raise
    if process.returncode != 0:
        raise invalid("reading it takes too much time or memory")
    verdict = msgspec.json.decode(output, type=Verdict)
    if verdict.problem is not None:
        raise invalid(verdict.problem)
    return verdict.unpacked


def invalid(why: str) -> BadRequest:
    """The answer to an upload that is not kept."""
    return BadRequest(
        f"The upload is not a usable archive: {why}. Send a tar archive of the files.",
        code="INVALID_ARCHIVE",
    )
