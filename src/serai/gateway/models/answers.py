"""Answers of models kept in memory, to answer the same call again.

A call is the same if everything is that could change its answer: the model, the path and query and
the body as the provider would get them, and every header field but those that are known to change
nothing. Each workspace has answers of its own. When all together grow too large, the workspace that
holds most gives up the answer that it used least recently.
"""

import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from serai.gateway.upstream import Answer, Headers

PIECE_BYTES = 96
"""What a piece of an answer costs besides its bytes."""
MOST_PIECES = 100_000
"""An answer in more pieces than these costs more than it is worth."""
_FIELD_BYTES = 256
"""The same of a field of its head."""
_NOISE = frozenset(
    {
        b"accept-encoding",
        b"baggage",
        b"cache-control",
        b"connection",
        b"date",
        b"dnt",
        b"idempotency-key",
        b"if-modified-since",
        b"if-none-match",
        b"origin",
        b"pragma",
        b"priority",
        b"referer",
        b"sentry-trace",
        b"traceparent",
        b"tracestate",
        b"user-agent",
        b"via",
        b"x-amzn-trace-id",
        b"x-serai-timeout-ms",
    }
)
_NOISY = (b"x-stainless-", b"x-b3-", b"x-datadog-", b"sec-", b"x-goog-api-client", b"cf-")
_OF_ONE_CALL = frozenset({b"cf-ray", b"openai-processing-ms", b"retry-after", b"set-cookie"})
_OF_ONE_MOMENT = (
    b"x-ratelimit-",
    b"anthropic-ratelimit-",
    b"x-request-id",
    b"request-id",
    b"server-timing",
)
_ERROR_EVENT = re.compile(
    rb'^event: ?error|^(?:data: ?)?\{\s*"error"\s*:\s*[{"]|'
    rb'"type"\s*:\s*"(?:error|response\.failed)"|'
    rb'"finish_reason"\s*:\s*"error"',
    re.MULTILINE,
)


class Directives(msgspec.Struct, frozen=True, gc=False):
    """What a client's ``Cache-Control`` (RFC 9111, section 5.2.1) allows.

    Attributes:
        looks: an answer may come from the cache.
        keeps: the answer may go into it.
        max_age: seconds; an older answer will not do.
    """

    looks: bool = True
    keeps: bool = True
    max_age: float = float("inf")


_ANY = Directives()


def directives_of(value: bytes | None) -> Directives:
    """Read a ``Cache-Control``; what is not known there is passed over."""
    if value is None:
        return _ANY
    looks, keeps, max_age = True, True, float("inf")
    for part in value.lower().split(b","):
        name, _, argument = part.strip().partition(b"=")
        if name == b"no-store":
            looks = keeps = False
        elif name == b"no-cache":
            looks = False
        elif name == b"max-age" and argument.strip(b'"').isdigit():
            max_age = float(argument.strip(b'"'))
    return Directives(looks, keeps, max_age)


class _Told(msgspec.Struct):
    error: Any = None


_told = msgspec.json.Decoder(_Told)


class Entry(msgspec.Struct, frozen=True, gc=False):
    """An answer that is kept.

    Attributes:
        answer: its head, as the client got it.
        pieces: its body, in the pieces in which it came.
        streamed: it is a stream of events.
        stored: when, by the cache's clock.
        size: what it costs, in bytes.
    """

    answer: Answer
    pieces: tuple[bytes, ...]
    streamed: bool
    stored: float
    size: int


class Recording:
    """An answer on its way to the client, to be kept when it is complete.

    Args:
        answer: its head.
        most: longest body, in bytes.
    """

    __slots__ = ("answer", "most", "pieces", "size", "streamed")

    def __init__(self, answer: Answer, most: int, *, streamed: bool) -> None:
        headers = [field for field in answer.headers if not _of_one_call(field[0])]
        self.answer = msgspec.structs.replace(answer, headers=headers, index=dict(headers))
        self.most = most
        self.streamed = streamed
        self.pieces: list[bytes] = []
        self.size = 0

    def add(self, data: bytes) -> bool:
        """Note what the client gets; whether it is still worth to go on."""
        if data:
            self.pieces.append(data)
            self.size += len(data)
        return self.size <= self.most and len(self.pieces) <= MOST_PIECES

    def cost(self) -> int:
        """Bytes that it takes in memory."""
        fields = self.answer.headers
        head = sum(len(name) + len(value) for name, value in fields) + _FIELD_BYTES * len(fields)
        return head + self.size + PIECE_BYTES * (len(self.pieces) + 8)

    def failed(self) -> bool:
        """Whether the provider tells of an error in what looks like an answer."""
        body = b"".join(self.pieces)
        if self.streamed:
            return _ERROR_EVENT.search(body) is not None
        try:
            return _told.decode(body).error is not None
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return b"json" in self.answer.index.get(b"content-type", b"")


def _of_one_call(name: bytes) -> bool:
    return name in _OF_ONE_CALL or name.startswith(_OF_ONE_MOMENT)


class Answers:
    """The answers of all models.

    Args:
        limit: bytes that all of them may take together.
        clock: seconds that only rise.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._kept: dict[str, OrderedDict[bytes, Entry]] = {}
        self._sizes: dict[str, int] = {}

    @property
    def size(self) -> int:
        """Bytes that are taken."""
        return sum(self._sizes.values())

    def find(self, workspace: str, key: bytes, ttl: float) -> tuple[Entry, int] | None:
        """An answer that is no older than ``ttl`` seconds, and its age in whole seconds."""
        kept = self._kept.get(workspace)
        entry = None if kept is None else kept.get(key)
        if kept is None or entry is None:
            return None
        age = self._clock() - entry.stored
        if age >= ttl:
            return None
        kept.move_to_end(key)
        return entry, int(age)

    def keep(self, workspace: str, key: bytes, recording: Recording) -> None:
        """Keep an answer, in place of an earlier one; older ones give way."""
        size = recording.cost()
        self.drop(workspace, key)
        if size > self._limit:
            return
        pieces = tuple(recording.pieces)
        entry = Entry(recording.answer, pieces, recording.streamed, self._clock(), size)
        self._kept.setdefault(workspace, OrderedDict())[key] = entry
        self._sizes[workspace] = self._sizes.get(workspace, 0) + size
        while self.size > self._limit:
            largest = max(self._sizes, key=self._sizes.__getitem__)
            self.drop(largest, next(iter(self._kept[largest])))

    def drop(self, workspace: str, key: bytes) -> None:
        """Forget an answer."""
        kept = self._kept.get(workspace)
        entry = None if kept is None else kept.pop(key, None)
        if kept is None or entry is None:
            return
        self._sizes[workspace] -= entry.size
        if not kept:
            del self._kept[workspace], self._sizes[workspace]


def key_of(resource_id: str, start: bytes, headers: Headers, body: bytes, *, strip: bool) -> bytes:
    """The key of a call.

    Args:
        resource_id: of the model.
        start: path, query and host at the provider.
        headers: of the client's request that go to the provider.
        body: as the provider gets it.
        strip: the client did not ask for the usage that the provider is asked for.
    """
    digest = hashlib.sha256()
    for part in (resource_id.encode(), start, b"1" if strip else b"", *_telling(headers), body):
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return digest.digest()


def _telling(headers: Headers) -> Iterable[bytes]:
    """Header fields that may change an answer, in an order of their own."""
    fields = [
        name + b":" + value
        for name, value in headers
        if name not in _NOISE and not name.startswith(_NOISY)
    ]
    return sorted(fields)
