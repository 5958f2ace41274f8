"""Accounts, workspaces, users and keys as functions of a Connection."""

from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from serai.identity.keys import hint
from serai.identity.principal import Principal
from serai.kernel.clock import now, rfc3339
from serai.kernel.ids import new_uuid, token
from serai.store.secrets import Vault
from serai.store.tables.identity import accounts, api_keys, memberships, users, workspaces


def create_account(conn: Connection, name: str, currency: str = "usd") -> str:
    """Insert an account; returns its id."""
    account_id = f"acc-{token(12)}"
    row = {"id": account_id, "name": name, "currency": currency, "created_at": rfc3339(now())}
    conn.execute(insert(accounts).values(row))
    return account_id


def create_workspace(conn: Connection, account_id: str, name: str, created_by: str) -> None:
    """Insert a workspace of an account."""
    moment = rfc3339(now())
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


def create_user(conn: Connection, account_id: str, email: str, *, account_admin: bool) -> str:
    """Insert a user; returns the id."""
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


def grant(conn: Connection, workspace: str, user_id: str, role: str) -> None:
    """Give a user a role (``admin`` or ``member``) in a workspace."""
    conn.execute(insert(memberships).values(workspace=workspace, user_id=user_id, role=role))


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


def principal_of(conn: Connection, digest: bytes, at: datetime) -> Principal | None:
    """The principal of an unrevoked, unexpired key, with every workspace it may use."""
    query = (
        select(api_keys, users.c.email, users.c.account_id, users.c.account_admin)
        .join(users, users.c.id == api_keys.c.user_id)
        .where(api_keys.c.digest == digest, api_keys.c.revoked_at.is_(None))
    )
    row = conn.execute(query).one_or_none()
    if row is None or (row.expires_at is not None and row.expires_at <= rfc3339(at)):
        return None
    granted = select(memberships.c.workspace, memberships.c.role).where(
        memberships.c.user_id == row.user_id
    )
    return Principal(
        subject=row.user_id,
        email=row.email,
        account_id=row.account_id,
        account_admin=row.account_admin,
        workspaces={row.workspace: row.role for row in conn.execute(granted)},
        credential_id=row.id,
    )


def account_of_workspace(conn: Connection, workspace: str) -> str:
    """The account that pays for a workspace."""
    query = select(workspaces.c.account_id).where(workspaces.c.name == workspace)
    return str(conn.execute(query).scalar_one())
