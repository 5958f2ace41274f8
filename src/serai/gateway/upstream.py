"""One HTTP/1.1 connection to what stands behind the gateway."""

import asyncio
from typing import TYPE_CHECKING, Protocol, cast

import httptools
import msgspec

if TYPE_CHECKING:
    from serai.gateway.models.express import Express
    from serai.gateway.models.relay import Watcher
    from serai.gateway.pool import Pool

Headers = list[tuple[bytes, bytes]]
UNKNOWN = b"\0"
"""What no message of HTTP begins with."""


class Address(msgspec.Struct, frozen=True, cache_hash=True, gc=False):
    """Where an upstream listens.

    Attributes:
        path: Unix socket; empty for TCP.
        host: TCP host; with a path and a port, not empty where connections may be used again.
        port: TCP port; with a path, the port inside a sandbox (see ``runtime.port``), 0 for none.
        tls: speak TLS and verify the certificate for ``host``.
    """

    path: str
    host: str
    port: int
    tls: bool


class Answer(msgspec.Struct, frozen=True, gc=False):
    """The head of an upstream's answer.

    Attributes:
        status: status code.
        headers: header fields, names in lower case.
        index: the same by name; of repeated fields the last.
        length: body length; None when chunked or until the connection closes.
        empty: there is no body, whatever the headers say (HEAD, 204, 304).
    """

    status: int
    headers: Headers
    index: dict[bytes, bytes]
    length: int | None
    empty: bool


class Ignored(Headers):
    """Swallows trailer fields."""

    def append(self, field: tuple[bytes, bytes]) -> None: ...


class Caller(Protocol):
    """Who gets an upstream's answer; every call comes from the event loop."""

    head_only: bool
    express: bool
    """Only an Express is one, see ``serai.gateway.models.express``."""

    def interim(self, status: int, headers: Headers) -> None:
        """A 1xx answer other than 101."""

    def answered(self, answer: Answer) -> None:
        """The final answer's head."""

    def received(self, data: bytes) -> None:
        """A piece of the answer's body."""

    def settled(self) -> None:
        """The answer is complete."""

    def flush(self) -> None:
        """All of one read has been passed on; more may follow."""

    def upgraded(self, headers: Headers, data: bytes) -> None:
        """The upstream switched protocols (101); ``data`` followed."""

    def broken(self, upstream: "Upstream", reason: str) -> None:
        """The connection is gone before the answer was complete."""

    def upstream_full(self) -> None:
        """Send no more for now."""

    def upstream_ready(self) -> None:
        """Send again."""


class Upstream(asyncio.Protocol):
    """One connection; serves one Caller at a time."""

    __slots__ = (
        "_complete",
        "_empty",
        "_fields",
        "_head_bytes",
        "_headed",
        "_interim",
        "_trailers",
        "_until_close",
        "address",
        "caller",
        "headers",
        "heard",
        "idle_since",
        "keep",
        "known_bytes",
        "known_out",
        "last_head",
        "parser",
        "pool",
        "reused",
        "sending",
        "transport",
        "watcher",
    )

    def __init__(self, address: Address, pool: "Pool") -> None:
        self.address = address
        self.pool = pool
        self.transport: asyncio.Transport = None  # type: ignore[assignment]
        self.parser = httptools.HttpResponseParser(self)
        self.caller: Caller | None = None
        self.reused = False
        self.sending = False
        """The request's body is not complete yet, so the connection cannot be used again."""
        self.idle_since = 0.0
        self.last_head = b""
        """The head of the last plain answer, for the short way of calls."""
        self.known_bytes = UNKNOWN
        """The same with its empty line once it came twice; then what is passed on of it, and the
        length of the body."""
        self.known_out: tuple[bytes, int] = b"", 0
        self.watcher: Watcher | None = None
        """Reads the streams that are passed on as they come."""
        self._trailers = Ignored()
        self._reset()

    def _reset(self) -> None:
        self.headers: Headers = []
        self.heard = False
        self.keep = False
        self._until_close = False
        self._empty = False
        self._interim = False
        self._headed = False
        self._head_bytes = 0
        self._complete = False
        self._fields: Headers = self.headers

    # -- the connection
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        caller = self.caller
        if caller is None:
            self.close()
            return
        if caller.express:
            express = cast("Express", caller)
            if express.whole(data):
                return
            caller = express.unfold()
        self.heard = True
        if not self._headed:
            self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            caller.upgraded(self.headers, data[upgrade.args[0] :])
            return
        except httptools.HttpParserError:
            self._break("it did not answer with valid HTTP")
            return
        if self._complete and self.caller is caller:
            self._settle(caller)
        elif not self._headed and self._head_bytes > self.pool.limits.upstream_head_bytes:
            self._break("the head of its answer is too large")
        else:
            caller.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.pool.forget(self)
        caller = self.caller
        if caller is None:
            return
        if self._until_close and exc is None:
            self._settle(caller)
        else:
            self._break("it closed the connection before the answer was complete")

    def pause_writing(self) -> None:
        if self.caller is not None:
            self.caller.upstream_full()

    def resume_writing(self) -> None:
        if self.caller is not None:
            self.caller.upstream_ready()

    # -- the caller's side
    def write(self, data: bytes) -> None:
        """Send bytes of the request."""
        self.transport.write(data)

    def close(self) -> None:
        """Drop the connection and forget the caller."""
        self.caller = None
        if self.transport is not None:
            self.transport.abort()

    def _break(self, reason: str) -> None:
        caller, self.caller = self.caller, None
        self.transport.abort()
        if caller is not None:
            caller.broken(self, reason)

    def _settle(self, caller: Caller) -> None:
        keep = self.keep and not self._until_close and not self.sending
        self.caller = None
        if self._empty:
            # llhttp does not know that the answer to a HEAD has no body
            self.parser = httptools.HttpResponseParser(self)
        self._reset()
        if keep:
            self.pool.give_back(self)
        else:
            self.close()
        caller.settled()

    # -- the parser's callbacks
    def on_message_begin(self) -> None:
        if self._complete:
            self.keep = False  # more than was asked for: never use this connection again
        self.headers = self._fields = []
        self._interim = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._fields = self._trailers
        caller = self.caller
        if self._complete or caller is None:
            return
        status = self.parser.get_status_code()
        if status < 200:
            self._interim = True
            if status != 101:
                caller.interim(status, self.headers)
            return
        self._headed = True
        self.keep = self.parser.should_keep_alive()
        self._empty = self._complete = caller.head_only or status == 204 or status == 304
        index = dict(self.headers)
        length: int | None = None
        coding = index.get(b"transfer-encoding")
        if coding is not None:
            self._until_close = not coding.lower().rstrip().endswith(b"chunked")
        elif b"content-length" in index:
            length = int(index[b"content-length"])
        else:
            self._until_close = True
        self._until_close = self._until_close and not self._empty
        caller.answered(Answer(status, self.headers, index, length, self._empty))

    def on_body(self, data: bytes) -> None:
        if self._complete:
            self.keep = False
        elif self.caller is not None:
            self.caller.received(data)

    def on_message_complete(self) -> None:
        if not self._interim:
            self._complete = True
