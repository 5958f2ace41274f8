"""The short way of a streamed answer: what the provider sends is passed on as it came.

A Relay takes over from the Express whose answer has turned out to be a plain stream of events. As
long as each read ends with a chunk and an event, it is written to the client untouched; a parser
only watches. The first thing out of the ordinary (an event in pieces, trailers, a client that
leaves, a caller whose access must be looked up again) turns the Relay into the ModelExchange that
it stands for, whose parser is told the head and reads on from there.
"""

import re
import time
from itertools import repeat
from typing import TYPE_CHECKING, ClassVar, cast

import httptools
import msgspec

from serai.gateway.models.outcome import unreported
from serai.gateway.upstream import Caller, Upstream
from serai.gateway.usage import GAP, StreamMeter

if TYPE_CHECKING:
    from serai.gateway.models.exchange import ModelExchange
    from serai.gateway.models.express import Express

_LAST = b"0\r\n\r\n"
_USAGE, _NO_USAGE = b'"usage', b'"usage":null'
_HEX_DIGITS, _REMEMBERED = 7, 1024
_HEX = re.compile(rb"[0-9A-Fa-f]{1,7}")
_ONE_EVENT = 512
"""Bytes for each chunk of a read below which the chunks are taken for one event each."""


class Sizes(dict[bytes, int]):
    """Chunk sizes by how they are written; what is no plain size is -1."""

    def __missing__(self, text: bytes) -> int:
        size = int(text, 16) if _HEX.fullmatch(text) else -1
        if len(text) <= _HEX_DIGITS:
            if len(self) >= _REMEMBERED:
                self.clear()
            self[text] = size
        return size


class Watcher:
    """Reads chunked answers of one connection, one after the other; makes payloads of each read.

    Attributes:
        payloads: those of the chunks of the last read.
        ended: the answer is complete.
    """

    __slots__ = ("_begun", "_parser", "ended", "on_body", "payloads")

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.on_body = self.payloads.append
        self.ended = False
        self._begun = 0
        self._parser = httptools.HttpResponseParser(self)

    def on_message_begin(self) -> None:
        self._begun += 1

    def on_message_complete(self) -> None:
        self.ended = True

    def begin(self, head: bytes) -> bool:
        """Read an answer's head, up to and with its empty line; whether all was well."""
        self._begun, self.ended = 0, False
        return self.read(head)

    def read(self, data: bytes) -> bool:
        """Read on; whether all was well."""
        self.payloads.clear()
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            return False
        return self._begun == 1

    def is_whole(self, data: bytes) -> bool:
        """Whether the last read ended with a whole chunk (and event), and has no trailers."""
        end = _LAST if self.ended else b""
        if not self.payloads:
            return data == end
        last = self.payloads[-1]
        chunk = b"%x\r\n%b\r\n%b" % (len(last), last, end)
        before = len(data) - len(chunk)
        framed = data[before - 2 : before] == b"\r\n" if before else True
        return framed and data.endswith(chunk) and last.endswith(b"\n\n")


class Relay(msgspec.Struct):
    """One streamed answer; to the client's connection it is Request and Sink in one.

    Attributes:
        call: the call that it answers.
        head: of the answer, as it came.
        sizes: of chunks, as they are written.
        watcher: reads along.
        meter: counts.
        headed: when the head came, and
        first: when the body began.
    """

    call: "Express"
    head: bytes
    sizes: Sizes
    watcher: Watcher = None  # type: ignore[assignment]
    meter: StreamMeter = None  # type: ignore[assignment]
    headed: float = 0.0
    first: float = 0.0
    keep_alive: bool = True
    complete: bool = True
    expects: bool = False
    head_only: ClassVar[bool] = False
    express: ClassVar[bool] = True

    @property
    def sink(self) -> "Relay":
        """Who handles the request: itself."""
        return self

    def begin(self, out: list[bytes], body: bytes) -> bool:
        """Pass the head on (``out`` has its lines so far), and what came of the body with it.

        False, with nothing done, when that is no plain beginning.
        """
        call = self.call
        client, upstream = call.client, call.upstream
        watcher = upstream.watcher = upstream.watcher or Watcher()
        if not (watcher.begin(self.head) and watcher.read(body) and watcher.is_whole(body)):
            upstream.watcher = None
            return False
        self.watcher = watcher
        self.meter = StreamMeter(strip=call.strip)
        self.headed = time.time()
        out += (call.timing(self.headed), b"transfer-encoding: chunked\r\nx-request-id: ")
        out += (call.request_id, b"\r\n\r\n")
        upstream.heard = True
        upstream.caller = cast(Caller, self)
        client.replace_active(self)
        if body:
            self.first = self.headed
            out.append(self._metered(body))
        self._pass(b"".join(out))
        return True

    # -- the upstream's side
    def whole(self, data: bytes) -> bool:
        """Pass on what was read, if it is whole chunks; else the long way must read it."""
        edge = data.find(b"\r\n", 1, 9)
        if (
            len(data) < _ONE_EVENT
            and self.sizes[data[:edge]] == len(data) - edge - 4
            and data.endswith(b"\n\n\r\n")
            and _USAGE not in data
        ):  # one chunk: the watcher need not see it, as it stands between chunks before and after
            self.meter.events += 1
            if not self.first:
                self.first = time.time()
            self.call.client.write(data)
            return True
        return self._watched(data)

    def _watched(self, data: bytes) -> bool:
        watcher = self.watcher
        if not (watcher.read(data) and watcher.is_whole(data)):
            return False
        if not self.first:
            self.first = time.time()
        self._pass(self._metered(data))
        return True

    def _pass(self, data: bytes) -> None:
        call = self.call
        if not self.watcher.ended:
            if data:
                call.client.write(data)
            return
        call.upstream.heard = False
        call.keep_alive = self.keep_alive
        tally, events = self.meter.tally, self.meter.events
        estimated = not tally.counted and unreported(tally, events, call.plan.operation)
        if estimated:
            tally.note(None, events)
        now = time.time()
        call.settle(data, tally, now, streamed=True, first=self.first, estimated=estimated)

    def _metered(self, data: bytes) -> bytes:
        """Count what was read; what the client gets of it."""
        payloads, meter = self.watcher.payloads, self.meter
        text = payloads[0] if len(payloads) == 1 else b"".join(payloads)
        at = _usage(text, 0)
        if at < 0 or not meter.strip:
            meter.events += _events(payloads, text)
            while at >= 0:
                at = self._read(text, at)
            return data
        kept = [b"%x\r\n%b\r\n" % (len(part), part) for part in map(meter.feed, payloads) if part]
        return b"".join((*kept, _LAST if self.watcher.ended else b""))

    def _read(self, text: bytes, at: int) -> int:
        """Let the meter read the event around a place; the next place to read, -1 for none."""
        start, end = text.rfind(b"\n\n", 0, at), text.find(b"\n\n", at) + 2
        event = text[start + 2 if start >= 0 else 0 : end]
        if b"\r" not in event:
            self.meter.count(event)
        else:  # perhaps more than one
            counted = self.meter.events
            self.meter.feed(event)
            self.meter.events = counted  # they were counted with the others
        return _usage(text, end)

    def broken(self, upstream: Upstream, reason: str) -> None:
        self.unfold().broken(upstream, reason)

    def upstream_full(self) -> None: ...

    def upstream_ready(self) -> None: ...

    # -- the client's side
    def lost(self) -> None:
        self.unfold().lost()

    def client_full(self) -> None:
        self.call.upstream.transport.pause_reading()

    def client_ready(self) -> None:
        self.call.upstream.transport.resume_reading()

    def tick(self, now: float) -> None:
        call = self.call
        if call.client.gateway.authenticator.cached(call.head.token) is not call.principal:
            self.unfold().tick(now)

    def body(self, data: bytes) -> None: ...

    def end(self) -> None: ...

    def unfold(self) -> "ModelExchange":
        """Become the exchange that handles everything, in the midst of the answer."""
        call = self.call
        call.keep_alive = self.keep_alive
        upstream = call.upstream
        upstream.watcher = None
        gone = upstream.caller is None
        exchange = call.unfold()
        upstream.caller = exchange
        upstream.parser.feed_data(self.head)
        if gone:
            upstream.caller = None
        exchange.out = []  # the head was sent
        exchange.meter = self.meter
        exchange.headed, exchange.first = self.headed, self.first
        return exchange


def _events(payloads: list[bytes], text: bytes) -> int:
    """How many events ``text`` has, which are the payloads: nearly always one in each."""
    count = len(payloads)
    if len(text) < _ONE_EVENT * count and (
        count == 1 or all(map(bytes.endswith, payloads, repeat(b"\n\n")))
    ):
        return count
    return len(GAP.findall(text))


def _usage(text: bytes, start: int) -> int:
    """Where usage is told, -1 for nowhere; some providers tell of none in each event but one."""
    at = text.find(_USAGE, start)
    while at >= 0 and text.startswith(_NO_USAGE, at):
        at = text.find(_USAGE, at + len(_NO_USAGE))
    return at
