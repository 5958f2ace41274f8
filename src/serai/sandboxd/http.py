"""Answers of HTTP/1.1, and what their heads hold."""

import asyncio
import http
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec

from serai.kernel.errors import SeraiError
from serai.sandboxd.errors import AlreadyExists
from serai.sandboxd.paths import text
from serai.sandboxd.requests import Request
from serai.wire.sandbox_api import ErrorAnswer

JSON_TYPE = "application/json; charset=utf-8"

_COMMON = (
    b"Access-Control-Allow-Origin: *\r\n"
    b"Access-Control-Allow-Methods: GET, POST, PUT, DELETE, HEAD, OPTIONS\r\n"
    b"Access-Control-Allow-Headers: Content-Type, Authorization\r\n"
    b"Cache-Control: no-cache, no-store, must-revalidate\r\n"
    b"Pragma: no-cache\r\n"
    b"Expires: 0\r\n"
    b"X-Content-Type-Options: nosniff\r\n"
)
_STATUS = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in http.HTTPStatus}
_encode = msgspec.json.Encoder().encode


class Response(msgspec.Struct):
    """An answer with a whole body."""

    body: bytes = b""
    status: int = 200
    content_type: str | None = JSON_TYPE
    headers: dict[str, str] = {}


class Stream(msgspec.Struct):
    """An answer whose body is made piece by piece; headers leave at once.

    ``length`` in bytes when known, otherwise the body is chunked. ``release`` is called when
    the answer is over, also when it could not even begin.
    """

    pieces: AsyncIterator[bytes]
    content_type: str
    status: int = 200
    headers: dict[str, str] = {}
    length: int | None = None
    release: Callable[[], None] | None = None


class Upgrade(msgspec.Struct):
    """An answer that hands the connection over to another protocol (101)."""

    protocol: asyncio.Protocol
    headers: dict[str, str]


Answer = Response | Stream | Upgrade
Handler = Callable[[Request], Awaitable[Answer]]


def json_answer(value: object, status: int = 200) -> Response:
    """A value as JSON."""
    return Response(_encode(value), status)


def error_answer(error: SeraiError) -> Response:
    """An error in the envelope of this API."""
    code = error.code if isinstance(error, AlreadyExists) else msgspec.UNSET
    answer = json_answer(ErrorAnswer(error=text(error.message), code=code), error.status)
    answer.headers = dict(error.headers)
    return answer


def head(status: int, content_type: str | None, headers: dict[str, str], tail: bytes) -> bytes:
    """Status line and headers of an answer; ``tail`` holds framing headers."""
    parts = [_STATUS.get(status) or f"HTTP/1.1 {status} Status\r\n".encode(), _COMMON]
    if content_type is not None:
        parts.append(f"Content-Type: {content_type}\r\n".encode("latin-1", "replace"))
    for name, value in headers.items():
        clean = value.replace("\r", " ").replace("\n", " ")
        parts.append(f"{name}: {clean}\r\n".encode("utf-8", "replace"))
    parts += (tail, b"\r\n")
    return b"".join(parts)


def encode_error(message: str) -> bytes:
    """An error as the body of an answer."""
    return _encode(ErrorAnswer(error=message))
