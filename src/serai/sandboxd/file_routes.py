"""``/filesystem``: read, write, list and delete files, and large uploads."""

import asyncio
import os
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import msgspec

from serai.kernel.errors import BadRequest
from serai.sandboxd.downloads import download, is_simple, whole
from serai.sandboxd.drafts import Draft
from serai.sandboxd.errors import Unprocessable
from serai.sandboxd.files import TEXT_LIMIT, Files, parse_permissions, status_of
from serai.sandboxd.glance import glance
from serai.sandboxd.http import Answer, json_answer
from serai.sandboxd.multipart import FormReader, boundary_of
from serai.sandboxd.paths import Location, Paths, text
from serai.sandboxd.requests import Request, whole_number
from serai.sandboxd.router import Router
from serai.sandboxd.uploads import MOST_PARTS, PartDraft, Uploads
from serai.wire.sandbox_api import PathAnswer
from serai.wire.sandbox_files import (
    CompleteRequest,
    FileRequest,
    PartList,
    UploadList,
    UploadRequest,
    UploadStarted,
)

FILE_MODE = 0o644
DIRECTORY_MODE = 0o755
BATCH = 1024 * 1024
"""Bytes of a large body that are written at once: each time takes a thread."""
SMALL_BODY = 4 * 1024 * 1024
JSON_LIMIT = 2 * TEXT_LIMIT
"""A text file's JSON form may be longer than the file: escapes."""

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a blocking function where it blocks nobody."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(None, lambda: function(*args, **kwargs))


async def is_directory(path: str) -> bool:
    """Whether a path leads to a directory."""
    return await in_thread(os.path.isdir, path)


async def body_as(request: Request, kind: type[T], limit: int, *, optional: bool = False) -> T:
    """The JSON body as a Struct.

    Raises:
        BadRequest: naming the field at fault.
    """
    body = await request.body(limit)
    if not body.strip():
        if not optional:
            raise BadRequest("invalid request body: EOF, a JSON object is required")
        body = b"{}"
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"invalid request body: {error}") from error


def wants_bytes(request: Request) -> bool:
    """Whether a read asks for raw bytes instead of JSON."""
    accept = request.headers.get("accept", "*/*").lower()
    if "application/octet-stream" in accept or request.query.get("download") == "true":
        return True
    return "application/json" not in accept and "*/*" not in accept


class FileRoutes:
    """Handlers of ``/filesystem`` and ``/filesystem-multipart``."""

    def __init__(self, paths: Paths, files: Files, uploads: Uploads) -> None:
        self._paths = paths
        self._files = files
        self._uploads = uploads

    def add_to(self, router: Router) -> None:
        """Register all routes."""
        router.add("GET", "/filesystem-multipart", self.uploads)
        router.add("POST", "/filesystem-multipart/initiate{path}", self.initiate)
        router.add("PUT", "/filesystem-multipart/{id}/part", self.put_part)
        router.add("POST", "/filesystem-multipart/{id}/complete", self.complete)
        router.add("DELETE", "/filesystem-multipart/{id}/abort", self.abort)
        router.add("GET", "/filesystem-multipart/{id}/parts", self.parts)
        router.add("GET", "/filesystem{path}", self.get)
        router.add("PUT", "/filesystem{path}", self.put)
        router.add("DELETE", "/filesystem{path}", self.delete)

    def _place(self, request: Request) -> Location:
        return self._paths.locate(request.params["path"], request.raw_path)

    async def get(self, request: Request) -> Answer:
        """A directory's listing, a file as JSON, or a file's bytes."""
        place = self._place(request)
        found = glance(place.real)
        if wants_bytes(request):
            if found is not None and is_simple(request):
                return whole(place, *found)
            if not await is_directory(place.real):
                return await download(request, place)
        elif found is not None:
            return json_answer(self._files.as_text(place, *found))
        return json_answer(await in_thread(self._read, place))

    def _read(self, place: Location) -> object:
        status_of(place)
        if os.path.isdir(place.real):
            return self._files.listing(place)
        if not os.path.isfile(place.real):
            raise Unprocessable(f"error reading file: {text(place.real)} is not a regular file")
        return self._files.read(place)

    async def put(self, request: Request) -> Answer:
        """Write a file or make a directory."""
        place = self._place(request)
        boundary = boundary_of(request.headers.get("content-type", ""))
        if boundary is not None:
            await self._receive(request, boundary, place)
            return _done(place, "Binary file uploaded successfully")
        wanted = await body_as(request, FileRequest, JSON_LIMIT)
        if wanted.is_directory:
            mode = parse_permissions(wanted.permissions, DIRECTORY_MODE)
            await in_thread(self._files.make_directory, place.real, mode)
            return _done(place, "Directory created successfully")
        mode = parse_permissions(wanted.permissions, FILE_MODE)
        content = (wanted.content or "").encode()
        await in_thread(self._files.write, place.real, content, mode)
        return _done(place, "File created/updated successfully")

    async def _receive(self, request: Request, boundary: bytes, place: Location) -> None:
        form = FormReader(request.chunks(), boundary)
        mode = FILE_MODE
        while (part := await form.next_part()) is not None:
            if part.name == "permissions":
                mode = parse_permissions((await form.text()).strip(), FILE_MODE)
            elif part.name == "file" and part.filename is not None:
                draft = await in_thread(Draft, place.real, mode)
                await _fill(form, draft)
                return
        raise BadRequest("missing 'file' field in multipart form (it needs a filename)")

    async def delete(self, request: Request) -> Answer:
        """Remove a file or a directory."""
        place = self._place(request)
        return await remove(self._files, place, request.query.get("recursive") == "true")

    async def uploads(self, request: Request) -> Answer:
        """All open upload sessions."""
        return json_answer(UploadList(uploads=await in_thread(self._uploads.everything)))

    async def initiate(self, request: Request) -> Answer:
        """Open an upload session."""
        place = self._place(request)
        wanted = await body_as(request, UploadRequest, SMALL_BODY, optional=True)
        mode = parse_permissions(wanted.permissions, FILE_MODE)
        upload = await in_thread(self._uploads.initiate, place.real, mode)
        return json_answer(UploadStarted(upload_id=upload.upload_id, path=upload.path))

    async def put_part(self, request: Request) -> Answer:
        """Store one part, number 1 to 10000, in any order."""
        given = request.query.get("partNumber", "")
        number = whole_number(given)
        if number is None or not 1 <= number <= MOST_PARTS:
            raise BadRequest(f"partNumber: '{given}' is not a number from 1 to {MOST_PARTS}")
        boundary = boundary_of(request.headers.get("content-type", ""))
        if boundary is None:
            raise BadRequest("Content-Type: a part must be sent as multipart/form-data")
        form = FormReader(request.chunks(), boundary)
        while (part := await form.next_part()) is not None:
            if part.name == "file" and part.filename is not None:
                draft = await in_thread(self._uploads.part, request.params["id"], number)
                return json_answer(await _fill(form, draft))
        raise BadRequest("missing 'file' field in multipart form (it needs a filename)")

    async def complete(self, request: Request) -> Answer:
        """Put the parts together."""
        wanted = await body_as(request, CompleteRequest, SMALL_BODY)
        path = await in_thread(self._uploads.complete, request.params["id"], wanted.parts or [])
        message = "Multipart upload completed successfully"
        return json_answer(PathAnswer(path=path, message=message))

    async def abort(self, request: Request) -> Answer:
        """Throw an upload session away."""
        await in_thread(self._uploads.abort, request.params["id"])
        return json_answer(PathAnswer(message="Multipart upload aborted successfully"))

    async def parts(self, request: Request) -> Answer:
        """The parts of one session."""
        upload = await in_thread(self._uploads.load, request.params["id"])
        return json_answer(PartList(upload_id=upload.upload_id, parts=list(upload.parts.values())))


async def _fill(form: FormReader, draft: Draft | PartDraft) -> object:
    """Stream the current part into a file, which appears only when the form ends well."""
    try:
        batch: list[bytes | memoryview] = []
        async for piece in form.data():
            batch.append(piece)
            if sum(map(len, batch)) >= BATCH:
                await in_thread(draft.write, *batch)
                batch = []
        await in_thread(draft.write, *batch)
        return await in_thread(draft.commit)
    finally:
        await asyncio.shield(in_thread(draft.discard))


async def remove(files: Files, place: Location, recursive: bool) -> Answer:
    """Delete a file or directory and say which it was."""
    directory = await in_thread(files.delete, place, recursive)
    kind = "Directory" if directory else "File"
    return _done(place, f"{kind} deleted successfully")


def _done(place: Location, message: str) -> Answer:
    return json_answer(PathAnswer(path=text(place.shown), message=message))
