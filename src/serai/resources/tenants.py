"""Other workspaces and accounts, as far as sharing between them needs to know them."""

import msgspec
from sqlalchemy import Connection, select

from serai.kernel.errors import NotFound
from serai.store.tables.identity import users, workspaces


class Tenant(msgspec.Struct, frozen=True):
    """A workspace, the account it belongs to, and its name for people."""

    name: str
    account_id: str
    display_name: str


def find_tenant(conn: Connection, name: str) -> Tenant | None:
    """The workspace of that name, or ``None``."""
    c = workspaces.c
    query = select(c.name, c.account_id, c.display_name).where(c.name == name)
    row = conn.execute(query).first()
    return Tenant(*row) if row is not None else None


def need_tenant(conn: Connection, name: str, account_id: str | None = None) -> Tenant:
    """The workspace of that name, in that account when one is given.

    Raises:
        NotFound: there is none, or it is another account's.
    """
    tenant = find_tenant(conn, name)
    if tenant is None or account_id not in {None, tenant.account_id}:
        raise NotFound(f"There is no workspace named {name[:80]!r}.", code="WORKSPACE_NOT_FOUND")
    return tenant


def account_owner_email(conn: Connection, account_id: str) -> str | None:
    """The address of the account's first administrator."""
    c = users.c
    query = (
        select(c.email)
        .where(c.account_id == account_id, c.account_admin)
        .order_by(c.created_at, c.id)
        .limit(1)
    )
    email: str | None = conn.execute(query).scalar()
    return email
