"""Verifying API keys, with a small cache that revocation empties at once."""

import time

from serai.identity.accounts import principal_of
from serai.identity.keys import PREFIX, looks_like_key
from serai.identity.principal import Principal
from serai.kernel.clock import now
from serai.kernel.errors import AuthenticationFailed
from serai.store.database import Database
from serai.store.secrets import Vault

CACHE_SECONDS = 60.0
CACHE_MAX = 10_000
TOKEN_MAX = 4096


class KeyAuthenticator:
    """Turns API keys into principals. The cache is in memory and lives at most a minute."""

    def __init__(self, db: Database, vault: Vault) -> None:
        self._db = db
        self._vault = vault
        self._cache: dict[str, tuple[float, Principal]] = {}

    def cached(self, token: str) -> Principal | None:
        """The principal of a key verified within the last minute; never blocks."""
        entry = self._cache.get(token)
        if entry is None:
            return None
        if entry[0] < time.monotonic():
            del self._cache[token]
            return None
        return entry[1]

    async def verify(self, token: str) -> Principal:
        """Look a key up.

        Raises:
            AuthenticationFailed: malformed, unknown, expired or revoked; says no more than that.
        """
        principal = None
        if len(token) <= TOKEN_MAX:
            digest = self._vault.digest(token)
            principal = await self._db.read(lambda conn: principal_of(conn, digest, now()))
        if principal is None:
            raise AuthenticationFailed(_explain(token))
        if len(self._cache) >= CACHE_MAX:
            self._cache.clear()
        self._cache[token] = (time.monotonic() + CACHE_SECONDS, principal)
        return principal

    def forget(self) -> None:
        """Drop the cache: call after any change of keys, users or memberships."""
        self._cache.clear()


def _explain(token: str) -> str:
    if token.startswith(PREFIX) and not looks_like_key(token):
        return "This API key is malformed (its checksum is wrong): copy it again in full."
    return (
        "This API key is not valid here: it is unknown, revoked or expired, or belongs to "
        "another installation. `serai env` prints the key of this one."
    )
