"""Browser sessions: where somebody is signed in, as functions of a Connection.

The cookie holds a random secret, of which a keyed digest is stored. A session ends when it was not
used for ``IDLE``, at the latest after ``LIFETIME``.
"""

import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from serai.identity import grants
from serai.kernel.clock import rfc3339
from serai.kernel.ids import new_uuid
from serai.store.secrets import Vault
from serai.store.tables.identity import users
from serai.store.tables.sign_in import sign_ins as table

IDLE = timedelta(hours=24)
LIFETIME = timedelta(days=7)
NOTE_EVERY = timedelta(minutes=1)


class Person(msgspec.Struct, frozen=True):
    """Who is signed in."""

    id: str
    email: str
    account_id: str
    account_admin: bool
    name: str = ""


class SignIn(msgspec.Struct, frozen=True):
    """A browser session; ``auth_time`` is when its person proved who they are (seconds)."""

    id: str
    person: Person
    method: str
    auth_time: int
    last_seen_at: str


def begin(
    conn: Connection, vault: Vault, user_id: str, method: str, at: datetime, **place: str
) -> tuple[str, str]:
    """Make a session; returns its id and the cookie's secret. ``place``: user_agent, address."""
    secret, sign_in_id = secrets.token_urlsafe(32), new_uuid()
    conn.execute(
        insert(table).values(
            id=sign_in_id,
            digest=digest(vault, secret),
            user_id=user_id,
            method=method,
            auth_time=int(at.timestamp()),
            created_at=rfc3339(at),
            last_seen_at=rfc3339(at),
            expires_at=rfc3339(at + LIFETIME),
            **place,
        )
    )
    return sign_in_id, secret


def find(conn: Connection, vault: Vault, secret: str, at: datetime) -> SignIn | None:
    """The living session of a cookie."""
    query = select(table, users).join(users, users.c.id == table.c.user_id)
    row = conn.execute(
        query.where(table.c.digest == digest(vault, secret), *_alive(at))
    ).one_or_none()
    return None if row is None else _sign_in(row)


def _sign_in(row: Any) -> SignIn:
    columns = row._mapping
    names = [columns[users.c.given_name], columns[users.c.family_name]]
    return SignIn(
        id=columns[table.c.id],
        person=Person(
            id=columns[users.c.id],
            email=columns[users.c.email],
            account_id=columns[users.c.account_id],
            account_admin=columns[users.c.account_admin],
            name=" ".join(name for name in names if name),
        ),
        method=columns[table.c.method],
        auth_time=columns[table.c.auth_time],
        last_seen_at=columns[table.c.last_seen_at],
    )


def is_worth_noting(sign_in: SignIn, at: datetime) -> bool:
    """Whether its last use was noted more than a minute ago."""
    return sign_in.last_seen_at < rfc3339(at - NOTE_EVERY)


def note_seen(conn: Connection, sign_in: SignIn, at: datetime) -> None:
    """Note that a session is in use."""
    seen = update(table).where(table.c.id == sign_in.id)
    conn.execute(seen.values(last_seen_at=rfc3339(at)))


def listing(conn: Connection, user_id: str, at: datetime) -> list[Any]:
    """The living sessions of a user, the last used first."""
    query = select(table).where(table.c.user_id == user_id, *_alive(at))
    return list(conn.execute(query.order_by(table.c.last_seen_at.desc(), table.c.id)))


def sign_out(conn: Connection, sign_in_id: str) -> None:
    """Forget a session that its own person leaves; what was let in from it stays."""
    conn.execute(delete(table).where(table.c.id == sign_in_id))


def end(conn: Connection, user_id: str, sign_in_id: str) -> bool:
    """End one of a user's sessions and every grant from it; whether there was one."""
    mine = [table.c.user_id == user_id, table.c.id == sign_in_id]
    return len(_end(conn, mine)) > 0


def end_others(conn: Connection, user_id: str, kept: str) -> None:
    """End all sessions of a user but one, and every grant from them."""
    _end(conn, [table.c.user_id == user_id, table.c.id != kept])


def end_all(conn: Connection, user_id: str) -> None:
    """End all sessions and all grants of a user."""
    _end(conn, [table.c.user_id == user_id])
    grants.revoke_of_user(conn, user_id)


def prune(conn: Connection, at: datetime) -> int:
    """Forget sessions whose time is over; returns how many."""
    gone = (table.c.expires_at <= rfc3339(at)) | (table.c.last_seen_at <= rfc3339(at - IDLE))
    return conn.execute(delete(table).where(gone)).rowcount


def digest(vault: Vault, secret: str) -> bytes:
    """What is stored of a cookie's secret."""
    return vault.digest(f"sign-in:{secret}")


def _end(conn: Connection, wanted: Iterable[ColumnElement[bool]]) -> list[str]:
    ids = list(conn.execute(select(table.c.id).where(*wanted)).scalars())
    grants.revoke_of_sign_ins(conn, ids)
    conn.execute(delete(table).where(table.c.id.in_(ids)))
    return ids


def _alive(at: datetime) -> tuple[ColumnElement[bool], ...]:
    return (table.c.expires_at > rfc3339(at), table.c.last_seen_at > rfc3339(at - IDLE))
