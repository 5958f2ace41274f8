"""OAuth grants: who let which application act for them, as functions of a Connection.

Every access and refresh token belongs to one grant, so revoking it ends all of them at once.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from serai.kernel.clock import now, rfc3339
from serai.kernel.ids import new_uuid
from serai.store.tables.oauth import oauth_grants, oauth_refresh_tokens

LIFETIME = timedelta(days=30)
"""A grant that is not used for this long has expired; each refresh begins it anew."""
MACHINE_LIFETIME = timedelta(days=1)
"""The same for service accounts, which have a secret to begin another with whenever they like."""
KEPT = timedelta(days=1)
"""How long an ended grant is still told from one that never was."""


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """One consent.

    Attributes:
        id: also the ``sid`` claim of its access tokens.
        client_id: the application.
        user_id: whose it is; ``None`` for a service account's.
        service_client_id: the service account; ``None`` for a user's.
        sign_in_id: the browser session it came from, which ends it too; ``None`` without one.
        scope: what was granted, words separated by a space.
        workspace: what requests are about that name none.
        bound: whether they cannot name another.
        user_agent: of the client, as last seen.
        address: of the client, as last seen.
        device_digest: of the device code it came from; ``None`` without one.
    """

    id: str
    client_id: str
    user_id: str | None = None
    service_client_id: str | None = None
    sign_in_id: str | None = None
    scope: str = ""
    workspace: str = ""
    bound: bool = False
    user_agent: str = ""
    address: str = ""
    device_digest: bytes | None = None

    @property
    def subject(self) -> str:
        """The ``sub`` of its tokens."""
        return self.user_id or self.service_client_id or ""

    @property
    def lifetime(self) -> timedelta:
        """How long it lives without use."""
        return LIFETIME if self.user_id else MACHINE_LIFETIME


def create(conn: Connection, at: datetime, **fields: Any) -> Grant:
    """Make a grant; ``fields`` are those of ``Grant`` without its id."""
    grant = Grant(id=new_uuid(), **fields)
    moments = {"created_at": rfc3339(at), "last_used_at": rfc3339(at)}
    moments["expires_at"] = rfc3339(at + grant.lifetime)
    conn.execute(insert(oauth_grants).values(**msgspec.structs.asdict(grant), **moments))
    return grant


def find(conn: Connection, grant_id: str, at: datetime) -> Grant | None:
    """The grant of that id, unless it was revoked or has expired."""
    c = oauth_grants.c
    alive = (c.id == grant_id, c.revoked_at.is_(None), c.expires_at > rfc3339(at))
    columns = [c[name] for name in Grant.__struct_fields__]
    row = conn.execute(select(*columns).where(*alive)).one_or_none()
    return None if row is None else Grant(**row._mapping)


def of_device(conn: Connection, user_id: str | None, device_digest: bytes) -> str | None:
    """The id of the grant that came from a device code."""
    c = oauth_grants.c
    query = select(c.id).where(c.user_id == user_id, c.device_digest == device_digest)
    found: str | None = conn.execute(query).scalars().first()
    return found


def of_sign_in(conn: Connection, sign_in_id: str, client_id: str, at: datetime) -> Grant | None:
    """The living grant that a browser session gave to an application."""
    c = oauth_grants.c
    wanted = (c.sign_in_id == sign_in_id, c.client_id == client_id)
    found = conn.execute(select(c.id).where(*wanted, c.revoked_at.is_(None))).scalars().first()
    return None if found is None else find(conn, found, at)


def end_of_sign_in(conn: Connection, sign_in_id: str, client_id: str) -> None:
    """End what a browser session gave to an application."""
    c = oauth_grants.c
    _revoke(conn, [c.sign_in_id == sign_in_id, c.client_id == client_id])


def lock(conn: Connection, grant_id: str) -> None:
    """Let no other transaction use the grant before this one has ended."""
    query = select(oauth_grants.c.id).where(oauth_grants.c.id == grant_id)
    conn.execute(query.with_for_update()).all()


def listing(conn: Connection, user_id: str, at: datetime) -> list[Any]:
    """The rows of a user's living grants, the last used first."""
    c = oauth_grants.c
    alive = (c.user_id == user_id, c.revoked_at.is_(None), c.expires_at > rfc3339(at))
    query = select(oauth_grants).where(*alive).order_by(c.last_used_at.desc(), c.id)
    return list(conn.execute(query))


def revoke_own(conn: Connection, user_id: str, grant_id: str) -> bool:
    """End one of a user's grants; whether there was one."""
    return _revoke(conn, [oauth_grants.c.id == grant_id, oauth_grants.c.user_id == user_id]) > 0


def use(conn: Connection, grant: Grant, at: datetime) -> None:
    """Note that a grant was refreshed: its lifetime begins anew."""
    values = {
        "last_used_at": rfc3339(at),
        "expires_at": rfc3339(at + grant.lifetime),
        "user_agent": grant.user_agent,
        "address": grant.address,
    }
    conn.execute(update(oauth_grants).where(oauth_grants.c.id == grant.id).values(values))


def revoke(conn: Connection, grant_id: str) -> bool:
    """End a grant and all its tokens; whether it was alive."""
    return _revoke(conn, [oauth_grants.c.id == grant_id]) > 0


def revoke_of_user(conn: Connection, user_id: str) -> None:
    """End every grant of a user."""
    _revoke(conn, [oauth_grants.c.user_id == user_id])


def revoke_bound_elsewhere(conn: Connection, user_id: str, workspaces: Iterable[str]) -> None:
    """End every grant of a user that is for one workspace, and for none of these."""
    c = oauth_grants.c
    _revoke(conn, [c.user_id == user_id, c.bound, c.workspace.not_in(list(workspaces))])


def revoke_of_workspace(conn: Connection, workspace: str) -> None:
    """End every grant that is for this workspace alone."""
    _revoke(conn, [oauth_grants.c.workspace == workspace, oauth_grants.c.bound])


def revoke_of_service_account(conn: Connection, client_id: str) -> None:
    """End every grant of a service account."""
    _revoke(conn, [oauth_grants.c.service_client_id == client_id])


def revoke_of_client(conn: Connection, client_id: str) -> None:
    """End every grant that was given to an application."""
    _revoke(conn, [oauth_grants.c.client_id == client_id])


def revoke_of_sign_ins(conn: Connection, sign_in_ids: Iterable[str]) -> None:
    """End every grant that came from these browser sessions."""
    _revoke(conn, [oauth_grants.c.sign_in_id.in_(list(sign_in_ids))])


def prune(conn: Connection, at: datetime) -> int:
    """Forget grants, with their tokens, that ended a while ago; returns how many."""
    c, horizon = oauth_grants.c, rfc3339(at - KEPT)
    old = select(c.id).where((c.expires_at < horizon) | (c.revoked_at < horizon))
    tokens = oauth_refresh_tokens.c.grant_id.in_(old)
    conn.execute(delete(oauth_refresh_tokens).where(tokens))
    return conn.execute(delete(oauth_grants).where(c.id.in_(old))).rowcount


def _revoke(conn: Connection, wanted: list[ColumnElement[bool]]) -> int:
    c = oauth_grants.c
    statement = update(oauth_grants).where(*wanted, c.revoked_at.is_(None))
    return conn.execute(statement.values(revoked_at=rfc3339(now()))).rowcount
