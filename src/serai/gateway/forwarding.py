"""Which header fields pass through the gateway, and which it writes itself."""

import re
from collections.abc import Callable

import msgspec

from serai.gateway.credentials import Credential, foreign_cookies, is_our_cookie, is_ours
from serai.gateway.problems import status_line
from serai.gateway.upstream import Answer, Headers
from serai.kernel.errors import BadRequest

_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_PLATFORM = frozenset(
    {
        b"x-blaxel-auth-method",
        b"x-blaxel-authorization",
        b"x-blaxel-fallback",
        b"x-blaxel-fallback-domain",
        b"x-blaxel-fallback-preview",
        b"x-blaxel-preview-token",
        b"x-blaxel-subject-id",
        b"x-blaxel-subject-type",
        b"x-blaxel-workspace",
        b"x-serai-successor",
        b"x-serai-timeout-ms",
        b"x-serai-version",
    }
)
_OWN = frozenset({b"content-length", b"expect", b"host", b"x-request-id"})
_FORWARDED = frozenset(
    {b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip"}
)
_MODEL_SECRETS = frozenset(
    {
        b"accept-encoding",
        b"api-key",
        b"authorization",
        b"cookie",
        b"ocp-apim-subscription-key",
        b"x-api-key",
        b"x-auth-token",
        b"x-goog-api-key",
    }
)

_DROPPED_ALWAYS = _HOP | _PLATFORM | _OWN
DROPPED_FOR_SANDBOX = _DROPPED_ALWAYS | _FORWARDED | {b"authorization", b"cookie"}
DROPPED_FOR_MODEL = _DROPPED_ALWAYS | _FORWARDED | _MODEL_SECRETS | {b"x-forwarded-prefix"}
_OF_WHOLE_ORIGIN = frozenset(
    {
        b"alt-svc",
        b"clear-site-data",
        b"cross-origin-opener-policy",
        b"nel",
        b"report-to",
        b"secure-session-registration",
        b"service-worker-allowed",
        b"strict-transport-security",
    }
)
"""What a browser would take for more than the part of our origin where a workload lives. With the
opener policy of the sign-in pages, a workload's page could look into a window of theirs; with
``nel`` and ``report-to`` it would be told of every address there that somebody opens."""
DROPPED_AT_OWN_HOST = _HOP | {
    b"clear-site-data",  # may reach beyond the host
    b"content-length",
    b"secure-session-registration",  # the same
    b"set-cookie",
    b"x-blaxel-source",
    b"x-request-id",
}
"""What an answer loses on a host that its workload has to itself."""
DROPPED_ANSWER = DROPPED_AT_OWN_HOST | _OF_WHOLE_ORIGIN

_PLAIN_CONNECTION = frozenset({b"keep-alive", b"close", b"Keep-Alive", b"Close"})
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")

_STATUS = {code: status_line(code) for code in range(100, 600)}


def status_start(status: int) -> bytes:
    """The status line of an answer."""
    return _STATUS.get(status) or status_line(status)


def interim_head(status: int, headers: Headers) -> bytes:
    """A whole answer that only announces another one."""
    fields = b"".join(b"%b: %b\r\n" % field for field in headers)
    return status_start(status) + fields + b"\r\n"


def valid_request_id(value: bytes) -> bool:
    """Whether a client's ``x-request-id`` may be kept: short and of harmless characters."""
    return _REQUEST_ID.fullmatch(value) is not None


class Copied:
    """A request's head prepared for an upstream.

    Attributes:
        lines: pieces of header lines to join.
        host: the ``Host`` header.
        length: value of ``Content-Length``.
        chunked: the body comes in chunks.
        forwarded_for: the client's own ``X-Forwarded-For``.
    """

    __slots__ = ("chunked", "forwarded_for", "host", "length", "lines")

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.host: bytes | None = None
        self.length: bytes | None = None
        self.chunked = False
        self.forwarded_for: bytes | None = None


def copy_request(headers: Headers, dropped: frozenset[bytes]) -> Copied:
    """Sort out a request's header fields.

    Raises:
        BadRequest: not exactly one ``Host``, or a transfer coding other than ``chunked``.
    """
    copied = Copied()
    lines = copied.lines
    named: set[bytes] | None = None
    for name, value in headers:
        if name not in dropped:
            lines += (name, b": ", value, b"\r\n")
        elif name == b"host":
            if copied.host is not None:
                raise BadRequest("The request has two Host headers; send exactly one.")
            copied.host = value
        elif name == b"content-length":
            copied.length = value
        elif name == b"transfer-encoding":
            if value.strip().lower() != b"chunked":
                raise BadRequest("Transfer-Encoding may only be 'chunked'.")
            copied.chunked = True
        elif name == b"x-forwarded-for":
            copied.forwarded_for = value
        elif name == b"connection" and value not in _PLAIN_CONNECTION:
            named = (named or set()) | {token.strip().lower() for token in value.split(b",")}
    if named:
        _drop_named(copied, named)
    return copied


def _drop_named(copied: Copied, named: set[bytes]) -> None:
    """Leave out the fields that ``Connection`` declares hop-by-hop."""
    lines = copied.lines
    copied.lines = [
        piece
        for start in range(0, len(lines), 4)
        if lines[start] not in named
        for piece in lines[start : start + 4]
    ]


def own_authorization(
    headers: Headers, credential: Credential, recognizes: Callable[[str], bool]
) -> list[bytes]:
    """Lines of the ``Authorization`` that the client meant for its own server, if there is one."""
    lines: list[bytes] = []
    for name, value in headers:
        if name == b"authorization" and not is_ours(value, credential, recognizes):
            lines += (b"authorization: ", value, b"\r\n")
    return lines


def cookies_for_workload(headers: Headers) -> list[bytes]:
    """Lines of the cookies that are not ours."""
    lines: list[bytes] = []
    for name, value in headers:
        if name == b"cookie" and (kept := foreign_cookies(value)):
            lines += (b"cookie: ", kept, b"\r\n")
    return lines


def may_answer(name: bytes, value: bytes) -> bool:
    """Whether a workload may send this to a browser, to which it is of one origin with us."""
    return name not in _OF_WHOLE_ORIGIN and not (name == b"set-cookie" and is_our_cookie(value))


def copy_answer(
    answer: Answer, out: list[bytes], dropped: frozenset[bytes] = DROPPED_ANSWER
) -> None:
    """Append an answer's status line and the fields that pass through to ``out``."""
    out.append(_STATUS.get(answer.status) or status_line(answer.status))
    for name, value in answer.headers:
        if name not in dropped:
            out += (name, b": ", value, b"\r\n")
        elif name == b"set-cookie" and may_answer(name, value):
            out += (b"set-cookie: ", value, b"\r\n")
        elif name == b"x-request-id":
            out += (b"x-upstream-request-id: ", value, b"\r\n")
        elif name == b"connection" and value not in _PLAIN_CONNECTION:
            named = {token.strip().lower() for token in value.split(b",")} - {b"close"}
            if named:
                named.add(b"connection")
                kept = [field for field in answer.headers if field[0] not in named]
                del out[:]
                copy_answer(msgspec.structs.replace(answer, headers=kept), out, dropped)
                return
