"""Finding the caller's secret in a request, and keeping it from what stands behind us."""

from typing import NamedTuple

from serai.gateway.targets import take_parameter

Headers = list[tuple[bytes, bytes]]

_PLACEHOLDER = b"replaced"
"""What adapters of model clients put into ``Authorization`` when the real key goes elsewhere."""


class Credential(NamedTuple):
    """A presented secret.

    Attributes:
        token: the secret.
        raw: the same as sent, to recognise a second copy of it.
        query: the query without the secret.
    """

    token: str
    raw: bytes
    query: bytes | None


def bearer(value: bytes) -> bytes | None:
    """The token of a ``Bearer`` credential; None for other schemes, nothing or a placeholder."""
    scheme, _, token = value.partition(b" ")
    if scheme.lower() != b"bearer":
        return None
    token = token.strip()
    return None if not token or token == _PLACEHOLDER else token


def present(headers: Headers, query: bytes | None, *, in_query: bool) -> Credential | None:
    """The secret of a request: ``X-Blaxel-Authorization`` before ``Authorization``.

    Args:
        headers: request headers, names in lower case.
        query: raw query.
        in_query: also accept ``?token=``, for clients that cannot set headers (WebSocket).
    """
    fallback = None
    for name, value in headers:
        if name == b"x-blaxel-authorization":
            token = bearer(value)
            if token is not None:
                return Credential(token.decode("latin-1"), token, query)
        elif name == b"authorization" and fallback is None:
            fallback = bearer(value)
    if fallback is not None:
        return Credential(fallback.decode("latin-1"), fallback, query)
    if in_query:
        value_, rest = take_parameter(query, b"token")
        if value_:
            return Credential(value_, value_.encode(), rest)
    return None


def is_ours(value: bytes, credential: Credential) -> bool:
    """Whether an ``Authorization`` value must not be forwarded: our secret, or a placeholder."""
    scheme, _, token = value.partition(b" ")
    token = token.strip()
    if scheme.lower() != b"bearer":
        return not value.strip()
    return not token or token in {credential.raw, _PLACEHOLDER}
