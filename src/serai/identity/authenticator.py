"""Verifying API keys, with a small cache that revocation empties at once."""

import asyncio
import time

from sqlalchemy import Connection

from serai.identity.accounts import principal_of
from serai.identity.api_keys import note_used
from serai.identity.keys import PREFIX, looks_like_key
from serai.identity.principal import Principal
from serai.kernel.clock import now, rfc3339
from serai.kernel.errors import AuthenticationFailed, ServiceUnavailable
from serai.store.database import Database
from serai.store.secrets import Vault

CACHE_SECONDS = 60.0
CACHE_MAX = 10_000
TOKEN_MAX = 4096
NOTE_SECONDS = 30.0


class KeyAuthenticator:
    """Turns API keys into principals. The cache is in memory and lives at most a minute.

    A key in use is looked up once a minute, so that is when its last use is noted: the requests
    between cost nothing. ``keep_notes`` writes the notes, many at once.
    """

    def __init__(self, db: Database, vault: Vault) -> None:
        self._db = db
        self._vault = vault
        self._cache: dict[str, tuple[float, Principal]] = {}
        self._used: dict[str, str] = {}

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
        verified = None
        if len(token) <= TOKEN_MAX:
            digest = self._vault.digest(token)
            verified = await self._db.read(lambda conn: principal_of(conn, digest, now()))
        if verified is None:
            raise AuthenticationFailed(_explain(token))
        if len(self._cache) >= CACHE_MAX:
            self._cache.clear()
        seconds = CACHE_SECONDS
        if verified.seconds is not None:
            seconds = min(seconds, verified.seconds)
        self._cache[token] = (time.monotonic() + seconds, verified.principal)
        self._used[verified.principal.credential_id] = rfc3339(now())
        return verified.principal

    def forget(self) -> None:
        """Drop the cache: call after any change of keys, users or memberships."""
        self._cache.clear()

    async def write_notes(self) -> None:
        """Write down when keys were last used, in one transaction."""
        used, self._used = self._used, {}
        if not used:
            return

        def write(conn: Connection) -> None:
            note_used(conn, used)

        try:
            await self._db.write(write)
        except ServiceUnavailable:
            self._used = used | self._used

    async def keep_notes(self) -> None:
        """Write the notes now and then, and once more when cancelled."""
        try:
            while True:
                await asyncio.sleep(NOTE_SECONDS)
                await self.write_notes()
        finally:
            await self.write_notes()


def _explain(token: str) -> str:
    if token.startswith(PREFIX) and not looks_like_key(token):
        return "This API key is malformed (its checksum is wrong): copy it again in full."
    return (
        "This API key is not valid here: it is unknown, revoked or expired, or belongs to "
        "another installation. `serai env` prints the key of this one."
    )
