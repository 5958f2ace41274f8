"""The keys that tokens are signed with: made, published ahead, used, and deleted in turn.

The next key is in the published set a day before it signs, so that whoever caches the set for
less than that never meets an unknown key. An old key stays published until the last token that it
signed has expired.
"""

import asyncio
import time
from datetime import datetime, timedelta
from itertools import pairwise

import msgspec
import structlog
from joserfc.jwk import ECKey
from sqlalchemy import Connection, delete, insert, select

from serai.kernel.clock import now, parse_rfc3339, rfc3339
from serai.kernel.errors import ServiceUnavailable
from serai.store.database import Database
from serai.store.secrets import Vault
from serai.store.tables.oauth import signing_keys

ALGORITHM = "ES256"
TOKEN_LIFE = timedelta(hours=2)
ROTATE_EVERY = timedelta(days=30)
PUBLISHED_AHEAD = timedelta(days=1)
SPARE = timedelta(minutes=10)
"""How long an old key stays published beyond the life of its last token, for slow clocks."""
CHECK_SECONDS = 3600.0
RELOAD_SECONDS = 1.0
log = structlog.get_logger(__name__)


class SigningKey(msgspec.Struct, frozen=True):
    """A key pair; ``active_from`` is when it begins to sign."""

    kid: str
    active_from: datetime
    key: ECKey


def maintain(conn: Connection, vault: Vault, at: datetime) -> None:
    """Make the first key, or the next one when it is time, and delete what is spent.

    Repeatable: a second call at the same time changes nothing.
    """
    keys = _rows(conn)
    if not keys:
        _make(conn, vault, at, active_from=at)
        return
    _, newest = keys[-1]
    if at >= newest + ROTATE_EVERY - PUBLISHED_AHEAD:
        _make(conn, vault, at, max(newest + ROTATE_EVERY, at + PUBLISHED_AHEAD))
    for (kid, _), (_, successor) in pairwise(keys):
        if at >= successor + TOKEN_LIFE + SPARE:
            conn.execute(delete(signing_keys).where(signing_keys.c.kid == kid))


def replace(conn: Connection, vault: Vault, at: datetime, *, at_once: bool) -> str:
    """Bring the next key forward; returns its id.

    Args:
        conn: inside a write transaction.
        vault: seals the private key.
        at: now.
        at_once: sign with it from now on, and delete all others: whatever they signed is refused
            (for a key that leaked). Otherwise it signs once it has been published for a day.
    """
    if at_once:
        conn.execute(delete(signing_keys))
    return _make(conn, vault, at, at if at_once else at + PUBLISHED_AHEAD)


def load(conn: Connection, vault: Vault) -> list[SigningKey]:
    """Every key there is, in the order in which they sign."""
    rows = conn.execute(select(signing_keys).order_by(signing_keys.c.active_from))
    return [
        SigningKey(
            row.kid,
            parse_rfc3339(row.active_from),
            ECKey.import_key(vault.unseal(row.sealed, _context(row.kid)), {"kid": row.kid}),
        )
        for row in rows
    ]


def _make(conn: Connection, vault: Vault, at: datetime, active_from: datetime) -> str:
    key = ECKey.generate_key("P-256", {"use": "sig", "alg": ALGORITHM}, auto_kid=True)
    kid = str(key.kid)
    conn.execute(
        insert(signing_keys).values(
            kid=kid,
            algorithm=ALGORITHM,
            sealed=vault.seal(key.as_pem(private=True), _context(kid)),
            public=msgspec.json.encode(_published(key)).decode(),
            created_at=rfc3339(at),
            active_from=rfc3339(active_from),
        )
    )
    return kid


def _rows(conn: Connection) -> list[tuple[str, datetime]]:
    c = signing_keys.c
    rows = conn.execute(select(c.kid, c.active_from).order_by(c.active_from))
    return [(row.kid, parse_rfc3339(row.active_from)) for row in rows]


def _context(kid: str) -> str:
    return f"signing-key:{kid}"


def _published(key: ECKey) -> dict[str, object]:
    return {**key.as_dict(private=False), "kid": key.kid, "use": "sig", "alg": ALGORITHM}


class KeyRing:
    """The signing keys in memory; ``keep`` rotates them and notices what others changed."""

    def __init__(self, db: Database, vault: Vault) -> None:
        self._db = db
        self._vault = vault
        self._keys: list[SigningKey] = []
        self._loaded_at = 0.0

    async def open(self) -> None:
        """Make what is missing, and load."""
        await self._db.write(lambda conn: maintain(conn, self._vault, now()))
        self.reload()

    def reload(self) -> None:
        """Read the keys again."""
        self._keys = self._db.read_now(lambda conn: load(conn, self._vault))
        self._loaded_at = time.monotonic()

    def signing(self, at: datetime) -> SigningKey:
        """The key that signs now."""
        active = [key for key in self._keys if key.active_from <= at]
        if not active:
            raise ServiceUnavailable("There is no signing key yet; try again in a moment.")
        return active[-1]

    def verifying(self, kid: str) -> ECKey | None:
        """The key of that id; an unknown one is looked for in the database once a second."""
        found = self._find(kid)
        if found is None and time.monotonic() - self._loaded_at > RELOAD_SECONDS:
            self.reload()
            found = self._find(kid)
        return found

    def published(self) -> list[dict[str, object]]:
        """The public keys as JWKs, the coming one too."""
        return [_published(key.key) for key in self._keys]

    def _find(self, kid: str) -> ECKey | None:
        return next((key.key for key in self._keys if key.kid == kid), None)

    async def keep(self) -> None:
        """Rotate until cancelled."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            try:
                await self.open()
            except ServiceUnavailable as problem:
                log.warning("rotation_waits", problem=problem.message)
