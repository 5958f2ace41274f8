"""Upload sessions: parts on disk until they are put together.

A session is a directory with ``session.json`` and one file per part, named by number and MD5.
What is there is the whole state, so parts may arrive in parallel and a restart loses nothing.
"""

import hashlib
import os
import re
import time

import msgspec

from serai.kernel.clock import now, rfc3339
from serai.kernel.errors import BadRequest, NotFound
from serai.kernel.ids import new_uuid, token
from serai.sandboxd.drafts import Draft
from serai.sandboxd.errors import refused
from serai.sandboxd.removal import remove_tree
from serai.wire.sandbox_files import PartAnswer, PartReference, Upload, UploadedPart

MOST_PARTS = 10_000
_ID = re.compile(r"[0-9a-f-]{36}")
_PART = re.compile(r"(\d+)-([0-9a-f]{32})")


class Uploads:
    """All upload sessions of the sandbox, kept under ``root``."""

    def __init__(self, root: str) -> None:
        self.root = root

    def _directory(self, upload_id: str) -> str:
        path = os.path.join(self.root, upload_id)
        if not _ID.fullmatch(upload_id) or not os.path.isfile(os.path.join(path, "session.json")):
            raise NotFound(f"upload not found: {upload_id}")
        return path

    def initiate(self, path: str, mode: int) -> Upload:
        """Open a session for the file ``path`` (absolute)."""
        upload = Upload(
            upload_id=new_uuid(),
            path=path,
            permissions=mode,
            initiated_at=rfc3339(now()),
            parts={},
        )
        directory = os.path.join(self.root, upload.upload_id)
        try:
            os.makedirs(directory, 0o700)
            temporary = os.path.join(directory, "session.tmp")
            with open(temporary, "wb") as file:
                file.write(msgspec.json.encode(upload))
            os.rename(temporary, os.path.join(directory, "session.json"))
        except OSError as error:
            raise refused("error starting upload", "mkdir", directory, error) from error
        return upload

    def load(self, upload_id: str) -> Upload:
        """A session with its parts.

        Raises:
            NotFound: when there is none.
        """
        directory = self._directory(upload_id)
        with open(os.path.join(directory, "session.json"), "rb") as file:
            upload = msgspec.json.decode(file.read(), type=Upload)
        upload.parts = {str(p.part_number): p for p in _parts(directory)}
        return upload

    def everything(self) -> list[Upload]:
        """All open sessions, oldest first."""
        found = []
        for name in os.listdir(self.root) if os.path.isdir(self.root) else []:
            try:
                found.append(self.load(name))
            except (NotFound, OSError, msgspec.DecodeError):
                continue  # it ended meanwhile, or never came to be
        return sorted(found, key=lambda upload: upload.initiated_at)

    def part(self, upload_id: str, number: int) -> "PartDraft":
        """Begin to store a part; an earlier one of that number is replaced."""
        return PartDraft(self._directory(upload_id), number)

    def complete(self, upload_id: str, wanted: list[PartReference]) -> str:
        """Put parts together in order of their numbers and close the session; the file's path.

        Raises:
            NotFound: when there is no such session.
            BadRequest: when a part is missing or differs from its etag.
        """
        upload = self.load(upload_id)
        directory = self._directory(upload_id)
        if not wanted:
            raise BadRequest("parts: at least one part is required")
        names = [_check(upload, reference) for reference in wanted]
        draft = Draft(upload.path, upload.permissions)
        try:
            for _, name in sorted(names):
                _copy(os.path.join(directory, name), draft)
            draft.commit()
        finally:
            draft.discard()
        remove_tree(directory)
        return upload.path

    def abort(self, upload_id: str) -> None:
        """Throw a session away."""
        directory = self._directory(upload_id)
        try:
            remove_tree(directory)
        except OSError as error:
            raise refused("error aborting upload", "remove", directory, error) from error


def _check(upload: Upload, reference: PartReference) -> tuple[int, str]:
    number = reference.part_number
    part = upload.parts.get(str(number))
    if part is None:
        raise BadRequest(f"parts: part {number} not found")
    if reference.etag and reference.etag.strip('"') != part.etag:
        raise BadRequest(f"parts: etag mismatch for part {number}")
    return number, f"{number}-{part.etag}"


def _copy(source: str, draft: Draft) -> None:
    try:
        with open(source, "rb") as file:
            draft.append(file.fileno())
    except OSError as error:
        raise refused("error reading part", "open", source, error) from error


def _parts(directory: str) -> list[UploadedPart]:
    found: dict[int, UploadedPart] = {}
    with os.scandir(directory) as entries:
        for entry in entries:
            match = _PART.fullmatch(entry.name)
            if match is None:
                continue
            info = entry.stat()
            part = UploadedPart(
                part_number=int(match[1]),
                etag=match[2],
                size=info.st_size,
                uploaded_at=_moment(info.st_mtime_ns),
            )
            other = found.get(part.part_number)
            if other is None or other.uploaded_at <= part.uploaded_at:
                found[part.part_number] = part
    return [found[number] for number in sorted(found)]


def _moment(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest // 1000:06d}Z"


class PartDraft:
    """A part in the making."""

    def __init__(self, directory: str, number: int) -> None:
        self._directory = directory
        self._number = number
        self._digest = hashlib.md5(usedforsecurity=False)
        self._size = 0
        self._draft = Draft(os.path.join(directory, f"draft-{token(12)}"), 0o600)

    def write(self, *pieces: bytes | memoryview) -> None:
        """Append bytes."""
        for data in pieces:
            self._digest.update(data)
            self._size += len(data)
        self._draft.write(*pieces)

    def commit(self) -> PartAnswer:
        """Keep the part in place of earlier ones of its number."""
        etag = self._digest.hexdigest()
        name = f"{self._number}-{etag}"
        self._draft.commit(os.path.join(self._directory, name))
        for other in os.listdir(self._directory):
            match = _PART.fullmatch(other)
            if match and int(match[1]) == self._number and other != name:
                os.unlink(os.path.join(self._directory, other))
        return PartAnswer(part_number=self._number, etag=etag, size=self._size)

    def discard(self) -> None:
        """Forget what was not committed."""
        self._draft.discard()
