"""Reading token counts out of what model servers answer, while it passes."""

import re
import zlib

import msgspec

from serai.gateway.models.counts import Tally, count_tail, read_answer, read_event


class ModelUsage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One answered model call.

    Attributes:
        request_id: the ``x-request-id`` of the call.
        status: HTTP status sent to the client; 499 when the client left before the answer.
        input_tokens: tokens of the prompt.
        output_tokens: tokens of the answer.
        total_tokens: as the server reports it, else the sum.
        started: epoch seconds of the request's start.
        duration: seconds from there to the last byte.
        streamed: the answer was an event stream.
        counted: the server reported usage; otherwise the token numbers are 0 or incomplete.
        estimated: the stream ended before its last report or without one, so the output is taken
            for one token for each event that passed.
        attempts: how often it was sent to a provider; 0 when the cache answered.
        cache: ``hit`` or ``miss`` of a model with a cache, else empty.
        first_byte: seconds from the start to the first byte of the answer (of a stream's first
            event, not of its head); 0 when none came.
        operation: what was asked for, as OpenTelemetry names it: ``chat``, ``embeddings``, …
        cached_tokens: of the prompt, those that the provider had cached, where it tells.
        reasoning_tokens: of the answer, those that were thought, where it tells.
        answered_by: the model that the answer names; empty when it names none.
        error: code of the error that was answered; empty for none.
        origin: whose error it is, ``platform`` or ``provider``; empty for none.
        called: the model in the path, where that may not be the one that answered.
    """

    request_id: str
    status: int
    input_tokens: int
    output_tokens: int
    total_tokens: int
    started: float
    duration: float
    streamed: bool
    counted: bool
    estimated: bool = False
    attempts: int = 1
    cache: str = ""
    first_byte: float = 0.0
    operation: str = ""
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    answered_by: str = ""
    error: str = ""
    origin: str = ""
    called: str = ""

    def untold(self) -> bool:
        """Whether a provider may have used tokens that it did not tell."""
        unknown = self.attempts > 0 and (self.estimated or not self.counted)
        return unknown and (self.status < 400 or self.status == 499)

    def written(self) -> int:
        """Tokens of the answer, with those that only the total tells (hidden reasoning)."""
        return max(self.output_tokens, self.total_tokens - self.input_tokens)


GAP = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_LINE = re.compile(rb"\r\n|\n|\r")
_LARGEST_ANSWER = 1024 * 1024
_TAIL = 64 * 1024
_LARGEST_EVENT = 1024 * 1024
_ONE_EVENT = 512
"""What is shorter is taken for one event without a look."""
_ENDS = (b"\n\n", b"\r\n\r\n", b"\r\r")


class AnswerMeter:
    """Counts a JSON answer; keeps up to 1 MiB of it until its end, of longer ones the end."""

    __slots__ = ("broken", "parts", "size", "tally")

    def __init__(self) -> None:
        self.tally = Tally()
        self.parts: list[bytes] = []
        self.size = 0
        self.broken = False
        """The answer is complete and no JSON."""

    def feed(self, data: bytes) -> bytes:
        """Note a piece of the body; returns what the client is to get, which is the same."""
        self.size += len(data)
        self.parts.append(data)
        if self.size > _LARGEST_ANSWER and len(self.parts) > 1:
            self.parts = [b"".join(self.parts)[-_TAIL:]]
        return data

    def end(self) -> bytes:
        """Count; returns what is still to be sent, which is nothing."""
        body = self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
        if self.size > _LARGEST_ANSWER:
            count_tail(body[-_TAIL:], self.tally)
        else:
            self._count(body)
        return b""

    def _count(self, body: bytes) -> None:
        if not body:
            return
        try:
            found = read_answer(body)
        except msgspec.ValidationError:
            return
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self.broken = True
            return
        for report in found if isinstance(found, list) else (found,):
            if report is not None:
                report.add_to(self.tally)


class StreamMeter:
    """Counts an event stream as it passes.

    Args:
        strip: drop the event that holds only the usage, which the gateway asked for and the
            client did not.

    Only an event that is not complete yet is held back, and only while ``strip`` is on.
    """

    __slots__ = ("events", "held", "strip", "tally")

    def __init__(self, *, strip: bool) -> None:
        self.tally = Tally()
        self.strip = strip
        self.held = bytearray()
        self.events = 0

    def feed(self, data: bytes) -> bytes:
        """Note a piece of the stream; returns what the client gets now."""
        if not self.held and b'"usage' not in data and data.endswith(_ENDS):
            self.events += 1 if len(data) < _ONE_EVENT else data.count(b"\n\n") or 1
            return data
        passed = self._events(data)
        return passed if self.strip else data

    def _events(self, data: bytes) -> bytes:
        out: list[bytes] = []
        held = self.held
        look = max(0, len(held) - 3)
        held += data
        start = 0
        for gap in GAP.finditer(held, look):
            # CR LF CR | LF may be cut between two reads: a gap at the very end is complete anyway
            event = bytes(held[start : gap.end()])
            start = gap.end()
            self.events += 1
            if not self.count(event):
                out.append(event)
        del held[:start]
        if len(held) > _LARGEST_EVENT:
            out.append(bytes(held))
            held.clear()
        return b"".join(out)

    def count(self, event: bytes) -> bool:
        """Count one event; whether it is the one to drop."""
        if b'"usage' not in event:
            return False
        if event.startswith(b"data: {") and event.find(b"\n") == len(event) - 2:
            text = event[6:]  # one line
        else:
            lines = [line[5:].lstrip() for line in _LINE.split(event) if line.startswith(b"data:")]
            text = b"\n".join(lines)
        try:
            seen = read_event(text)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return False
        seen.add_to(self.tally)
        return self.strip and seen.usage is not None and seen.choices == []

    def end(self) -> bytes:
        """What was held back of an event that never ended (a stream may end without a gap)."""
        rest = bytes(self.held)
        self.held.clear()
        dropped = bool(rest) and self.count(rest)
        return b"" if dropped or not self.strip else rest


class LineMeter:
    """Counts a stream of JSON documents, one a line (Cohere's first API, Ollama's own)."""

    __slots__ = ("events", "held", "tally")

    def __init__(self) -> None:
        self.tally = Tally()
        self.held = bytearray()
        self.events = 0

    def feed(self, data: bytes) -> bytes:
        """Note a piece of the stream; returns what the client is to get, which is the same."""
        self.held += data
        if b"\n" in data:
            *lines, rest = bytes(self.held).split(b"\n")
            self.held[:] = rest
            self.events += len(lines)
            for line in lines:
                self._count(line)
        elif len(self.held) > _LARGEST_EVENT:
            self.held.clear()
        return data

    def _count(self, line: bytes) -> None:
        if b'"usage' in line or b'"meta"' in line or b'eval_count"' in line:
            try:
                read_event(line).add_to(self.tally)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                pass

    def end(self) -> bytes:
        """Count a last line without an end."""
        self._count(bytes(self.held))
        self.held.clear()
        return b""


PlainMeter = AnswerMeter | StreamMeter | LineMeter


class PackedMeter:
    """Counts an answer that the server has compressed although it was asked not to."""

    __slots__ = ("inflate", "inner")

    def __init__(self, inner: PlainMeter) -> None:
        self.inner = inner
        self.inflate: zlib._Decompress | None = zlib.decompressobj(47)

    @property
    def tally(self) -> Tally:
        """What was counted."""
        return self.inner.tally

    def feed(self, data: bytes) -> bytes:
        """Note a piece; it passes as it is. What unpacks to too much is not looked at."""
        if self.inflate is not None:
            try:
                plain = self.inflate.decompress(data, _LARGEST_ANSWER)
            except zlib.error:
                self.inflate = None
                return data
            if self.inflate.unconsumed_tail:
                self.inflate = None
            elif plain:
                self.inner.feed(plain)
        return data

    def end(self) -> bytes:
        """Count."""
        if self.inflate is not None:
            self.inner.end()
        return b""


Meter = PlainMeter | PackedMeter


def meter_for(kind: bytes, coding: bytes, *, strip: bool) -> Meter | None:
    """The meter for a content type (in lower case) and a content coding; None to count nothing."""
    if kind == b"application/json" and not coding:
        return AnswerMeter()
    meter: PlainMeter
    if kind.startswith(b"text/event-stream"):
        meter = StreamMeter(strip=strip and not coding)
    elif kind.startswith((b"application/x-ndjson", b"application/stream+json")):
        meter = LineMeter()
    elif b"json" in kind:
        meter = AnswerMeter()
    else:
        return None
    if coding in (b"", b"identity"):
        return meter
    return PackedMeter(meter) if coding in (b"gzip", b"deflate") else None
