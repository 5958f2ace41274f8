"""Heads of plain model calls, which are read once and then known by their bytes."""

import re
from typing import TYPE_CHECKING

import msgspec

from serai.gateway.familiar import CREDENTIAL, HOST, ODD, TYPE, Familiar, of_request
from serai.gateway.models.plans import Plan
from serai.gateway.targets import Target

if TYPE_CHECKING:
    from serai.gateway.gateway import Gateway

LONGEST_HEAD = 2048
"""Bytes of a head that is remembered."""
_REMEMBERED = 1024
_FIRST_LINE = re.compile(rb"POST (/[!-~]{1,511}) HTTP/1\.1")
_BEGINS = frozenset({b"\r\nC", b"\r\nc"})
_LENGTH = re.compile(rb"[1-9][0-9]{0,8}")
_LENGTH_LINE = 32
"""More than the line of a body's length has."""


class Head(msgspec.Struct, gc=False):
    """A request's head, read: what it addresses, who sent it, and what of it passes on.

    Attributes:
        target: what it addresses.
        key: where the model is in the table of routes.
        host: the ``Host`` field.
        token: the credential.
        passed: the lines that the provider gets.
        lines: the header lines as they came, but that of the body's length.
        traced: the client's own trace goes on with the call.
        plan: the plan by which it was sent last.
        start: what the provider then gets, up to the request's id.
        domains: those of the route table when the host was found to be ours.
    """

    target: Target
    key: tuple[str, str]
    host: bytes
    token: str
    passed: bytes
    lines: list[bytes]
    traced: bool
    plan: Plan | None = None
    start: bytes = b""
    domains: object = None

    def follow(self, plan: Plan) -> None:
        """Prepare to be sent by this plan."""
        defaults = b""
        if plan.defaults:
            names = {line.partition(b":")[0].lower() for line in self.lines}
            defaults = b"".join(line for name, line in plan.defaults if name not in names)
        fields = self.passed, defaults, plan.fields
        self.plan = plan
        self.start = b"POST%b%b%b%baccept-encoding: identity\r\nx-request-id: " % (
            plan.start(None),
            *fields,
        )


class Heads:
    """Heads by their bytes; an unknown one is read line by line.

    The length of the body stands apart, as it is what differs between the calls of a client.
    """

    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway
        self._lines = Familiar(of_request)
        self._known: dict[bytes, Head | None] = {}

    def find(self, data: bytes) -> tuple[Head, int] | None:
        """A head, and the length of the body in bytes; None for one that needs the parser."""
        at = data.find(b"ontent-Length: ")
        if at < 0:
            at = data.find(b"ontent-length: ")
        end = data.find(b"\r\n", at)
        if end < 0:
            end = len(data)
        digits = data[at + 15 : end]
        if at < 0 or data[at - 3 : at] not in _BEGINS or not _LENGTH.fullmatch(digits):
            return None
        rest = data[: at - 3] + data[end:]
        try:
            head = self._known[rest]
        except KeyError:
            head = self._keep(rest)
        length = int(digits)
        if head is None or length > self._gateway.limits.model_body_bytes:
            return None
        return head, length

    def _keep(self, data: bytes) -> Head | None:
        head = self._read(data)
        if len(data) <= LONGEST_HEAD:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[data] = head
        return head

    def _read(self, data: bytes) -> Head | None:
        """A head without the line of the body's length."""
        first, *lines = data.split(b"\r\n")
        found = _FIRST_LINE.fullmatch(first)
        target = self._gateway.target(found[1]) if found else None
        limits = self._gateway.limits
        if target is None or target.kind != b"models" or target.query is not None:
            return None
        if len(data) + _LENGTH_LINE > limits.header_bytes or len(lines) >= limits.header_count:
            return None
        passed, values, seen = [], {}, 0
        for line in lines:
            mark, kept, value = self._lines[line]
            if mark:
                if mark & seen or mark == ODD:
                    return None
                seen |= mark
                values[mark] = value
            passed.append(kept)
        if seen | TYPE != HOST | CREDENTIAL | TYPE:  # nor another length
            return None
        token = values[CREDENTIAL].decode("latin-1")
        traced = any(line[:12].lower() == b"traceparent:" for line in lines)
        key = (target.workspace, target.name)
        return Head(target, key, values[HOST], token, b"".join(passed), lines, traced)
