"""Header lines that were seen before, so that a client's or provider's habits are read once.

Clients and providers send nearly the same header lines with every message. Here a line is judged
when it is first seen and then only looked up. Whatever is not plain (an unusual framing, a second
credential, a field that needs thought) is called odd, and its message is read the long way, by the
HTTP parser; so nothing is decided here that the parser would decide otherwise.
"""

import re
from collections.abc import Callable

from serai.gateway.credentials import bearer
from serai.gateway.forwarding import DROPPED_ANSWER, DROPPED_FOR_MODEL

PLAIN, LENGTH, TYPE, HOST, CREDENTIAL, ODD = 0, 1, 2, 4, 8, 16
STREAM, CHUNKED = 32, 64
"""What a line is; all but the first may stand in a message once. ``TYPE`` is a content type of
JSON, ``STREAM`` one of events."""

Line = tuple[int, bytes, bytes]
"""What it is, how it is passed on (with its line end; empty for not at all), and its value."""

_REMEMBERED = 4096
_LONGEST = 512
_FIELD = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*"
    rb"((?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)"
)
_DIGITS = re.compile(rb"[0-9]{1,9}")
_ODD_IN_REQUEST = frozenset(
    {
        b"expect",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"x-request-id",
        b"x-serai-timeout-ms",
    }
)
_ODD_IN_ANSWER = frozenset(
    {b"content-encoding", b"set-cookie", b"trailer", b"transfer-encoding", b"upgrade"}
)
_KINDS = {b"application/json": TYPE, b"text/event-stream": STREAM}
_ODD_LINE: Line = (ODD, b"", b"")


class Familiar(dict[bytes, Line]):
    """Lines by their bytes; an unknown one is judged and remembered when it is looked up."""

    def __init__(self, judge: Callable[[bytes, bytes], Line]) -> None:
        super().__init__()
        self._judge = judge

    def __missing__(self, line: bytes) -> Line:
        found = _FIELD.fullmatch(line) if len(line) <= _LONGEST else None
        if found is None:
            return _ODD_LINE
        judged = self._judge(found[1].lower(), found[2])
        if len(self) >= _REMEMBERED:
            self.clear()
        self[line] = judged
        return judged


def of_request(name: bytes, value: bytes) -> Line:
    """A line of a model call: what of it the provider gets."""
    if name in (b"authorization", b"x-blaxel-authorization"):
        token = bearer(value)
        return (CREDENTIAL, b"", token) if token else (PLAIN if value else ODD, b"", b"")
    if name == b"content-type":
        is_json = b"json" in value.lower()
        return (TYPE if is_json else ODD, b"content-type: %b\r\n" % value, value)
    if name == b"host":
        return HOST, b"", value
    return _common(name, value, _ODD_IN_REQUEST, DROPPED_FOR_MODEL)


def of_answer(name: bytes, value: bytes) -> Line:
    """A line of a provider's answer: what of it the client gets."""
    if name == b"content-type":
        kind = _KINDS.get(value.lower().partition(b";")[0].rstrip(), ODD)
        return kind, b"content-type: %b\r\n" % value, value
    if name == b"transfer-encoding" and value == b"chunked":
        return CHUNKED, b"", value
    if name == b"x-request-id":
        return PLAIN, b"x-upstream-request-id: %b\r\n" % value, value
    return _common(name, value, _ODD_IN_ANSWER, DROPPED_ANSWER)


def _common(name: bytes, value: bytes, odd: frozenset[bytes], dropped: frozenset[bytes]) -> Line:
    if name == b"content-length":
        return (LENGTH, b"", value) if _DIGITS.fullmatch(value) else _ODD_LINE
    if name == b"connection":
        return (PLAIN if value.lower() == b"keep-alive" else ODD), b"", value
    if name in odd:
        return _ODD_LINE
    return PLAIN, (b"" if name in dropped else b"%b: %b\r\n" % (name, value)), value
