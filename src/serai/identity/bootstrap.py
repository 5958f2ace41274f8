"""The first account, workspace, admin and key of a new data directory."""

from typing import Any

import msgspec
from sqlalchemy import Connection, select

from serai.identity import accounts, passwords
from serai.identity.keys import new_key
from serai.identity.names import NameRules
from serai.store.secrets import Vault
from serai.store.tables.identity import accounts as accounts_table
from serai.store.tables.identity import api_keys, users, workspaces

ADMIN_EMAIL = "admin@localhost"
KEY_NAME = "bootstrap"


class Bootstrapped(msgspec.Struct, frozen=True):
    """``admin_key`` is the key to hand out; ``None`` when an earlier start has handed it out."""

    workspace: str
    admin_key: str | None


def bootstrap(
    conn: Connection,
    vault: Vault,
    workspace: str,
    wanted_key: str | None,
    names: NameRules | None = None,
) -> Bootstrapped:
    """Make what a first start needs, or add the wanted key and workspace to what is there.

    Repeatable: a later start with the same settings changes nothing.

    Args:
        conn: inside a write transaction.
        vault: for the key's digest.
        workspace: name of the workspace to have.
        wanted_key: the operator's own key for the admin; random when ``None``.
        names: the rules that a new workspace's name must keep.

    Raises:
        BadRequest: nobody can have a workspace of that name.
    """
    admin = first_admin(conn)
    if admin is None:
        account_id = accounts.create_account(conn, "default")
        admin_id = accounts.create_user(conn, account_id, ADMIN_EMAIL, account_admin=True)
    else:
        account_id, admin_id = admin.account_id, admin.id
    there = select(workspaces.c.name).where(workspaces.c.name == workspace)
    if conn.execute(there).one_or_none() is None:
        (names or NameRules()).check(workspace)
        accounts.create_workspace(conn, account_id, workspace, ADMIN_EMAIL)
        accounts.grant(conn, workspace, admin_id, "admin")
    return Bootstrapped(workspace, _key(conn, vault, admin_id, wanted_key, first=admin is None))


def first_admin(conn: Connection) -> Any | None:
    """The row of the oldest account's oldest admin, whatever their address is by now."""
    oldest = select(accounts_table.c.id).order_by(accounts_table.c.created_at).limit(1)
    query = select(users).where(users.c.account_id == oldest.scalar_subquery())
    admins = query.where(users.c.account_admin).order_by(users.c.created_at).limit(1)
    return conn.execute(admins).one_or_none()


def unclaimed_admin(conn: Connection) -> Any | None:
    """The first admin's row while they have no password."""
    admin = first_admin(conn)
    if admin is None or passwords.of_user(conn, admin.id) is not None:
        return None
    return admin


def _key(
    conn: Connection, vault: Vault, admin_id: str, wanted: str | None, *, first: bool
) -> str | None:
    if wanted is None:
        if not first:
            return None
        wanted = new_key()
    known = select(api_keys.c.id).where(api_keys.c.digest == vault.digest(wanted))
    if conn.execute(known).one_or_none() is None:
        accounts.store_key(conn, vault, admin_id, KEY_NAME, wanted)
    return wanted
