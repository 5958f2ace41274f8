"""Signed upload URLs: whoever holds one may send one archive, without any other credential."""

import time

import msgspec

from serai.kernel.signed import UploadUrls

PATH = "/uploads/archives"
LIFETIME_SECONDS = 3600


class Grant(msgspec.Struct, frozen=True):
    """What an upload URL allows: to send the content of one template version, until a moment."""

    version_id: str
    expires: int


class UploadSigner(UploadUrls[Grant]):
    """Makes and reads the tokens in upload URLs with a key only the server has."""

    def __init__(self, key: bytes, origin: str) -> None:
        super().__init__(key, origin + PATH, Grant, "create the version again")

    def url(self, version_id: str) -> str:
        """Where the archive of a version is sent to, for an hour."""
        return self.signed(Grant(version_id, int(time.time()) + LIFETIME_SECONDS))
