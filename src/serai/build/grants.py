"""Signed upload URLs: whoever holds one may send the code of one build, and nothing else."""

import time

import msgspec

from serai.kernel.signed import UploadUrls

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


class Signer(UploadUrls[Grant]):
    """Makes and reads tokens with a key that only the server has."""

    def __init__(self, key: bytes, origin: str) -> None:
        super().__init__(key, origin + PATH, Grant, "apply the resource again")

    def url(self, build: str, resource: str, revision: str) -> str:
        """Where the code of a build is sent to, for an hour."""
        return self.signed(Grant(build, resource, revision, int(time.time()) + LIFETIME_SECONDS))
