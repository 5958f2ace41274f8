"""One HTTP request and its body, read on demand."""

import asyncio
import select
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Protocol
from urllib.parse import parse_qsl, unquote

from serai.kernel.errors import PayloadTooLarge
from serai.sandboxd.handover import Going


def whole_number(text: str) -> int | None:
    """A number of up to 18 plain digits, None for any other text."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None


def hung_up(transport: asyncio.BaseTransport) -> bool:
    """Whether the other side of a connection is gone altogether, unread data or not."""
    if transport.is_closing():
        return False
    poll = select.poll()
    poll.register(transport.get_extra_info("socket"), 0)
    return any(events & (select.POLLHUP | select.POLLERR) for _, events in poll.poll(0))


class Source(Protocol):
    """The connection a request came on."""

    closed: bool

    def allow_body(self, request: "Request") -> None:
        """A handler waits for the body."""

    def update_reading(self) -> None:
        """What is buffered has changed."""


class Disconnected(Exception):
    """The client is gone."""


class Request:
    """One request. ``raw_path`` is as sent; ``path`` is percent-decoded, slashes untouched.

    ``upgrade`` says that it asks for a WebSocket; ``trailing`` is what came after it then.
    ``going`` says how far an earlier version of this API came with it, and ``begun`` whether that
    sent the head of the answer; ``carry`` tells the same of this version.
    """

    def __init__(self, connection: Source) -> None:
        self._connection = connection
        self._chunks: deque[bytes] = deque()
        self._complete = False
        self._waiter: asyncio.Future[None] | None = None
        self._url = bytearray()
        self.expects_continue = False
        self.buffered = 0
        self.method = ""
        self.raw_path = ""
        self.path = ""
        self.headers: dict[str, str] = {}
        self.keep_alive = True
        self.knows_chunks = True
        self.params: dict[str, str] = {}
        self.upgrade = False
        self.trailing = b""
        self.begun = False
        self.going: Going | None = None
        self.carry: Callable[[], Going] | None = None

    def add_url(self, data: bytes) -> None:
        """Part of the request target, from the parser."""
        self._url += data

    def begin(self, method: str, keep_alive: bool) -> None:
        """All headers are here: split the target and note how the body comes."""
        target = self._url.decode("latin-1")
        if target.startswith("http://"):
            target = "/" + target[7:].partition("/")[2]
        raw, _, query = target.partition("?")
        self.method, self.raw_path, self.keep_alive = method, raw, keep_alive
        self.path = unquote(raw.encode("latin-1").decode("utf-8", "surrogateescape"), "utf-8",
                            "surrogateescape")  # fmt: skip
        self._query = query
        self.expects_continue = self.headers.get("expect", "").lower() == "100-continue"

    @property
    def target(self) -> str:
        """Path and query as they were sent."""
        return f"{self.raw_path}?{self._query}" if self._query else self.raw_path

    @property
    def query(self) -> dict[str, str]:
        """Query parameters; of repeated ones the first counts."""
        return dict(reversed(parse_qsl(self._query, keep_blank_values=True)))

    def feed(self, data: bytes) -> None:
        """A piece of the body, from the parser."""
        self._chunks.append(data)
        self.buffered += len(data)
        self._wake()

    def finish(self) -> None:
        """The body has ended (or the connection has)."""
        self._complete = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @property
    def complete(self) -> bool:
        """Whether the whole body was read by the handler."""
        return self._complete and not self._chunks

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body in pieces as they arrive."""
        while (data := await self.read_chunk()) is not None:
            yield data

    async def read_chunk(self) -> bytes | None:
        """The next piece of the body, None at its end.

        Raises:
            Disconnected: when the client went away before the end.
        """
        while not self._chunks:
            if self._connection.closed:
                raise Disconnected
            if self._complete:
                return None
            self._connection.allow_body(self)
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        data = self._chunks.popleft()
        self.buffered -= len(data)
        self._connection.update_reading()
        return data

    async def body(self, limit: int) -> bytes:
        """The whole body.

        Raises:
            PayloadTooLarge: when it has more than ``limit`` bytes.
        """
        size, parts = 0, []
        if (whole_number(self.headers.get("content-length", "")) or 0) > limit:
            size = limit + 1
        while size <= limit and (data := await self.read_chunk()) is not None:
            size += len(data)
            parts.append(data)
        if size > limit:
            raise PayloadTooLarge(
                f"request body is over {limit} bytes; upload larger files as multipart/form-data"
            )
        return b"".join(parts)
