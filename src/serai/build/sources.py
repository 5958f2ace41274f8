"""Uploaded code on disk: received, repacked so that it is safe, and read by builders.

``uploads/<build>`` in the data directory's ``builds`` is what came; it goes when its build ends.
"""

import asyncio
import hashlib
import os
import sys
import tarfile
import tomllib
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from serai.build.failures import BuildFailed
from serai.build.repack import PRIVATE, TOP
from serai.kernel.errors import PayloadTooLarge
from serai.runtime.trees import remove_tree

FILE_MAX = 8 << 20
"""Bytes of a file that is read to find out what to build."""
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW


class Arrived(msgspec.Struct, frozen=True):
    """An upload on disk: where, SHA-256 in hexadecimal, and bytes."""

    path: Path
    digest: str
    size: int


class _Verdict(msgspec.Struct):
    """What ``repack`` says."""

    private: dict[str, str] = {}
    problem: str | None = None
    failure: str | None = None


class Sources:
    """The directory of uploads, and one for each build that goes on."""

    def __init__(self, root: Path, upload_mb: int) -> None:
        self._uploads = root / "uploads"
        self._work = root / "work"
        self._upload_mb = upload_mb

    def prepare(self, wanted: set[str]) -> None:
        """Make the directories; remove what a crash left, and uploads of no build."""
        for folder in (self._uploads, self._work):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self._uploads.iterdir():
            if path.name not in wanted:
                path.unlink()
        for path in self._work.iterdir():
            remove_tree(path)

    async def receive(self, chunks: AsyncIterator[bytes]) -> Arrived:
        """Write an upload to disk, durably, under a name that nothing refers to yet.

        Raises:
            PayloadTooLarge: it is larger than may be.
        """
        path = self._uploads / f"incoming-{os.urandom(8).hex()}"
        digest, size = hashlib.sha256(), 0
        try:
            with os.fdopen(os.open(path, _NEW_FILE, 0o600), "wb") as file:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > self._upload_mb << 20:
                        raise PayloadTooLarge(
                            f"The archive is larger than {self._upload_mb} MiB (build_upload_mb)."
                        )
                    digest.update(chunk)
                    await asyncio.to_thread(file.write, chunk)
                file.flush()
                await asyncio.to_thread(os.fsync, file.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return Arrived(path, digest.hexdigest(), size)

    def keep(self, arrived: Arrived, build: str) -> None:
        """Let an upload be that of a build."""
        arrived.path.replace(self._uploads / build)

    def drop(self, build: str) -> None:
        """Forget the upload of a build, and what was made of it on the way."""
        (self._uploads / build).unlink(missing_ok=True)
        remove_tree(self._work / build)

    async def open(self, build: str) -> "Project":
        """The project that was uploaded.

        Raises:
            BuildFailed: it is no archive, or not safe; names the entry.
        """
        work = self._work / build
        work.mkdir(mode=0o700, exist_ok=True)
        archive = work / "project.tar"
        verdict = await self._repacked(self._uploads / build, archive)
        return await asyncio.to_thread(Project, work, archive, verdict.private)

    async def _repacked(self, source: Path, target: Path) -> _Verdict:
        command = (sys.executable, "-m", "serai.build.repack", str(source), str(target))
        process = await asyncio.create_subprocess_exec(
            *command, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL
        )
        try:
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            raise BuildFailed("the archive is not usable: reading it takes too much time or memory")
        verdict = msgspec.json.decode(output, type=_Verdict)
        if verdict.problem is not None:
            raise BuildFailed(f"the archive is not usable: {verdict.problem}")
        if verdict.failure is not None:
            raise BuildFailed(f"the archive cannot be unpacked: {verdict.failure}")
        return verdict


class Project:
    """A project, all of whose files are in one safe tar file.

    Attributes:
        work: a directory for whatever a build makes on the way.
        archive: the tar file; everything is below ``blaxel/``.
        names: paths of files and links in the project.
        private: files that are for the build alone, by path.
    """

    def __init__(self, work: Path, archive: Path, private: dict[str, str]) -> None:
        self.work = work
        self.archive = archive
        self.private = private
        with tarfile.open(archive) as opened:
            members = {each.name.removeprefix(f"{TOP}/"): each for each in opened.getmembers()}
        self.names = frozenset(name for name, each in members.items() if not each.isdir())
        self._files = {name: each for name, each in members.items() if each.isreg()}

    def read(self, name: str) -> bytes | None:
        """The content of a file; None where there is no such one.

        Raises:
            BuildFailed: it is too large to be what its name says.
        """
        member = self._files.get(name)
        if member is None:
            return None
        if member.size > FILE_MAX:
            raise BuildFailed(f"{name} is larger than {FILE_MAX >> 20} MiB")
        with self.archive.open("rb") as file:
            file.seek(member.offset_data)
            return file.read(member.size)

    def toml(self, name: str) -> dict[str, Any]:
        """A TOML file; empty where there is none.

        Raises:
            BuildFailed: it cannot be read; says where.
        """
        try:
            return tomllib.loads((self.read(name) or b"").decode())
        except (ValueError, RecursionError) as problem:
            raise BuildFailed(f"{name} cannot be read: {problem}") from None

    def json(self, name: str) -> dict[str, Any]:
        """A JSON object; empty where there is none.

        Raises:
            BuildFailed: it cannot be read; says where.
        """
        data = self.read(name)
        try:
            found = msgspec.json.decode(data) if data is not None else {}
        except (msgspec.DecodeError, ValueError, RecursionError) as problem:
            raise BuildFailed(f"{name} cannot be read: {problem}") from None
        if not isinstance(found, dict):
            raise BuildFailed(f"{name} is no JSON object")
        return found

    @property
    def arguments(self) -> dict[str, str]:
        """Values for the build alone: ``KEY=VALUE`` lines of ``.env.build``."""
        lines = self.private.get(PRIVATE[0], "").splitlines()
        pairs = (line.strip().partition("=") for line in lines if not line.lstrip().startswith("#"))
        return {key.strip(): _unquoted(value.strip()) for key, mark, value in pairs if mark and key}

    @property
    def logins(self) -> str:
        """Credentials of registries, as Docker's ``config.json``; empty without."""
        return self.private.get(PRIVATE[1], "")


def _unquoted(value: str) -> str:
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if quoted else value
