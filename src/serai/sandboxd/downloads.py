"""Files as raw bytes, with ranges and conditional reads."""

import asyncio
import io
import os
import re
import time
from collections.abc import AsyncIterator

from serai.sandboxd.errors import Unprocessable, refused
from serai.sandboxd.files import opened_at_once, status_of
from serai.sandboxd.http import Answer, Response, Stream
from serai.sandboxd.paths import Location, text
from serai.sandboxd.requests import Request

PIECE = 256 * 1024
_TYPES = {
    ".txt": "text/plain",
    ".log": "text/plain",
    ".html": "text/html",
    ".htm": "text/html",
    ".css": "text/css",
    ".js": "application/javascript",
    ".json": "application/json",
    ".xml": "application/xml",
    ".pdf": "application/pdf",
    ".zip": "application/zip",
    ".tar": "application/x-tar",
    ".gz": "application/gzip",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".gif": "image/gif",
    ".svg": "image/svg+xml",
}
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


def _opened(place: Location) -> io.FileIO:
    status_of(place)
    if not os.path.isfile(place.real):
        raise Unprocessable(f"error reading file: {text(place.real)} is not a regular file")
    try:
        return io.FileIO(place.real, "rb", opener=opened_at_once)
    except OSError as error:
        raise refused("error reading file", "open", text(place.real), error) from error


def _span(header: str, size: int) -> tuple[int, int] | None:
    """First and one past the last byte of a ``Range`` header; None when it is not understood.

    Raises:
        IndexError: when no byte of the file lies in the range.
    """
    match = _RANGE.fullmatch(header.replace(" ", ""))
    if match is None or match.group(0) == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
    if start >= end:
        raise IndexError
    return start, end


async def _pieces(file: io.FileIO, start: int, end: int) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    at = start
    while at < end:
        size = min(PIECE, end - at)
        data = await loop.run_in_executor(None, os.pread, file.fileno(), size, at)
        if not data:
            return
        at += len(data)
        yield data


def is_simple(request: Request) -> bool:
    """Whether all of a file is wanted, whatever is known of it."""
    return "range" not in request.headers and "if-modified-since" not in request.headers


def whole(place: Location, info: os.stat_result, content: bytes) -> Answer:
    """A small file's bytes."""
    return Response(content, content_type=_kind(place), headers=_headers(place, info))


def _kind(place: Location) -> str:
    return _TYPES.get(os.path.splitext(place.real)[1].lower(), "application/octet-stream")


def _headers(place: Location, info: os.stat_result) -> dict[str, str]:
    name = text(os.path.basename(place.real)).replace("\\", "\\\\").replace('"', '\\"')
    return {
        "Content-Disposition": f'attachment; filename="{name}"',
        "Last-Modified": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(info.st_mtime)),
        "Accept-Ranges": "bytes",
    }


async def download(request: Request, place: Location) -> Answer:
    """A file's bytes: whole (200), a range of it (206), or nothing new (304)."""
    loop = asyncio.get_running_loop()
    file = await loop.run_in_executor(None, _opened, place)
    info = os.fstat(file.fileno())
    headers, kind = _headers(place, info), _kind(place)
    if request.headers.get("if-modified-since") == headers["Last-Modified"]:
        file.close()
        return Response(status=304, content_type=None, headers=headers)
    try:
        span = _span(request.headers.get("range", ""), info.st_size)
    except IndexError:
        file.close()
        headers["Content-Range"] = f"bytes */{info.st_size}"
        return Response(status=416, content_type=None, headers=headers)
    start, end = span or (0, info.st_size)
    if span:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{info.st_size}"
    body = _pieces(file, start, end)
    return Stream(body, kind, 206 if span else 200, headers, end - start, file.close)
