"""One request as the client's connection reads it."""

from typing import Protocol

from serai.kernel.errors import SeraiError

Headers = list[tuple[bytes, bytes]]


class Sink(Protocol):
    """Who handles a request; every call comes from the event loop."""

    def body(self, data: bytes) -> None:
        """A piece of the request's body."""

    def end(self) -> None:
        """The request is complete."""

    def lost(self) -> None:
        """The client is gone."""

    def client_full(self) -> None:
        """The client reads too slowly: send no more for now."""

    def client_ready(self) -> None:
        """Send again."""

    def tick(self, now: float) -> None:
        """Time has passed; ``now`` is the loop's clock."""


class Current(Protocol):
    """What a connection needs to know of the request that it handles; see Request."""

    complete: bool
    expects: bool
    keep_alive: bool

    @property
    def sink(self) -> Sink | None:
        """Who handles it."""


class Request:
    """A parsed head, and the body that arrived while nobody handled it yet.

    Attributes:
        method: in upper case.
        url: request target as sent (absolute form already cut to origin form).
        headers: header fields, names in lower case.
        index: the same by name; of repeated fields the last.
        http11: HTTP/1.1; else 1.0.
        keep_alive: the connection may carry another request afterwards.
        upgrade: the client asks for ``Upgrade: websocket``.
        switching: it is that, or a CONNECT: what follows is no HTTP.
        complete: the body has ended.
        expects: the client waits for ``100 Continue`` before it sends the body.
        sink: who handles it; None while it waits in line.
        pending: body that arrived before there was a sink.
        trailing: bytes after an upgrade request.
        problem: why it is refused, if it is.
    """

    __slots__ = (
        "complete",
        "expects",
        "headers",
        "http11",
        "index",
        "keep_alive",
        "method",
        "pending",
        "problem",
        "sink",
        "switching",
        "trailing",
        "upgrade",
        "url",
    )

    def __init__(self, method: bytes, url: bytes, headers: Headers, keep_alive: bool) -> None:
        self.method = method
        self.url = url
        self.headers = headers
        self.index = dict(headers)
        self.http11 = True
        self.keep_alive = keep_alive
        self.upgrade = False
        self.switching = False
        self.complete = False
        self.expects = False
        self.sink: Sink | None = None
        self.pending: list[bytes] = []
        self.trailing = b""
        self.problem: SeraiError | None = None

    def header(self, name: bytes) -> bytes | None:
        """The value of a header field; ``name`` in lower case."""
        return self.index.get(name)

    def has_body(self) -> bool:
        """Whether the head announces a body."""
        length = self.index.get(b"content-length", b"")
        return bool(length.strip(b"0 ")) or b"transfer-encoding" in self.index


class Nobody:
    """The sink of a request that was answered before it was complete: its body is dropped."""

    __slots__ = ("dropped",)

    def __init__(self) -> None:
        self.dropped = 0

    def body(self, data: bytes) -> None:
        self.dropped += len(data)

    def end(self) -> None: ...

    def lost(self) -> None: ...

    def client_full(self) -> None: ...

    def client_ready(self) -> None: ...

    def tick(self, now: float) -> None: ...
