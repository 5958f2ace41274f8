"""The people of a workspace: members, admins of the account, and those only invited."""

import re
from typing import Any, get_args

from sqlalchemy import Connection, and_, delete, or_, select, update

from serai.identity.leaving import lose_access
from serai.kernel.clock import now, rfc3339
from serai.kernel.errors import BadRequest, Conflict, NotFound
from serai.store.tables.identity import invitations, memberships, users, workspaces
from serai.wire.identity import Role, WorkspaceUser

EMAIL = re.compile(r"[^@\s/]{1,64}@[^@\s/]{1,189}\Z")
ROLES: tuple[str, ...] = get_args(Role)


def check_role(role: str) -> str:
    """The role itself when there is such a role.

    Raises:
        BadRequest: naming the roles.
    """
    if role in ROLES:
        return role
    raise BadRequest(f"role {role[:40]!r} is not one of {', '.join(ROLES)}.")


def check_email(text: str) -> str:
    """An address in lower case.

    Raises:
        BadRequest: it does not look like one.
    """
    email = text.strip().lower()
    if EMAIL.match(email) and email.isprintable():
        return email
    raise BadRequest(f"email {text[:80]!r} is not an e-mail address.", code="INVALID_EMAIL")


def listing(conn: Connection, workspace: str) -> list[WorkspaceUser]:
    """Everybody who may use the workspace, then everybody invited; by address."""
    members = conn.execute(_members(workspace).order_by(users.c.email))
    invited = conn.execute(
        select(invitations)
        .where(invitations.c.workspace == workspace)
        .order_by(invitations.c.email)
    )
    return [*map(shown, members), *map(shown_invited, invited)]


def find(conn: Connection, workspace: str, sub_or_email: str) -> Any | None:
    """The row of somebody who may use the workspace, by id or address."""
    wanted = or_(users.c.id == sub_or_email, users.c.email == sub_or_email.strip().lower())
    return conn.execute(_members(workspace).where(wanted)).first()


def set_role(conn: Connection, workspace: str, sub_or_email: str, role: str) -> WorkspaceUser:
    """Change the role of a member, or the one that an invitation will give.

    Raises:
        NotFound: nobody like that in this workspace.
        Conflict: an admin of the account, who is admin everywhere.
        BadRequest: there is no such role.
    """
    check_role(role)
    row = find(conn, workspace, sub_or_email)
    if row is None:
        return _set_invited_role(conn, workspace, sub_or_email, role)
    _refuse_account_admin(row)
    mine = and_(memberships.c.workspace == workspace, memberships.c.user_id == row.id)
    conn.execute(update(memberships).where(mine).values(role=role))
    return shown(conn.execute(_members(workspace).where(users.c.id == row.id)).one())


def _set_invited_role(
    conn: Connection, workspace: str, sub_or_email: str, role: str
) -> WorkspaceUser:
    changed = conn.execute(
        update(invitations)
        .where(*_invited(workspace, sub_or_email))
        .values(role=role, updated_at=rfc3339(now()))
        .returning(invitations)
    ).first()
    if changed is None:
        raise not_found(sub_or_email)
    return shown_invited(changed)


def remove(conn: Connection, workspace: str, sub_or_email: str) -> WorkspaceUser:
    """Take somebody's access to the workspace away, or their invitation back.

    Raises:
        NotFound: nobody like that in this workspace.
        Conflict: an admin of the account, who is admin everywhere.
    """
    row = find(conn, workspace, sub_or_email)
    if row is None:
        gone = conn.execute(
            delete(invitations).where(*_invited(workspace, sub_or_email)).returning(invitations)
        ).first()
        if gone is None:
            raise not_found(sub_or_email)
        return shown_invited(gone)
    _refuse_account_admin(row)
    conn.execute(
        delete(memberships).where(
            memberships.c.workspace == workspace, memberships.c.user_id == row.id
        )
    )
    lose_access(conn, row.id)
    return shown(row)


def shown(row: Any) -> WorkspaceUser:
    """Somebody who may use the workspace."""
    return WorkspaceUser(
        sub=row.id,
        email=row.email,
        email_verified=row.email_verified,
        given_name=row.given_name,
        family_name=row.family_name,
        role="admin" if row.account_admin else row.role,
        accepted=True,
        source=row.source,
    )


def shown_invited(row: Any) -> WorkspaceUser:
    """Somebody with an invitation."""
    return WorkspaceUser(
        email=row.email,
        role=row.role,
        accepted=False,
        expired=row.expires_at <= rfc3339(now()),
        source="invitation",
    )


def not_found(sub_or_email: str) -> NotFound:
    """The answer when nobody like that is in the workspace."""
    return NotFound(
        f"There is no user or invitation {sub_or_email[:80]!r} in this workspace.",
        code="USER_NOT_FOUND",
    )


def _members(workspace: str) -> Any:
    mine = and_(memberships.c.user_id == users.c.id, memberships.c.workspace == workspace)
    return (
        select(users, memberships.c.role, memberships.c.source)
        .join(workspaces, workspaces.c.account_id == users.c.account_id)
        .outerjoin(memberships, mine)
        .where(
            workspaces.c.name == workspace,
            or_(memberships.c.role.is_not(None), users.c.account_admin),
        )
    )


def _invited(workspace: str, email: str) -> list[Any]:
    c = invitations.c
    return [c.workspace == workspace, c.email == email.strip().lower()]


def _refuse_account_admin(row: Any) -> None:
    if row.account_admin:
        raise Conflict(
            f"{row.email} is an admin of the account and so an admin of all its workspaces; that "
            "cannot be changed for one of them.",
            code="ACCOUNT_ADMIN",
        )
