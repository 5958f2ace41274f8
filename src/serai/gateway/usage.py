"""Reading token counts out of what model servers answer.

Understood: the OpenAI shapes (``usage.prompt_tokens``, and ``usage.input_tokens`` of the
responses API, also inside the final stream event's ``response``) and the Anthropic ones
(``usage`` of a message, of ``message_start`` and of ``message_delta``).
"""

import re

import msgspec


class ModelUsage(msgspec.Struct, frozen=True, kw_only=True):
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


class _Counts(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


class _Holder(msgspec.Struct):
    usage: _Counts | None = None


class _Event(msgspec.Struct):
    usage: _Counts | None = None
    choices: list[msgspec.Raw] | None = None
    message: _Holder | None = None
    response: _Holder | None = None


_answer = msgspec.json.Decoder(_Holder).decode
_event = msgspec.json.Decoder(_Event).decode
_GAP = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_LINE = re.compile(rb"\r\n|\n|\r")
_LARGEST_ANSWER = 8 * 1024 * 1024
_LARGEST_EVENT = 1024 * 1024


class Tally:
    """Token counts seen so far."""

    __slots__ = ("counted", "input", "output", "total")

    def __init__(self) -> None:
        self.counted = False
        self.input = 0
        self.output = 0
        self.total = 0

    def add(self, counts: _Counts) -> None:
        """Take over what a report says; later reports of a stream replace earlier ones."""
        self.counted = True
        received = counts.prompt_tokens if counts.input_tokens is None else counts.input_tokens
        sent = counts.completion_tokens if counts.output_tokens is None else counts.output_tokens
        self.input = self.input if received is None else received
        self.output = self.output if sent is None else sent
        self.total = counts.total_tokens or self.input + self.output


class AnswerMeter:
    """Counts a JSON answer; keeps up to 8 MiB of it until its end."""

    __slots__ = ("parts", "size", "tally")

    def __init__(self) -> None:
        self.tally = Tally()
        self.parts: list[bytes] = []
        self.size = 0

    def feed(self, data: bytes) -> bytes:
        """Note a piece of the body; returns what the client is to get, which is the same."""
        self.size += len(data)
        if self.size <= _LARGEST_ANSWER:
            self.parts.append(data)
        return data

    def end(self) -> bytes:
        """Count; returns what is still to be sent, which is nothing."""
        if self.size <= _LARGEST_ANSWER:
            self._count(self.parts[0] if len(self.parts) == 1 else b"".join(self.parts))
        return b""

    def _count(self, body: bytes) -> None:
        try:
            counts = _answer(body).usage
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return
        if counts is not None:
            self.tally.add(counts)


class StreamMeter:
    """Counts an event stream as it passes.

    Args:
        strip: drop the event that holds only the usage, which the gateway asked for and the
            client did not.

    Only an event that is not complete yet is held back, and only while ``strip`` is on.
    """

    __slots__ = ("held", "strip", "tally")

    def __init__(self, *, strip: bool) -> None:
        self.tally = Tally()
        self.strip = strip
        self.held = b""

    def feed(self, data: bytes) -> bytes:
        """Note a piece of the stream; returns what the client gets now."""
        whole = self.held + data if self.held else data
        if b'"usage"' not in whole and whole.endswith((b"\n\n", b"\r\n\r\n", b"\r\r")):
            self.held = b""
            return whole if self.strip else data
        passed = self._events(whole)
        return passed if self.strip else data

    def _events(self, whole: bytes) -> bytes:
        out: list[bytes] = []
        start = 0
        for gap in _GAP.finditer(whole):
            # CR LF CR | LF may be cut between two reads: a gap at the very end is complete anyway
            event = whole[start : gap.end()]
            start = gap.end()
            if not self._count(event):
                out.append(event)
        rest = whole[start:]
        if len(rest) > _LARGEST_EVENT:
            out.append(rest)
            rest = b""
        self.held = rest
        return b"".join(out)

    def _count(self, event: bytes) -> bool:
        """Count one event; whether it is the one to drop."""
        if b'"usage"' not in event:
            return False
        lines = [line[5:].lstrip() for line in _LINE.split(event) if line.startswith(b"data:")]
        try:
            seen = _event(b"\n".join(lines))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return False
        for counts in (
            seen.usage,
            seen.message and seen.message.usage,
            seen.response and seen.response.usage,
        ):
            if counts:
                self.tally.add(counts)
        return self.strip and seen.usage is not None and seen.choices == []

    def end(self) -> bytes:
        """What was held back of an event that never ended (a stream may end without a gap)."""
        rest, self.held = self.held, b""
        dropped = bool(rest) and self._count(rest)
        return b"" if dropped or not self.strip else rest


Meter = AnswerMeter | StreamMeter
