"""``multipart/form-data`` bodies, parsed as they arrive and never held whole."""

import re
from collections.abc import AsyncIterator

import msgspec

from serai.kernel.errors import BadRequest

HEADER_LIMIT = 16 * 1024
"""Bytes of one part's headers."""
_NAME = re.compile(r'(?:^|;)\s*(name|filename)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]+))', re.I)


class Part(msgspec.Struct):
    """The head of one form field."""

    name: str
    filename: str | None


def boundary_of(content_type: str) -> bytes | None:
    """The boundary of a multipart content type, None for any other type."""
    kind, _, rest = content_type.partition(";")
    if kind.strip().lower() != "multipart/form-data":
        return None
    match = re.search(r'boundary=(?:"([^"]+)"|([^;\s]+))', rest, re.I)
    value = (match.group(1) or match.group(2)) if match else ""
    if not value or len(value) > 200:
        raise BadRequest("Content-Type: multipart/form-data needs a boundary")
    return value.encode("latin-1", "replace")


def _head(data: bytes) -> Part:
    for line in data.decode("utf-8", "replace").split("\r\n"):
        key, _, value = line.partition(":")
        if key.strip().lower() == "content-disposition":
            found = {m[0].lower(): m[1] or m[2] for m in _NAME.findall(value)}
            return Part(found.get("name", ""), found.get("filename"))
    return Part("", None)


class FormReader:
    """Iterates over parts; each part's data must be read before the next part."""

    def __init__(self, body: AsyncIterator[bytes], boundary: bytes) -> None:
        self._body = body
        self._mark = b"\r\n--" + boundary
        self._buffer = bytearray(b"\r\n")
        self._inside = True  # before the first boundary there may be a preamble to skip

    async def _more(self) -> None:
        self._buffer += await self._next_chunk()

    async def _next_chunk(self) -> bytes:
        try:
            return await anext(self._body)
        except StopAsyncIteration:
            raise BadRequest("invalid multipart body: it ends before its last boundary") from None

    async def next_part(self) -> Part | None:
        """Skip what is left of the current part; the next one, None after the last."""
        async for _ in self.data():
            pass
        while len(self._buffer) < 2:
            await self._more()
        if self._buffer[:2] == b"--":
            return None
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > HEADER_LIMIT:
                raise BadRequest(f"invalid multipart body: part headers over {HEADER_LIMIT} bytes")
            await self._more()
        part = _head(bytes(self._buffer[:end]))
        del self._buffer[: end + 4]
        self._inside = True
        return part

    async def data(self) -> AsyncIterator[bytes | memoryview]:
        """The current part's bytes (before the first part: the preamble)."""
        rest = len(self._mark) - 1
        while self._inside:
            at = self._buffer.find(self._mark)
            ready = at if at >= 0 else len(self._buffer) - rest
            if ready > 0:
                yield bytes(self._buffer[:ready])
            if at >= 0:
                del self._buffer[: at + len(self._mark)]
                self._inside = False
                return
            if ready > 0:
                del self._buffer[:ready]
            chunk = await self._next_chunk()
            while len(chunk) > rest and not self._may_hold_mark(chunk, rest):
                if self._buffer:
                    yield bytes(self._buffer)
                yield memoryview(chunk)[:-rest]  # as it came: most of a large file is not copied
                self._buffer[:] = chunk[-rest:]
                chunk = await self._next_chunk()
            self._buffer += chunk

    def _may_hold_mark(self, chunk: bytes, rest: int) -> bool:
        return self._mark in chunk or self._mark in bytes(self._buffer) + chunk[:rest]

    async def text(self, limit: int = HEADER_LIMIT) -> str:
        """The current part's data as text.

        Raises:
            BadRequest: when it is over ``limit`` bytes.
        """
        value = bytearray()
        async for piece in self.data():
            value += piece
            if len(value) > limit:
                raise BadRequest(f"invalid multipart body: a text field is over {limit} bytes")
        return value.decode("utf-8", "replace")
