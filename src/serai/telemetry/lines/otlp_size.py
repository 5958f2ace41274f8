"""Looking at the size of OTLP logs before they are read: a few bytes may stand for many objects."""

from collections.abc import Mapping
from typing import Any

from serai.kernel.errors import BadRequest, PayloadTooLarge

SMALL = 256 * 1024
"""Bytes of a body that cannot stand for too much."""
PARTS_MOST = 400_000
DEPTH_MOST = 64
_TOO_MANY = f"A request may have {PARTS_MOST:,} parts: send fewer at a time."

Shape = Mapping[int, Any]
"""Which fields of a message are messages themselves, and what those are."""
_VALUE: dict[int, Any] = {}
_PAIR: Shape = {2: _VALUE}
_VALUE |= {5: {1: _VALUE}, 6: {1: _PAIR}}


def _request(item: Shape) -> Shape:
    """A request: of resources, with scopes, with items."""
    return {1: {1: {1: _PAIR}, 2: {1: {3: _PAIR}, 2: item}}}


_POINTS: Shape = {1: {1: _PAIR, 5: {7: _PAIR}, 6: {}, 7: _PAIR, 8: {7: _PAIR}, 9: _PAIR, 11: {}}}
LOGS = _request({5: _VALUE, 6: _PAIR})
TRACES = _request({9: _PAIR, 11: {3: _PAIR}, 13: {4: _PAIR}})
METRICS = _request({5: _POINTS, 7: _POINTS, 9: _POINTS, 10: _POINTS, 11: _POINTS, 12: _PAIR})


def check_size(body: bytes, is_json: bool, shape: Shape) -> None:
    """Refuse a body that stands for more objects than we want to make.

    Args:
        body: of a request.
        is_json: whether it is JSON and not protobuf.
        shape: of the request: ``LOGS``, ``TRACES`` or ``METRICS``.

    Raises:
        PayloadTooLarge: it does.
        BadRequest: it is no protobuf, or nested too deeply.
    """
    if len(body) <= SMALL:
        return
    if is_json:
        if body.count(b"{") + body.count(b"[") > PARTS_MOST:
            raise PayloadTooLarge(_TOO_MANY)
        return
    _Walk(body).message(0, len(body), shape, 0)


class _Walk:
    """Goes through the fields of protobuf, and makes nothing of them."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._left = PARTS_MOST

    def message(self, at: int, end: int, shape: Shape, depth: int) -> None:
        if depth > DEPTH_MOST:
            raise BadRequest("The body is nested too deeply.")
        while at < end:
            self._left -= 1
            if self._left < 0:
                raise PayloadTooLarge(_TOO_MANY)
            tag, at = self._number(at, end)
            kind = tag & 7
            if kind == 2:
                length, at = self._number(at, end)
                below = shape.get(tag >> 3)
                if below is not None and at + length <= end:
                    self.message(at, at + length, below, depth + 1)
                at += length
            else:
                at = self._skipped(kind, at, end)
        if at != end:
            raise _malformed()

    def _skipped(self, kind: int, at: int, end: int) -> int:
        if kind == 0:
            return self._number(at, end)[1]
        if kind not in {1, 5}:  # groups are in no message of OTLP
            raise _malformed()
        return at + (8 if kind == 1 else 4)

    def _number(self, at: int, end: int) -> tuple[int, int]:
        number = shift = 0
        while at < end and shift < 70:
            byte = self._body[at]
            at += 1
            number |= (byte & 127) << shift
            if byte < 128:
                return number, at
            shift += 7
        raise _malformed()


def _malformed() -> BadRequest:
    return BadRequest("The body is no request of OTLP in protobuf.")
