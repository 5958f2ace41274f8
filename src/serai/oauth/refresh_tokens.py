"""Refresh tokens: each is good once, and a second use shows that somebody has a copy.

A refresh marks its token as used and gives a new one, its child. A used token that comes again
ends its whole family, because two hold it and one of them is a thief, with one exception: the
newest used token, within a minute of its first use and as long as none of its children was used,
gives another child. So two processes of one client may refresh at once, and an answer that got
lost may be asked for again. When one child is used, its siblings are superseded: their use ends
the family as well.
"""

from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, exists, insert, select, update

from serai.identity import grants
from serai.identity.grants import Grant
from serai.identity.keys import new_secret
from serai.kernel.clock import parse_rfc3339, rfc3339
from serai.store.secrets import Vault
from serai.store.tables.oauth import oauth_refresh_tokens as table

PREFIX = "blr_"
GRACE = timedelta(seconds=60)
KEPT = timedelta(days=30)
"""How long a used token is remembered; what comes later is unknown, and refused as well."""


class RefreshToken(msgspec.Struct, frozen=True, kw_only=True):
    """A refresh token of a living grant."""

    digest: bytes
    grant: Grant
    parent: bytes | None
    used_at: datetime | None
    superseded: bool

    def get_scope(self) -> str:
        """What was granted; called by Authlib."""
        return self.grant.scope

    def check_client(self, client: Any) -> bool:
        """Whether it was given to that client; called by Authlib."""
        return bool(self.grant.client_id == client.client_id)


def issue(
    conn: Connection, vault: Vault, grant_id: str, at: datetime, parent: bytes | None = None
) -> str:
    """Store a token of a family; returns the secret that stands for it."""
    secret = new_secret(PREFIX)
    row = {"digest": vault.digest(secret), "grant_id": grant_id, "parent": parent}
    conn.execute(insert(table).values(**row, created_at=rfc3339(at)))
    return secret


def find(conn: Connection, vault: Vault, secret: str, at: datetime) -> RefreshToken | None:
    """The token, if its grant lives; used ones too. Holds the family until the transaction ends."""
    query = select(table).where(table.c.digest == vault.digest(secret))
    row: Any = conn.execute(query).one_or_none()
    grant = grants.find(conn, row.grant_id, at) if row is not None else None
    if grant is None:
        return None
    grants.lock(conn, grant.id)
    row = conn.execute(query).one()
    return RefreshToken(
        digest=row.digest,
        grant=grant,
        parent=row.parent,
        used_at=parse_rfc3339(row.used_at) if row.used_at else None,
        superseded=row.superseded,
    )


def is_good(conn: Connection, token: RefreshToken, at: datetime) -> bool:
    """Whether it may be used now; if not, its family has to end."""
    if token.superseded:
        return False
    if token.used_at is None:
        return True
    child_used = exists().where(table.c.parent == token.digest, table.c.used_at.is_not(None))
    return at - token.used_at <= GRACE and not conn.execute(select(child_used)).scalar()


def rotate(conn: Connection, vault: Vault, token: RefreshToken, at: datetime) -> str:
    """Use a good token; returns its child's secret."""
    if token.used_at is None:
        mine = table.c.digest == token.digest
        conn.execute(update(table).where(mine).values(used_at=rfc3339(at)))
        if token.parent is not None:
            siblings = (table.c.parent == token.parent, table.c.digest != token.digest)
            conn.execute(update(table).where(*siblings).values(superseded=True))
    return issue(conn, vault, token.grant.id, at, token.digest)


def prune(conn: Connection, at: datetime) -> int:
    """Forget tokens that were used long ago; returns how many."""
    return conn.execute(delete(table).where(table.c.used_at < rfc3339(at - KEPT))).rowcount
