"""Invitations to a workspace, as functions of a Connection.

Anybody who invites sees the link, so a link proves no address. It makes a user where there is
none; who has a user already accepts with their own key and the link's secret together, or with
their key alone once their address is verified. So no admin of one workspace can become somebody
else's invitation to another.
"""

from datetime import timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, delete, func, insert, select

from serai.identity import accounts, people, workspaces
from serai.identity.keys import new_key, new_secret
from serai.identity.principal import Principal
from serai.kernel.clock import now, rfc3339
from serai.kernel.errors import BadRequest, Conflict, Forbidden, NotFound
from serai.kernel.ids import new_uuid
from serai.store.reach import unbounded
from serai.store.secrets import Vault
from serai.store.tables.identity import invitations, memberships, users
from serai.store.tables.identity import workspaces as places
from serai.wire.identity import (
    AcceptedInvitation,
    InviteBody,
    Inviter,
    InvitingWorkspace,
    InvitingWorkspaceDetails,
    PendingInvitation,
    ReceivedInvitation,
)

LIFETIME = timedelta(days=7)
TOKEN_PREFIX = "inv_"  # noqa: S105
FIRST_KEY = "first key"
MISSING = "There is no such invitation: it was accepted, declined, revoked or replaced."


def invite(
    conn: Connection, vault: Vault, workspace: str, body: InviteBody, inviter: Principal
) -> tuple[PendingInvitation, str]:
    """Make an invitation, in place of an earlier one for the address; returns its secret too.

    Raises:
        BadRequest: no address, or no such role.
        Conflict: they are in the workspace already.
    """
    email = people.check_email(body.email)
    role = people.check_role(body.role or "member")
    if people.find(conn, workspace, email) is not None:
        raise Conflict(f"{email} is in this workspace already.", code="USER_ALREADY_MEMBER")
    c, moment, secret = invitations.c, now(), new_secret(TOKEN_PREFIX)
    conn.execute(delete(invitations).where(c.workspace == workspace, c.email == email))
    row = conn.execute(
        insert(invitations)
        .values(
            id=new_uuid(),
            workspace=workspace,
            email=email,
            role=role,
            digest=vault.digest(secret),
            invited_by=inviter.subject,
            inviter_email=inviter.email,
            created_at=rfc3339(moment),
            updated_at=rfc3339(moment),
            expires_at=rfc3339(moment + LIFETIME),
        )
        .returning(invitations)
    ).one()
    return sent(row), secret


def received(conn: Connection, caller: Principal) -> list[ReceivedInvitation]:
    """The invitations that wait for the caller, in their account."""
    if caller.kind != "user":
        return []
    rows = conn.execute(
        _with_workspace()
        .where(
            invitations.c.email == caller.email,
            places.c.account_id == caller.account_id,
            invitations.c.expires_at > rfc3339(now()),
        )
        .order_by(invitations.c.created_at)
    )
    return [_rendered(conn, row) for row in rows]


def look(conn: Connection, vault: Vault, token: str) -> ReceivedInvitation:
    """What a link is an invitation to.

    Raises:
        NotFound: the secret is of no invitation that is still open.
        Conflict: it has expired.
    """
    return _rendered(conn, _by_token(conn, vault, token))


def user_of(conn: Connection, vault: Vault, token: str) -> str | None:
    """The user that the invited address has in that account already; raises as ``look``."""
    return _user_with(conn, _by_token(conn, vault, token))


def user_named(conn: Connection, accepted: AcceptedInvitation) -> str:
    """The user that an accepted invitation made."""
    assert accepted.workspace is not None
    account = accounts.account_of_workspace(conn, accepted.workspace.name or "")
    query = select(users.c.id).where(users.c.account_id == account, users.c.email == accepted.email)
    return str(conn.execute(query).scalar_one())


def accept_by_link(conn: Connection, vault: Vault, token: str) -> AcceptedInvitation:
    """Become a user of the workspace's account; the answer holds their first key.

    Raises:
        NotFound: the secret is of no invitation that is still open.
        Conflict: it has expired, or the address has a user already, whose key is needed.
    """
    row = _by_token(conn, vault, token)
    if _user_with(conn, row) is not None:
        raise Conflict(
            f"{row.email} has a user already: accept with their own API key and this token, by "
            f"POST /v0/workspaces/{row.workspace}/join.",
            code="USER_EXISTS",
        )
    user_id = accounts.create_user(conn, row.account_id, row.email, account_admin=False)
    key = new_key()
    accounts.store_key(conn, vault, user_id, FIRST_KEY, key)
    accepted = _take(conn, row, user_id)
    return msgspec.structs.replace(accepted, api_key=key)


def join(
    conn: Connection, vault: Vault, caller: Principal, workspace: str, token: str | None
) -> AcceptedInvitation:
    """Accept as the calling user.

    Raises:
        NotFound: the caller has no invitation to such a workspace.
        Conflict: it has expired.
        Forbidden: the address is unverified and no secret came with it.
    """
    row = _mine(conn, vault, caller, workspace, token)
    return _take(conn, row, caller.subject)


def decline(
    conn: Connection, vault: Vault, caller: Principal, workspace: str, token: str | None
) -> PendingInvitation:
    """Turn an invitation down as the calling user; raises what ``join`` does."""
    row, c = _mine(conn, vault, caller, workspace, token), invitations.c
    conn.execute(delete(invitations).where(c.id == row.id, c.email == caller.email))
    return sent(row)


def decline_by_link(conn: Connection, vault: Vault, token: str) -> PendingInvitation:
    """Turn an invitation down with nothing but its secret; raises what ``look`` does."""
    row = _by_token(conn, vault, token)
    conn.execute(delete(invitations).where(invitations.c.id == row.id))
    return sent(row)


def sent(row: Any) -> PendingInvitation:
    """An invitation as its workspace sees it."""
    return PendingInvitation(
        email=row.email,
        role=row.role,
        workspace=row.workspace,
        invited_by=row.invited_by,
        expires_at=row.expires_at,
        created_at=row.created_at,
        created_by=row.inviter_email,
        updated_at=row.updated_at,
        updated_by=row.inviter_email,
    )


def _with_workspace() -> Any:
    return select(invitations, places.c.account_id, places.c.display_name).join(
        places, places.c.name == invitations.c.workspace
    )


def _by_token(conn: Connection, vault: Vault, token: str) -> Row[Any]:
    digest = vault.digest(token)
    row: Row[Any] | None = conn.execute(
        _with_workspace().where(invitations.c.digest == digest)
    ).first()
    if row is None:
        raise NotFound(MISSING, code="INVITATION_NOT_FOUND")
    return _open(row)


def _user_with(conn: Connection, row: Row[Any]) -> str | None:
    known = select(users.c.id).where(
        users.c.account_id == row.account_id, users.c.email == row.email
    )
    found: str | None = conn.execute(known).scalar()
    return found


def _mine(
    conn: Connection, vault: Vault, caller: Principal, workspace: str, token: str | None
) -> Row[Any]:
    row: Row[Any] | None = conn.execute(
        _with_workspace().where(
            invitations.c.workspace == workspace,
            invitations.c.email == caller.email,
            places.c.account_id == caller.account_id,
        )
    ).first()
    if row is None or caller.kind != "user":
        raise NotFound(
            f"There is no invitation to a workspace {workspace[:80]!r} for this user.",
            code="INVITATION_NOT_FOUND",
        )
    if token is not None and vault.digest(token) != row.digest:
        raise BadRequest("token is not the one of this invitation's link.", code="INVALID_TOKEN")
    if token is None and not _verified(conn, caller):
        raise Forbidden(
            "This user's address is not verified: send the token of the invitation's link as "
            '{"token": "…"} too.',
            code="INVITATION_TOKEN_REQUIRED",
        )
    return _open(row)


def _verified(conn: Connection, caller: Principal) -> bool:
    query = select(users.c.email_verified).where(users.c.id == caller.subject)
    return bool(conn.execute(query).scalar())


def _open(row: Row[Any]) -> Row[Any]:
    if row.expires_at <= rfc3339(now()):
        raise Conflict(
            f"The invitation to {row.workspace!r} has expired: ask for a new one.",
            code="INVITATION_EXPIRED",
        )
    return row


@unbounded("an open invitation lets its holder into a workspace out of reach until then")
def _take(conn: Connection, row: Row[Any], user_id: str) -> AcceptedInvitation:
    mine = select(memberships.c.role).where(
        memberships.c.workspace == row.workspace, memberships.c.user_id == user_id
    )
    if conn.execute(mine).first() is None:
        accounts.grant(conn, row.workspace, user_id, row.role, "invitation")
    conn.execute(delete(invitations).where(invitations.c.id == row.id))
    found = select(places).where(places.c.name == row.workspace)
    workspace = workspaces.shown(conn.execute(found).one())
    return AcceptedInvitation(email=row.email, workspace=workspace)


@unbounded("an invitation says how many are in its workspace")
def _rendered(conn: Connection, row: Row[Any]) -> ReceivedInvitation:
    number = select(func.count()).where(memberships.c.workspace == row.workspace)
    return ReceivedInvitation(
        invitation_id=row.id,
        type="workspace",
        email=row.email,
        role=row.role,
        invited_at=row.created_at,
        invited_by=Inviter(sub=row.invited_by, email=row.inviter_email),
        expires_at=row.expires_at,
        workspace=InvitingWorkspace(name=row.workspace, display_name=row.display_name),
        workspace_details=InvitingWorkspaceDetails(user_number=conn.execute(number).scalar_one()),
    )
