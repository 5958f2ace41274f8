"""An archive on its way from a sandbox's API to the storage."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from xml.sax.saxutils import escape

from serai.compute.asking import STATUS_LINE
from serai.compute.uploading import ExportFailed, Uploader, checked_url
from serai.kernel.errors import BadRequest
from serai.wire.sandbox_api import ExportOptions, MultipartTarget

CONTENT = b"GET /archive/content HTTP/1.1\r\nHost: sandbox\r\nConnection: close\r\n\r\n"
HEAD_SECONDS = 60.0
READ_SECONDS = 120.0
PIECE = 256 * 1024


class Sending:
    """Reads the archive once, and sends it as one object or in parts.

    Args:
        api_socket: of the sandbox.
        uploader: how the storage is reached.
        options: where to, checked.
        size: of the archive, in bytes.
    """

    def __init__(
        self, api_socket: str, uploader: Uploader, options: ExportOptions, size: int
    ) -> None:
        self._api_socket = api_socket
        self._uploader = uploader
        self._options = options
        self._size = size

    async def run(self) -> None:
        """Return when the storage has all.

        Raises:
            ExportFailed: it has not.
            BadRequest: there are too few parts for the archive.
        """
        target = self._options.multipart
        if target is not None and len(target.part_urls) * target.part_size < self._size:
            raise BadRequest(
                f"multipart: {len(target.part_urls)} parts of {target.part_size} bytes do not hold"
                f" an archive of {self._size} bytes"
            )
        async with self._opened() as reader:
            if target is None:
                url = checked_url(self._options.url, "url")
                pieces = _take(reader, self._size)
                answer = await self._uploader.send(
                    "PUT", url, self._options.headers, self._size, pieces
                )
                answer.need_success("the upload")
            else:
                await self._send_parts(reader, target)

    async def _send_parts(self, reader: asyncio.StreamReader, target: MultipartTarget) -> None:
        try:
            tags = await self._parts(reader, target)
            await self._complete(target, tags)
        except BaseException:
            if target.abort_url:
                with contextlib.suppress(ExportFailed):
                    url = checked_url(target.abort_url, "multipart.abortUrl")
                    await self._uploader.send("DELETE", url, {}, 0, _whole())
            raise

    async def _parts(self, reader: asyncio.StreamReader, target: MultipartTarget) -> list[str]:
        tags = []
        for number, start in enumerate(range(0, self._size, target.part_size)):
            url = checked_url(target.part_urls[number], "multipart.partUrls")
            length = min(target.part_size, self._size - start)
            answer = await self._uploader.send("PUT", url, {}, length, _take(reader, length))
            answer.need_success(f"part {number + 1}")
            if not answer.etag:
                raise ExportFailed(f"the storage named no ETag for part {number + 1}")
            tags.append(answer.etag)
        return tags

    async def _complete(self, target: MultipartTarget, tags: list[str]) -> None:
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(tag)}</ETag></Part>"
            for number, tag in enumerate(tags, 1)
        )
        text = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        url = checked_url(target.complete_url, "multipart.completeUrl")
        answer = await self._uploader.send(
            "POST", url, {"Content-Type": "application/xml"}, len(text), _whole(text)
        )
        answer.need_success("the completion")

    @contextlib.asynccontextmanager
    async def _opened(self) -> AsyncIterator[asyncio.StreamReader]:
        """The archive, after the head of its answer."""
        try:
            reader, writer = await asyncio.open_unix_connection(self._api_socket, limit=PIECE)
        except OSError as problem:
            raise ExportFailed("the API in the sandbox does not answer") from problem
        try:
            writer.write(CONTENT)
            await self._pass_head(reader)
            yield reader
        finally:
            writer.transport.abort()

    async def _pass_head(self, reader: asyncio.StreamReader) -> None:
        try:
            async with asyncio.timeout(HEAD_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
        except (OSError, EOFError, asyncio.LimitOverrunError) as problem:
            raise ExportFailed("the API in the sandbox does not answer") from problem
        status = STATUS_LINE.match(head)
        length = f"\r\ncontent-length: {self._size}\r\n".encode("ascii")
        if status is None or status[1] != b"200" or length not in head.lower():
            raise ExportFailed("the API in the sandbox has no archive of the size it said")


async def _take(reader: asyncio.StreamReader, length: int) -> AsyncIterator[bytes]:
    """So many bytes of the archive.

    Raises:
        ExportFailed: there are no more.
    """
    while length:
        try:
            async with asyncio.timeout(READ_SECONDS):
                data = await reader.read(min(PIECE, length))
        except OSError as problem:
            raise ExportFailed("reading the files of the sandbox failed") from problem
        if not data:
            raise ExportFailed("the archive was cut off: a file changed, or cannot be read")
        length -= len(data)
        yield data


async def _whole(body: bytes = b"") -> AsyncIterator[bytes]:
    """A body at once."""
    if body:
        yield body
