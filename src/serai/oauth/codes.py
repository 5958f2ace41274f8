"""Authorization codes: good once, for a minute, for the client and the address they were made for.

Authlib calls some methods of ``Code`` by name (its ``AuthorizationCodeMixin``).
"""

from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from serai.identity.keys import new_secret
from serai.kernel.clock import rfc3339
from serai.store.secrets import Vault
from serai.store.tables.oauth import oauth_codes as table

PREFIX = "blc_"
LIFETIME = timedelta(seconds=60)
KEPT = timedelta(days=1)
"""How long a code is remembered after its end, so that a replay is seen as one."""


class Code(msgspec.Struct, frozen=True, kw_only=True):
    """What a code stands for: who agreed to what, and how it was asked for."""

    client_id: str
    user_id: str
    sign_in_id: str | None
    redirect_uri: str
    redirect_uri_sent: bool
    scope: str
    workspace: str
    bound: bool
    nonce: str | None = None
    code_challenge: str | None = None
    code_challenge_method: str | None = None
    auth_time: int
    digest: bytes = b""
    expires_at: str = ""
    used_at: str | None = None
    grant_id: str | None = None

    def get_redirect_uri(self) -> str:
        """What the token request has to repeat; empty when it was not in the first one."""
        return self.redirect_uri if self.redirect_uri_sent else ""

    def get_scope(self) -> str:
        """What was agreed to."""
        return self.scope


def issue(conn: Connection, vault: Vault, code: Code, at: datetime) -> str:
    """Store a code; returns the secret that stands for it."""
    secret = new_secret(PREFIX)
    moments = {"created_at": rfc3339(at), "expires_at": rfc3339(at + LIFETIME)}
    values = msgspec.structs.asdict(code) | moments | {"digest": vault.digest(secret)}
    conn.execute(insert(table).values(values))
    return secret


def find(conn: Connection, vault: Vault, secret: str) -> Code | None:
    """The code, used and expired ones too."""
    columns: list[Any] = [table.c[name] for name in Code.__struct_fields__]
    query = select(*columns).where(table.c.digest == vault.digest(secret)).with_for_update()
    row = conn.execute(query).one_or_none()
    return None if row is None else Code(**row._mapping)


def use(conn: Connection, code: Code, grant_id: str, at: datetime) -> None:
    """Mark a code as used for a grant."""
    values = {"used_at": rfc3339(at), "grant_id": grant_id}
    conn.execute(update(table).where(table.c.digest == code.digest).values(values))


def prune(conn: Connection, at: datetime) -> int:
    """Forget codes that ended a while ago; returns how many."""
    return conn.execute(delete(table).where(table.c.expires_at < rfc3339(at - KEPT))).rowcount
