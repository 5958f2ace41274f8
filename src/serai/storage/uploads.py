"""Signed upload URLs: whoever holds one may send one archive, without any other credential.

The token is in the query because paths are logged and queries are not.
"""

import base64
import hmac
import time

import msgspec

from serai.kernel.errors import Forbidden

PATH = "/uploads/archives"
LIFETIME_SECONDS = 3600
MAC_BYTES = 32


class Grant(msgspec.Struct, frozen=True):
    """What an upload URL allows: to send the content of one template version, until a moment."""

    version_id: str
    expires: int


class UploadSigner:
    """Makes and reads the tokens in upload URLs with a key only the server has."""

    def __init__(self, key: bytes, origin: str) -> None:
        self._key = key
        self._origin = origin

    def url(self, version_id: str) -> str:
        """Where the archive of a version is sent to, for an hour."""
        payload = msgspec.json.encode(Grant(version_id, int(time.time()) + LIFETIME_SECONDS))
        token = base64.urlsafe_b64encode(self._mac(payload) + payload).decode().rstrip("=")
        return f"{self._origin}{PATH}?token={token}"

    def read(self, token: str) -> Grant:
        """What a token allows.

        Raises:
            Forbidden: it was not made by us, or has expired.
        """
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except ValueError:
            raw = b""
        mac, payload = raw[:MAC_BYTES], raw[MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(payload)):
            raise Forbidden("This upload URL was not made by this server.", code="INVALID_UPLOAD")
        grant = msgspec.json.decode(payload, type=Grant)
        if grant.expires < time.time():
            raise Forbidden(
                "This upload URL has expired: create the version again for a new one.",
                code="UPLOAD_EXPIRED",
            )
        return grant

    def _mac(self, payload: bytes) -> bytes:
        return hmac.digest(self._key, payload, "sha256")
