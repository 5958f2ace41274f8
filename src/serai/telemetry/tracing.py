"""Spans of model calls, as OpenTelemetry's conventions for generative AI have them.

A call continues the trace of its client (``traceparent``, W3C Trace Context) or begins one, and
hands the trace on to the provider. Whether a trace that begins here is recorded is a matter of
chance; one that a client began is recorded when the client says that it is.
"""

import random
import re
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

Value = str | int | float | bool
_PARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_SAMPLED = 1


class Span(msgspec.Struct, frozen=True, gc=False):
    """A span that is recorded.

    Attributes:
        trace_id: 32 lower-case hexadecimal digits.
        span_id: 16 of them.
        parent_id: that of the client's span; empty for a trace that begins here.
    """

    trace_id: str
    span_id: str
    parent_id: str

    def header(self) -> bytes:
        """The ``traceparent`` for who is called."""
        return f"00-{self.trace_id}-{self.span_id}-01".encode("ascii")


class Description(msgspec.Struct, frozen=True):
    """What a span is about.

    Attributes:
        name: for people.
        started: seconds since 1970.
        attributes: values by name; empty texts are left out when it is sent.
        error: what went wrong; empty for nothing.
    """

    name: str
    started: float
    attributes: Mapping[str, Value]
    error: str = ""


class Finished(msgspec.Struct, frozen=True):
    """A span that has ended, at ``end`` nanoseconds since 1970."""

    span: Span
    about: Description
    end: int


class Exporter(Protocol):
    """Where spans go."""

    def add(self, finished: Finished) -> None:
        """Take a span; never blocks."""


class Tracer:
    """Begins and ends spans of calls described by ``describe``.

    Args:
        exporter: takes what has ended.
        ratio: the share of traces beginning here that is recorded, 0 to 1.
        describe: says what a call was, from what its end tells.
        describe_attempt: says the same of one of its attempts.
        clock: nanoseconds since 1970.
    """

    def __init__(
        self,
        exporter: Exporter,
        ratio: float,
        describe: Callable[..., Description],
        describe_attempt: Callable[..., Description] | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._exporter = exporter
        self._ratio = ratio
        self._describe = describe
        self._describe_attempt = describe_attempt or describe
        self._clock = clock
        self._random = random.Random()  # noqa: S311 - seeded by the system; ids are no secrets

    def begin(self, traceparent: bytes | None) -> Span | None:
        """A span for a call with this header; None for a call that is not recorded."""
        parent = _PARENT.fullmatch(traceparent) if traceparent is not None else None
        if parent is None or not _is_valid(parent):
            recorded = self._ratio > 0 and self._random.random() < self._ratio
            return Span(self._hex(128), self._hex(64), "") if recorded else None
        if not int(parent[4], 16) & _SAMPLED:
            return None
        return Span(parent[2].decode(), self._hex(64), parent[3].decode())

    def child(self, span: Span) -> Span:
        """A span below another one, recorded as that is."""
        return Span(span.trace_id, self._hex(64), span.span_id)

    def _hex(self, bits: int) -> str:
        return f"{self._random.getrandbits(bits) or 1:0{bits // 4}x}"

    def end(self, span: Span, *call: object) -> None:
        """The call has ended."""
        self._exporter.add(Finished(span, self._describe(*call), self._clock()))

    def attempt_ended(self, span: Span, *attempt: object) -> None:
        """An attempt of a call has ended."""
        self._exporter.add(Finished(span, self._describe_attempt(*attempt), self._clock()))


def _is_valid(parent: re.Match[bytes]) -> bool:
    """Version ``ff`` and ids of zeros mean nothing; version 00 has nothing after its flags."""
    exact = parent[1] != b"00" or len(parent[0]) == 55
    named = parent[2].strip(b"0") and parent[3].strip(b"0")
    return exact and parent[1] != b"ff" and bool(named)
