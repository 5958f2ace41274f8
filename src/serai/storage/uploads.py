"""Signed upload URLs: whoever holds one may send one archive, without any other credential.

The token is in the query because paths are logged and queries are not.
"""

import time

import msgspec

from serai.kernel.errors import Forbidden
from serai.kernel.signed import Signed

PATH = "/uploads/archives"
LIFETIME_SECONDS = 3600


class Grant(msgspec.Struct, frozen=True):
    """What an upload URL allows: to send the content of one template version, until a moment."""

    version_id: str
    expires: int


class UploadSigner:
    """Makes and reads the tokens in upload URLs with a key only the server has."""

    def __init__(self, key: bytes, origin: str) -> None:
        self._signed = Signed(key)
        self._origin = origin

    def url(self, version_id: str) -> str:
        """Where the archive of a version is sent to, for an hour."""
        payload = msgspec.json.encode(Grant(version_id, int(time.time()) + LIFETIME_SECONDS))
        return f"{self._origin}{PATH}?token={self._signed.text(payload)}"

    def read(self, token: str) -> Grant:
        """What a token allows.

        Raises:
            Forbidden: it was not made by us, or has expired.
        """
        payload = self._signed.payload(token)
        if payload is None:
            raise Forbidden("This upload URL was not made by this server.", code="INVALID_UPLOAD")
        grant = msgspec.json.decode(payload, type=Grant)
        if grant.expires < time.time():
            raise Forbidden(
                "This upload URL has expired: create the version again for a new one.",
                code="UPLOAD_EXPIRED",
            )
        return grant
