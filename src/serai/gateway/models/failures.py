"""What a provider answers when it fails: kept short of its own secrets, and told in its style."""

import re
import zlib
from typing import Any

import msgspec

from serai.gateway.problems import ProviderFailed
from serai.gateway.upstream import Answer, Headers
from serai.kernel.errors import SeraiError

REDACTED = b"[redacted]"
SHORTEST_SECRET = 8
"""Shorter keys are placeholders of local servers; replacing them would mangle words."""
LARGEST_HELD = 64 * 1024
LARGEST_UNPACKED = 1024 * 1024
_EXCERPT = 300
_TAG = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.IGNORECASE | re.DOTALL)


def worth_hiding(secret: bytes) -> bytes:
    """A provider's key, if it is long enough to be one; else nothing."""
    return secret if len(secret) >= SHORTEST_SECRET else b""


def without(secret: bytes, data: bytes) -> bytes:
    """What a provider said, without its key."""
    known = worth_hiding(secret)
    return data.replace(known, REDACTED) if known else data


class Failure:
    """An error answer of a provider, held until it is known to be one that clients can read.

    Args:
        answer: its head.
        secret: what must not reach the client; empty for nothing.
    """

    __slots__ = ("_inflate", "answer", "body", "garbled", "passing", "secret")

    def __init__(self, answer: Answer, secret: bytes) -> None:
        self.answer = answer
        self.secret = worth_hiding(secret)
        self.body = bytearray()
        self.passing = False
        coding = answer.index.get(b"content-encoding", b"identity").lower()
        self._inflate = zlib.decompressobj(47) if coding in (b"gzip", b"deflate") else None
        self.garbled = self._inflate is None and coding != b"identity"
        """It is packed in a way that cannot be looked into."""

    def overflows(self, data: bytes) -> bool:
        """Note a piece; whether the body is too long to be held any longer."""
        if self.garbled:
            return False
        self.body += self._unpacked(data)
        return len(self.body) > LARGEST_HELD

    def _unpacked(self, data: bytes) -> bytes:
        if self._inflate is None:
            return data
        try:
            plain = self._inflate.decompress(data, LARGEST_UNPACKED)
        except zlib.error:
            plain, self.garbled = b"", True
        self.garbled = self.garbled or bool(self._inflate.unconsumed_tail)
        return plain

    def head(self, length: int | None) -> Answer:
        """The head for the client, with an unpacked body of this length."""
        headers: Headers = [
            (name, self.hidden(value))
            for name, value in self.answer.headers
            if name != b"content-encoding"
        ]
        return msgspec.structs.replace(self.answer, headers=headers, length=length)

    def hidden(self, data: bytes) -> bytes:
        """The same without the secret."""
        return without(self.secret, data)

    def release(self) -> bytes:
        """What of a body that is passed on in pieces can go now: all but a possible half secret."""
        keep = max(0, len(self.secret) - 1)
        text = self.hidden(bytes(self.body))
        cut = max(0, len(text) - keep)
        self.body = bytearray(text[cut:])
        return text[:cut]

    def whole(self) -> tuple[Answer, bytes]:
        """Head and body for the client.

        Raises:
            ProviderFailed: it is HTML, says to be JSON and is not, or cannot be unpacked.
        """
        body = self.hidden(bytes(self.body))
        broken = b"json" in self._kind() and body and not _is_json(body)
        if self.garbled or broken or self.is_html():
            raise self.problem()
        return self.head(len(body)), body

    def _kind(self) -> bytes:
        return self.answer.index.get(b"content-type", b"").lower()

    def is_html(self) -> bool:
        """Whether it is a page for people: no client of an API can read it."""
        return b"html" in self._kind()

    def problem(self) -> ProviderFailed:
        """The error that is told instead."""
        text = excerpt(self.hidden(bytes(self.body)))
        kind = self._kind().decode("latin-1").partition(";")[0][:60] or "no content type"
        status = self.answer.status
        return ProviderFailed(
            f"The provider answered {status} with {kind} instead of readable JSON: {text!r}."
            " Check spec.config.baseUrl of the connection, and whether the provider is up.",
            details={"provider_status": status},
        )


class _Named(msgspec.Struct):
    code: Any = None
    type: Any = None
    status: Any = None


class _Told(msgspec.Struct):
    error: _Named | str | None = None


def blame(status: int, problem: SeraiError | None, failure: Failure | None) -> tuple[str, str]:
    """Code and origin of what went wrong with a call; both empty when nothing did.

    Of a provider's own error the code is the first short name that it gives, else its status.
    """
    if problem is not None:
        return problem.code, str(problem.details.get("origin", "platform"))
    if failure is None:
        return ("CLIENT_LEFT", "client") if status == 499 else ("", "")
    try:
        told = msgspec.json.decode(bytes(failure.body), type=_Told).error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        told = None
    names = (told.code, told.type, told.status) if isinstance(told, _Named) else ()
    name = next((name for name in names if isinstance(name, str) and name), str(status))
    return failure.hidden(name.encode()).decode()[:64], "provider"


def _is_json(body: bytes) -> bool:
    try:
        msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True


def excerpt(body: bytes) -> str:
    """The beginning of an answer's text, without tags, on one line."""
    text = _TAG.sub(" ", body[:LARGEST_HELD].decode("utf-8", "replace"))
    return " ".join(text.split())[:_EXCERPT]


def error_event(family: str, problem: SeraiError, request_id: str) -> bytes:
    """The last event of a stream that cannot go on, as the provider's own SDK understands it."""
    error: dict[str, Any] = {
        "code": problem.code,
        "message": problem.message,
        "status": problem.status,
        "type": "api_error",
        "origin": problem.details.get("origin", "platform"),
        "request_id": request_id,
    }
    if family == "anthropic":
        return b"event: error\n" + _data({"type": "error", "error": error})
    if family in {"google", "vertex"}:
        return _data({"error": error | {"code": problem.status, "status": "UNAVAILABLE"}})
    if family == "cohere":
        delta = {"finish_reason": "ERROR", "error": problem.message}
        return b"event: message-end\n" + _data(
            {"type": "message-end", "delta": delta, "error": error}
        )
    return _data({"error": error})


def _data(payload: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % msgspec.json.encode(payload)
