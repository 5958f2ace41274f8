"""URLs that only this server can have made: what they allow stands in them, with its MAC.

The token is in the query because paths are logged and queries are not. It is signed, not hidden.
"""

import base64
import hmac
import time
from typing import Generic, Protocol, TypeVar

import msgspec

from serai.kernel.errors import Forbidden

_MAC_BYTES = 32


class Expiring(Protocol):
    """What a URL allows, until ``expires`` (seconds since 1970); a Struct."""

    @property
    def expires(self) -> int:
        """The end."""


G = TypeVar("G", bound=Expiring)


class UploadUrls(Generic[G]):
    """Makes and reads upload URLs of one kind with a key that only the server has.

    Args:
        key: for this kind alone.
        place: the URL without its query.
        shape: what such a URL allows.
        remedy: what to do to get a new one, for people.
    """

    def __init__(self, key: bytes, place: str, shape: type[G], remedy: str) -> None:
        self._key = key
        self._place = place
        self._decoder = msgspec.json.Decoder(shape)
        self._remedy = remedy

    def signed(self, grant: G) -> str:
        """The URL that allows this."""
        payload = msgspec.json.encode(grant)
        token = base64.urlsafe_b64encode(self._mac(payload) + payload).decode().rstrip("=")
        return f"{self._place}?token={token}"

    def read(self, token: str) -> G:
        """What a token allows.

        Raises:
            Forbidden: it was not made by us, or has expired.
        """
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except ValueError:
            raw = b""
        mac, payload = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(payload)):
            raise Forbidden("This upload URL was not made by this server.", code="INVALID_UPLOAD")
        grant = self._decoder.decode(payload)
        if grant.expires < time.time():
            raise Forbidden(
                f"This upload URL has expired: {self._remedy} for a new one.",
                code="UPLOAD_EXPIRED",
            )
        return grant

    def _mac(self, payload: bytes) -> bytes:
        return hmac.digest(self._key, payload, "sha256")
