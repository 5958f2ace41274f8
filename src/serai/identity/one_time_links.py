"""Links that let somebody set a password once, as functions of a Connection."""

import secrets
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import Connection, delete, insert, select

from serai.kernel.clock import rfc3339
from serai.store.secrets import Vault
from serai.store.tables.sign_in import one_time_links as table

Purpose = Literal["setup", "reset"]
LIFETIMES: dict[Purpose, timedelta] = {"setup": timedelta(days=7), "reset": timedelta(hours=1)}
PATHS: dict[Purpose, str] = {"setup": "/setup", "reset": "/login/reset"}


def make(
    conn: Connection, vault: Vault, purpose: Purpose, user_id: str, origin: str, at: datetime
) -> str:
    """A new link, which voids the one before. It stands in full nowhere else."""
    secret = secrets.token_urlsafe(24)
    conn.execute(delete(table).where(table.c.purpose == purpose, table.c.user_id == user_id))
    conn.execute(
        insert(table).values(
            digest=_digest(vault, purpose, secret),
            purpose=purpose,
            user_id=user_id,
            created_at=rfc3339(at),
            expires_at=rfc3339(at + LIFETIMES[purpose]),
        )
    )
    return f"{origin}{PATHS[purpose]}?token={secret}"


def find(conn: Connection, vault: Vault, purpose: Purpose, secret: str, at: datetime) -> str | None:
    """Whose an unused link is, by the secret in it."""
    wanted = (
        table.c.digest == _digest(vault, purpose, secret),
        table.c.expires_at > rfc3339(at),
    )
    found: str | None = conn.execute(select(table.c.user_id).where(*wanted)).scalar()
    return found


def use_up(conn: Connection, user_id: str) -> None:
    """Void every link of a user: they have a password now."""
    conn.execute(delete(table).where(table.c.user_id == user_id))


def prune(conn: Connection, at: datetime) -> int:
    """Forget links whose time is over; returns how many."""
    return conn.execute(delete(table).where(table.c.expires_at <= rfc3339(at))).rowcount


def _digest(vault: Vault, purpose: Purpose, secret: str) -> bytes:
    return vault.digest(f"link:{purpose}:{secret}")
