"""Finding the caller's secret in a request, and keeping it from what stands behind us."""

from collections.abc import Callable

import msgspec

from serai.gateway.targets import take_parameter

_PLACEHOLDER = b"replaced"
"""What adapters of model clients put into ``Authorization`` when the real key goes elsewhere."""

_COOKIES = (b"serai-", b"__host-serai")
"""How the names of our own cookies begin, in lower case; see ``serai.signin.cookies``."""


class Credential(msgspec.Struct, frozen=True, gc=False):
    """A presented secret.

    Attributes:
        token: the secret.
        raw: the same as sent, to recognise a second copy of it.
        query: the query without the secret.
        other: a different bearer token of the same request, meant for the workload or for us.
    """

    token: str
    raw: bytes
    query: bytes | None
    other: str = ""


def bearer(value: bytes) -> bytes | None:
    """The token of a ``Bearer`` credential; None for other schemes, nothing or a placeholder."""
    if value[:7] != b"Bearer " and value[:7].lower() != b"bearer ":
        return None
    token = value[7:].strip()
    return None if not token or token == _PLACEHOLDER else token


def present(index: dict[bytes, bytes], query: bytes | None, *, in_query: bool) -> Credential | None:
    """The secret of a request: ``X-Blaxel-Authorization`` before ``Authorization``.

    Args:
        index: request headers by name in lower case.
        query: raw query.
        in_query: also accept ``?token=``, for clients that cannot set headers (WebSocket).
    """
    value = index.get(b"authorization")
    plain = bearer(value) if value is not None else None
    value = index.get(b"x-blaxel-authorization")
    token = bearer(value) if value is not None else None
    if token is None:
        token = plain
    if token is not None:
        other = "" if plain is None or plain == token else plain.decode("latin-1")
        return Credential(token.decode("latin-1"), token, query, other)
    if in_query:
        text, rest = take_parameter(query, b"token")
        if text:
            return Credential(text, text.encode(), rest)
    return None


def is_ours(value: bytes, credential: Credential, recognizes: Callable[[str], bool]) -> bool:
    """Whether an ``Authorization`` value must not be forwarded: for us, or a placeholder.

    Args:
        value: as sent.
        credential: what the caller was authenticated by.
        recognizes: whether a token is one of this installation; a client may send two of them.
    """
    scheme, _, token = value.partition(b" ")
    token = token.strip()
    if scheme.lower() != b"bearer":
        return not value.strip()
    if not token or token in {credential.raw, _PLACEHOLDER}:
        return True
    return recognizes(token.decode("latin-1"))


def is_our_cookie(pair: bytes) -> bool:
    """Whether a cookie, ``name=value``, belongs to the sign-in pages, which share our origin."""
    return pair.lstrip()[:12].lower().startswith(_COOKIES)


def foreign_cookies(value: bytes) -> bytes:
    """A ``Cookie`` header without our cookies; empty when nothing is left."""
    return b"; ".join(pair.strip() for pair in value.split(b";") if not is_our_cookie(pair))
