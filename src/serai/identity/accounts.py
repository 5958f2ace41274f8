"""Accounts, workspaces and users as functions of a Connection."""

from datetime import datetime
from typing import Any

import msgspec
from msgspec import structs
from sqlalchemy import Connection, Select, insert, select, update

from serai.identity.grants import Grant
from serai.identity.keys import hint, new_key
from serai.identity.principal import Principal
from serai.kernel.clock import now, parse_rfc3339, rfc3339
from serai.kernel.ids import new_uuid, token
from serai.store.reach import unbounded
from serai.store.secrets import Vault
from serai.store.tables.identity import (
    accounts,
    api_keys,
    memberships,
    service_accounts,
    users,
    workspace_names,
    workspaces,
)


class Verified(msgspec.Struct, frozen=True):
    """A principal, and how many seconds its credential is still good (``None``: for ever)."""

    principal: Principal
    seconds: float | None


def create_account(conn: Connection, name: str, currency: str = "usd") -> str:
    """Insert an account; returns its id."""
    account_id = f"acc-{token(12)}"
    row = {"id": account_id, "name": name, "currency": currency, "created_at": rfc3339(now())}
    conn.execute(insert(accounts).values(row))
    return account_id


def open_account(conn: Connection, vault: Vault, name: str, email: str, workspace: str) -> str:
    """A further account of this installation: a workspace, its admin, and the admin's key.

    Returns:
        The key; it is nowhere else.
    """
    account_id = create_account(conn, name)
    admin_id = create_user(conn, account_id, email, account_admin=True)
    create_workspace(conn, account_id, workspace, email)
    grant(conn, workspace, admin_id, "admin")
    key = new_key()
    store_key(conn, vault, admin_id, "first key", key)
    return key


class Summary(msgspec.Struct, frozen=True):
    """An account as its operator sees it: its workspaces and the addresses of its admins."""

    id: str
    name: str
    workspaces: list[str]
    admins: list[str]


def summaries(conn: Connection) -> list[Summary]:
    """Every account of the installation, the oldest first."""
    owned, bosses = workspaces.c, users.c
    return [
        Summary(
            one.id,
            one.name,
            _texts(conn, select(owned.name).where(owned.account_id == one.id).order_by(owned.name)),
            _texts(
                conn,
                select(bosses.email)
                .where(bosses.account_id == one.id, bosses.account_admin)
                .order_by(bosses.email),
            ),
        )
        for one in conn.execute(select(accounts).order_by(accounts.c.created_at, accounts.c.id))
    ]


def _texts(conn: Connection, query: Select[Any]) -> list[str]:
    return list(conn.execute(query).scalars())


def create_workspace(conn: Connection, account_id: str, name: str, created_by: str) -> None:
    """Insert a workspace of an account, which owns the name from now on."""
    moment = rfc3339(now())
    if name_owner(conn, name) is None:
        conn.execute(insert(workspace_names).values(name=name, account_id=account_id))
    conn.execute(
        insert(workspaces).values(
            name=name,
            id=f"ws-{token(12)}",
            account_id=account_id,
            display_name=name,
            created_at=moment,
            updated_at=moment,
            created_by=created_by,
            labels="{}",
        )
    )


def name_owner(conn: Connection, name: str) -> str | None:
    """The account that has, or had, a workspace of that name."""
    query = select(workspace_names.c.account_id).where(workspace_names.c.name == name)
    return conn.execute(query).scalar()


def create_user(conn: Connection, account_id: str, email: str, *, account_admin: bool) -> str:
    """Insert a user of an account; returns the id. Accounts do not share users."""
    user_id = new_uuid()
    conn.execute(
        insert(users).values(
            id=user_id,
            account_id=account_id,
            email=email,
            account_admin=account_admin,
            created_at=rfc3339(now()),
        )
    )
    return user_id


def grant(
    conn: Connection, workspace: str, user_id: str, role: str, source: str | None = None
) -> None:
    """Give a user a role (``admin`` or ``member``) in a workspace of their account."""
    row = {"workspace": workspace, "user_id": user_id, "role": role, "source": source}
    conn.execute(insert(memberships).values(row))


def store_key(conn: Connection, vault: Vault, user_id: str, name: str, secret: str) -> str:
    """Store a key's digest; returns its id. The key itself is never stored."""
    key_id = new_uuid()
    conn.execute(
        insert(api_keys).values(
            id=key_id,
            user_id=user_id,
            name=name,
            digest=vault.digest(secret),
            hint=hint(secret),
            created_at=rfc3339(now()),
        )
    )
    return key_id


def revoke_key(conn: Connection, key_id: str) -> None:
    """Revoke a key for good."""
    stamp = {"revoked_at": rfc3339(now())}
    conn.execute(update(api_keys).where(api_keys.c.id == key_id).values(stamp))


def principal_of(conn: Connection, digest: bytes, at: datetime) -> Verified | None:
    """Whose an unrevoked, unexpired key is, with every workspace it may use."""
    query = select(api_keys).where(api_keys.c.digest == digest, api_keys.c.revoked_at.is_(None))
    key = conn.execute(query).one_or_none()
    if key is None:
        return None
    seconds = None
    if key.expires_at is not None:
        seconds = (parse_rfc3339(key.expires_at) - at).total_seconds()
        if seconds <= 0:
            return None
    found = _holder(conn, key.user_id, key.client_id)
    if found is None:
        return None
    scopes = None if key.scope is None else frozenset(key.scope.split())
    return Verified(structs.replace(found, credential_id=key.id, scopes=scopes), seconds)


def principal_of_grant(conn: Connection, grant: Grant, scope: str) -> Principal | None:
    """Who acts by a grant, with as much of its scope as the token carries.

    Rights are those of now, not of when the token was signed. ``None`` when the holder is gone,
    or has no access any more to the one workspace that the grant is for.
    """
    found = _holder(conn, grant.user_id, grant.service_client_id)
    if found is None or (grant.bound and grant.workspace not in found.workspaces):
        return None
    workspaces = found.workspaces
    if grant.bound:
        workspaces = {grant.workspace: found.workspaces[grant.workspace]}
    return structs.replace(
        found,
        workspaces=workspaces,
        account_admin=found.account_admin and not grant.bound,
        credential_id=grant.id,
        credential="access_token",
        scopes=frozenset(scope.split()) & frozenset(grant.scope.split()),
        home=grant.workspace if grant.workspace in workspaces else None,
    )


@unbounded("who somebody is comes before what they may reach")
def _holder(conn: Connection, user_id: str | None, client_id: str | None) -> Principal | None:
    if user_id is not None:
        return _user(conn, user_id)
    return _machine(conn, client_id) if client_id is not None else None


@unbounded("who somebody is comes before what they may reach")
def principal_of_user(conn: Connection, user_id: str) -> Principal | None:
    """A user as they are now, without a credential: who has signed in to a page."""
    return _user(conn, user_id)


def _user(conn: Connection, user_id: str) -> Principal | None:
    user = conn.execute(select(users).where(users.c.id == user_id)).one_or_none()
    if user is None:
        return None
    granted = select(memberships.c.workspace, memberships.c.role).where(
        memberships.c.user_id == user.id
    )
    roles: dict[str, str] = {row.workspace: row.role for row in conn.execute(granted)}
    if user.account_admin:
        owned = select(workspaces.c.name).where(workspaces.c.account_id == user.account_id)
        roles = dict.fromkeys(conn.execute(owned.order_by(workspaces.c.name)).scalars(), "admin")
    return Principal(
        subject=user.id,
        email=user.email,
        account_id=user.account_id,
        account_admin=user.account_admin,
        workspaces=roles,
        credential_id="",
    )


def _machine(conn: Connection, client_id: str) -> Principal | None:
    query = (
        select(service_accounts, workspaces.c.account_id)
        .join(workspaces, workspaces.c.name == service_accounts.c.workspace)
        .where(service_accounts.c.client_id == client_id)
    )
    machine = conn.execute(query).one_or_none()
    if machine is None:
        return None
    return Principal(
        subject=machine.client_id,
        email=machine.name,
        account_id=machine.account_id,
        account_admin=False,
        workspaces={machine.workspace: machine.role},
        credential_id="",
        kind="service_account",
    )


def workspace_ids(conn: Connection) -> dict[str, str]:
    """The id of every workspace by its name, for the platform itself."""
    query = select(workspaces.c.name, workspaces.c.id)
    return {str(name): str(id_) for name, id_ in conn.execute(query)}


def account_of_workspace(conn: Connection, workspace: str) -> str:
    """The account that pays for a workspace."""
    query = select(workspaces.c.account_id).where(workspaces.c.name == workspace)
    return str(conn.execute(query).scalar_one())
