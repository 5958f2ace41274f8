"""The admins of an account: admins of all its workspaces, who see its bill."""

from typing import Any

from sqlalchemy import Connection, or_, select, update

from serai.identity.leaving import lose_access
from serai.kernel.errors import Conflict, NotFound
from serai.store.tables.identity import users
from serai.wire.identity import WorkspaceUser


def listing(conn: Connection, account_id: str) -> list[WorkspaceUser]:
    """All admins of an account, by address."""
    query = _users(account_id).where(users.c.account_admin).order_by(users.c.email)
    return [_shown(row) for row in conn.execute(query)]


def appoint(conn: Connection, account_id: str, sub_or_email: str) -> WorkspaceUser:
    """Make a user of the account one of its admins.

    Raises:
        NotFound: the account has no such user.
    """
    return _set(conn, _need(conn, account_id, sub_or_email), admin=True)


def dismiss(conn: Connection, account_id: str, sub_or_email: str) -> WorkspaceUser:
    """Leave an admin with the roles they have in workspaces; without any, they go.

    Raises:
        NotFound: the account has no such admin.
        Conflict: it has no other.
    """
    row = _need(conn, account_id, sub_or_email)
    if not row.account_admin:
        raise _not_found(sub_or_email)
    if len(listing(conn, account_id)) == 1:
        raise Conflict(
            f"{row.email} is the account's only admin: appoint another one first.",
            code="LAST_ACCOUNT_ADMIN",
        )
    shown = _set(conn, row, admin=False)
    lose_access(conn, row.id)
    return shown


def _set(conn: Connection, row: Any, *, admin: bool) -> WorkspaceUser:
    itself = (users.c.id == row.id, users.c.account_id == row.account_id)
    conn.execute(update(users).where(*itself).values(account_admin=admin))
    return _shown(row)


def _need(conn: Connection, account_id: str, sub_or_email: str) -> Any:
    wanted = or_(users.c.id == sub_or_email, users.c.email == sub_or_email.strip().lower())
    row = conn.execute(_users(account_id).where(wanted)).first()
    if row is None:
        raise _not_found(sub_or_email)
    return row


def _users(account_id: str) -> Any:
    return select(users).where(users.c.account_id == account_id)


def _not_found(sub_or_email: str) -> NotFound:
    return NotFound(
        f"There is no user {sub_or_email[:80]!r} among those of this account it could be about.",
        code="USER_NOT_FOUND",
    )


def _shown(row: Any) -> WorkspaceUser:
    return WorkspaceUser(
        sub=row.id,
        email=row.email,
        email_verified=row.email_verified,
        given_name=row.given_name,
        family_name=row.family_name,
    )
