"""Uploads to presigned URLs, over connections of a sandbox.

The platform never connects to such a URL by itself: every connection begins in the sandbox, through
its port socket, under the rules of its network. What is spoken on it, TLS and HTTP/1.1, is spoken
here. No message of an error has the URL, or a part of it, in it.
"""

import asyncio
import contextlib
import ipaddress
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from urllib.parse import SplitResult, urlsplit

import msgspec

from serai.compute.asking import STATUS_LINE
from serai.kernel.addresses import is_local_name
from serai.kernel.errors import BadRequest, SeraiError

CONNECT_SECONDS = 45.0
WRITE_SECONDS = 120.0
"""How long the storage may take nothing."""
ANSWER_SECONDS = 300.0
LATE_SECONDS = 2.0
"""How long an answer may take of which the connection was closed while we sent."""
ANSWER_MAX = 64 * 1024
_FRAMING = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "expect", "upgrade", "te"}
)
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_VALUE = re.compile(r"[\x20-\x7e\x80-\xff\t]{0,8192}")
_PLAIN = re.compile(r"[\x21-\x7e]{1,16384}")
_CODE = re.compile(rb"<Code>([A-Za-z0-9]{1,60})</Code>")


class ExportFailed(SeraiError):
    """The archive is not on the storage (500); the message says why."""

    code = "EXPORT_FAILED"


class Answer(msgspec.Struct, frozen=True):
    """What a storage answered."""

    status: int
    head: bytes
    body: bytes

    @property
    def etag(self) -> str:
        """What identifies an uploaded part; empty without."""
        found = re.search(rb"\r\netag: *([^\r\n]{1,200})", self.head, re.IGNORECASE)
        return found[1].decode("latin-1").strip() if found else ""

    def need_success(self, what: str) -> None:
        """Fail unless the storage has taken it.

        Raises:
            ExportFailed: with its status, and the code in its answer.
        """
        is_error = b"<Error>" in self.body
        if self.status // 100 == 2 and not is_error:
            return
        code = _CODE.search(self.body)
        named = f" ({code[1].decode('ascii')})" if code else ""
        raise ExportFailed(f"the storage answered {what} with {self.status}{named}")


def checked_url(url: str, field: str) -> SplitResult:
    """A URL that can be used.

    Raises:
        BadRequest: it cannot, and why; without showing it.
    """
    try:
        found = urlsplit(url)
        host, port = found.hostname or "", found.port
    except ValueError:
        raise BadRequest(f"{field} is not a URL") from None
    if not _PLAIN.fullmatch(url) or found.scheme not in {"http", "https"} or not host:
        raise BadRequest(f"{field} must be an http:// or https:// URL with a host")
    if found.username is not None or port == 0 or len(host) > 253:
        raise BadRequest(f"{field} must have no user and a port from 1 to 65535")
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
        if address.is_loopback or address.is_link_local or address.is_unspecified:
            raise BadRequest(f"{field} must not lead to this machine or its network link")
    if is_local_name(host):
        raise BadRequest(f"{field} must not lead to this machine or its network link")
    return found


def check_headers(headers: Mapping[str, str]) -> None:
    """Refuse what would change how the upload is framed.

    Raises:
        BadRequest: naming the header.
    """
    for name, value in headers.items():
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise BadRequest(f"headers: {name[:80]!r} is no header, or has no plain value")
        if name.lower() in _FRAMING:
            raise BadRequest(f"headers: {name} is set by the upload itself")


class Uploader:
    """Sends requests from a sandbox.

    Args:
        port_socket: of the sandbox.
        authority: certificates (PEM) that programs in it trust too.
    """

    def __init__(self, port_socket: str, authority: str) -> None:
        self._port_socket = port_socket
        self._context = ssl.create_default_context()
        if authority:
            self._context.load_verify_locations(cadata=authority)

    async def send(
        self,
        method: str,
        url: SplitResult,
        headers: Mapping[str, str],
        length: int,
        pieces: AsyncIterator[bytes],
    ) -> Answer:
        """Send a request with a body of ``length`` bytes.

        Raises:
            ExportFailed: the storage cannot be reached, or hung up.
        """
        try:
            reader, writer = await self._connect(url)
        except (OSError, ValueError) as error:
            raise ExportFailed(f"the storage cannot be reached: {_words(error)}") from None
        try:
            return await _exchange(reader, writer, _head(method, url, headers, length), pieces)
        except (OSError, ValueError) as error:
            raise ExportFailed(f"the connection to the storage broke: {_words(error)}") from None
        finally:
            writer.transport.abort()

    async def _connect(self, url: SplitResult) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host = (url.hostname or "").encode("idna").decode("ascii")
        port = url.port or (443 if url.scheme == "https" else 80)
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, writer = await asyncio.open_unix_connection(self._port_socket)
            try:
                writer.write(f"{host} {port}\n".encode("ascii"))
                line = await reader.readline()
                if line != b"ok\n":
                    raise OSError(line.decode("utf-8", "replace").removeprefix("error ").strip())
                if url.scheme == "https":
                    await writer.start_tls(self._context, server_hostname=host)
            except BaseException:
                writer.transport.abort()
                raise
        return reader, writer


def _head(method: str, url: SplitResult, headers: Mapping[str, str], length: int) -> bytes:
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    lines = [f"{method} {target} HTTP/1.1", f"Host: {url.netloc}", "Connection: close"]
    lines += [f"Content-Length: {length}", *(f"{name}: {headers[name]}" for name in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


async def _exchange(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    head: bytes,
    pieces: AsyncIterator[bytes],
) -> Answer:
    """Send all, and read the answer: it may come before, when the storage refuses."""
    answering = asyncio.create_task(_answer(reader))
    try:
        writer.write(head)
        complete = await _send(writer, pieces, answering)
        async with asyncio.timeout(ANSWER_SECONDS):
            answer = await answering
    finally:
        answering.cancel()
    if not complete and answer.status // 100 == 2:
        raise OSError("it did not take everything")
    return answer


async def _send(
    writer: asyncio.StreamWriter, pieces: AsyncIterator[bytes], answering: "asyncio.Task[Answer]"
) -> bool:
    """Send a body until it is answered; whether all of it was sent."""
    try:
        async for data in pieces:
            if answering.done():
                return False
            writer.write(data)
            async with asyncio.timeout(WRITE_SECONDS):
                await writer.drain()
    except (ConnectionError, TimeoutError):
        await asyncio.wait([answering], timeout=LATE_SECONDS)
        if not answering.done():
            raise
        return False
    return True


async def _answer(reader: asyncio.StreamReader) -> Answer:
    data = b""
    while len(data) < ANSWER_MAX and (more := await _more(reader, data)):
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    status = STATUS_LINE.match(head)
    if status is None:
        raise OSError("it ended without an answer")
    return Answer(int(status[1]), head, body)


async def _more(reader: asyncio.StreamReader, data: bytes) -> bytes:
    """More of an answer; nothing at its end, which it names or the connection is."""
    head, separator, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: *(\d{1,12})", head, re.IGNORECASE)
    if separator and length and len(body) >= int(length[1]):
        return b""
    return await reader.read(ANSWER_MAX)


def _words(error: Exception) -> str:
    """What went wrong, in words that cannot hold a URL."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not good: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "it did not go on in time"
    if isinstance(error, ssl.SSLError):
        return "it does not speak TLS"
    if isinstance(error, OSError):
        return error.strerror or str(error)[:200] or "it hung up"
    return "its name is no host name"
