"""Signed upload URLs: whoever holds one may send the code of one build, and nothing else.

The token is in the query because paths are logged and queries are not.
"""

import time

import msgspec

from serai.kernel.errors import Forbidden
from serai.kernel.signed import Signed

PATH = "/uploads/sources"
LIFETIME_SECONDS = 3600


class Grant(msgspec.Struct, frozen=True):
    """What a URL allows: to send the code of a build of one revision, until a moment.

    ``expires`` is in seconds since 1970; ``resource`` is ``type/name`` in its workspace.
    """

    build: str
    resource: str
    revision: str
    expires: int


class Signer:
    """Makes and reads tokens with a key that only the server has."""

    def __init__(self, key: bytes, origin: str) -> None:
        self._signed = Signed(key)
        self._origin = origin

    def url(self, build: str, resource: str, revision: str) -> str:
        """Where the code of a build is sent to, for an hour."""
        grant = Grant(build, resource, revision, int(time.time()) + LIFETIME_SECONDS)
        token = self._signed.text(msgspec.json.encode(grant))
        return f"{self._origin}{PATH}?token={token}"

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
                "This upload URL has expired: apply the resource again for a new one.",
                code="UPLOAD_EXPIRED",
            )
        return grant
