"""Verifying API keys and access tokens, with a small cache that revocation empties at once."""

import asyncio
import time

import structlog
from sqlalchemy import Connection

from serai.identity import changes, grants
from serai.identity.access_tokens import REFUSED, AccessTokens, claimed_issuer
from serai.identity.accounts import Verified, principal_of, principal_of_grant
from serai.identity.api_keys import note_used
from serai.identity.keys import PREFIX, is_mistyped, looks_like_key
from serai.identity.principal import Principal
from serai.kernel.clock import now, rfc3339
from serai.kernel.errors import AuthenticationFailed, ServiceUnavailable
from serai.store.database import Database
from serai.store.secrets import Vault

CACHE_SECONDS = 60.0
CACHE_MAX = 10_000
TOKEN_MAX = 4096
NOTE_SECONDS = 30.0
WATCH_SECONDS = 0.5
log = structlog.get_logger(__name__)


class CredentialAuthenticator:
    """Turns API keys and access tokens into principals. The cache lives at most a minute.

    A key in use is looked up once a minute, so that is when its last use is noted: the requests
    between cost nothing. ``keep_notes`` writes the notes, many at once; ``watch`` empties the
    cache when another process has changed who may do what.
    """

    def __init__(self, db: Database, vault: Vault, tokens: AccessTokens) -> None:
        self._db = db
        self._vault = vault
        self._tokens = tokens
        self._cache: dict[str, tuple[float, Principal]] = {}
        self._strange: set[str] = set()
        self._used: dict[str, str] = {}
        self._seen = -1
        self._changes = 0

    def cached(self, token: str) -> Principal | None:
        """The principal of a credential verified within the last minute; never blocks."""
        entry = self._cache.get(token)
        if entry is None:
            return None
        if entry[0] < time.monotonic():
            del self._cache[token]
            return None
        return entry[1]

    async def verify(self, token: str) -> Principal:
        """Look a credential up.

        Raises:
            AuthenticationFailed: malformed, unknown, expired or revoked; says no more than that.
        """
        if len(token) > TOKEN_MAX or is_mistyped(token):
            raise AuthenticationFailed(_explain(token))
        before = self._changes
        verified = await (self._verify_jwt(token) if is_jwt(token) else self._verify_key(token))
        if self._changes != before:
            return verified.principal  # read before what changed meanwhile: not to be remembered
        if len(self._cache) >= CACHE_MAX:
            self._cache.clear()
        seconds = CACHE_SECONDS
        if verified.seconds is not None:
            seconds = min(seconds, verified.seconds)
        self._cache[token] = (time.monotonic() + seconds, verified.principal)
        return verified.principal

    async def _verify_key(self, token: str) -> Verified:
        digest = self._vault.digest(token)
        verified = await self._db.read(lambda conn: principal_of(conn, digest, now()))
        if verified is None:
            raise AuthenticationFailed(_explain(token))
        self._used[verified.principal.credential_id] = rfc3339(now())
        return verified

    async def _verify_jwt(self, token: str) -> Verified:
        moment = now()
        claims = self._tokens.check(token, moment)

        def find(conn: Connection) -> Principal | None:
            grant = grants.find(conn, claims.sid, moment)
            if grant is None or grant.subject != claims.sub:
                return None
            return principal_of_grant(conn, grant, claims.scope)

        principal = await self._db.read(find)
        if principal is None:
            raise AuthenticationFailed(REFUSED)
        return Verified(principal, claims.exp - moment.timestamp())

    def recognizes(self, token: str) -> bool:
        """Whether a string is by its form a key or token of this installation."""
        if looks_like_key(token) or token in self._cache:
            return True
        return is_jwt(token) and claimed_issuer(token) == self._tokens.issuer

    async def contradicts(self, principal: Principal, other: str) -> bool:
        """Whether another credential of the same request is valid, and somebody else's."""
        if other in self._strange:
            return False
        try:
            second = self.cached(other) or await self.verify(other)
        except AuthenticationFailed:
            if len(self._strange) >= CACHE_MAX:
                self._strange.clear()
            self._strange.add(other)
            return False
        return second.subject != principal.subject

    def forget(self) -> None:
        """Drop what is remembered: call after any change of keys, users or memberships."""
        self._changes += 1
        self._cache.clear()
        self._strange.clear()

    async def watch(self) -> None:
        """Forget whenever the number of changes has grown, until cancelled.

        The signing keys are read again too: one may have been taken back.
        """
        while True:
            number = await self._db.read(changes.latest)
            if number != self._seen:
                self._seen = number
                self._tokens.ring.reload()
                self.forget()
            await asyncio.sleep(WATCH_SECONDS)

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


def is_jwt(token: str) -> bool:
    """Whether a credential has the form of a signed JWT; keys have no dots."""
    return token.startswith("ey") and token.count(".") == 2


def _explain(token: str) -> str:
    if token.startswith(PREFIX) and not looks_like_key(token):
        return "This API key is malformed (its checksum is wrong): copy it again in full."
    return (
        "This API key is not valid here: it is unknown, revoked or expired, or belongs to "
        "another installation. `serai env` prints the key of this one."
    )
