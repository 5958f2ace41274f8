"""Who somebody at an upstream OpenID provider is here, as functions of a Connection.

An identity there is an issuer and a subject, never an address: addresses are given to other people
in time. Only the first time does an address that the provider has verified say who it is.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import Connection, insert, select, update

from serai.identity import accounts
from serai.identity.bootstrap import first_admin
from serai.identity.people import check_email
from serai.kernel.clock import rfc3339
from serai.kernel.errors import BadRequest, Forbidden
from serai.store.tables.identity import users, workspaces
from serai.store.tables.sign_in import upstream_identities as table

SOURCE = "oidc"
UNKNOWN = (
    "Your account there is not known here. Ask an admin for an invitation to your e-mail address, "
    "and sign in once more."
)
UNVERIFIED = (
    "Your account there has no verified e-mail address, so it cannot be matched with one here. "
    "Verify the address there first."
)
FOREIGN = "E-mail addresses of that domain may not sign in here."


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider vouches for. ``email`` is ``None`` unless it has verified it."""

    issuer: str
    subject: str
    email: str | None
    given_name: str | None = None
    family_name: str | None = None


class Admission(msgspec.Struct, frozen=True, kw_only=True):
    """Who may come in for the first time.

    Attributes:
        domains: of addresses; empty for all, where they have a user already.
        workspace: people without a user become members of it; ``None``: they do not come in.
    """

    domains: Sequence[str] = ()
    workspace: str | None = None


def user_of(conn: Connection, identity: Identity, admission: Admission, at: datetime) -> str:
    """The id of the user, who is linked or made when they come for the first time.

    Raises:
        Forbidden: nobody here; says what to do.
    """
    known = _linked(conn, identity)
    if known is not None:
        return known
    email = _admitted_email(identity, admission)
    query = select(users.c.id).where(users.c.email == email).order_by(users.c.created_at).limit(1)
    user_id = conn.execute(query).scalar() or _create(conn, identity, email, admission)
    conn.execute(
        insert(table).values(
            issuer=identity.issuer,
            subject=identity.subject,
            user_id=user_id,
            linked_at=rfc3339(at),
        )
    )
    conn.execute(update(users).where(users.c.id == user_id).values(email_verified=True))
    return str(user_id)


def _linked(conn: Connection, identity: Identity) -> str | None:
    c = table.c
    query = select(c.user_id).where(c.issuer == identity.issuer, c.subject == identity.subject)
    found: str | None = conn.execute(query.order_by(c.linked_at).limit(1)).scalar()
    return found


def _admitted_email(identity: Identity, admission: Admission) -> str:
    if identity.email is None:
        raise Forbidden(UNVERIFIED)
    try:
        email = check_email(identity.email)
    except BadRequest:
        raise Forbidden(UNVERIFIED) from None
    if admission.domains and email.rpartition("@")[2] not in admission.domains:
        raise Forbidden(FOREIGN)
    return email


def _create(conn: Connection, identity: Identity, email: str, admission: Admission) -> str:
    """A new user of the first account, a member of the admission's workspace."""
    name, owner = admission.workspace, first_admin(conn)
    mine = None if owner is None else owner.account_id
    there = select(workspaces.c.name).where(
        workspaces.c.name == name, workspaces.c.account_id == mine
    )
    if name is None or mine is None or conn.execute(there).scalar() is None:
        raise Forbidden(UNKNOWN)
    user_id = accounts.create_user(conn, mine, email, account_admin=False)
    accounts.grant(conn, name, user_id, "member", SOURCE)
    names = {"given_name": identity.given_name, "family_name": identity.family_name}
    conn.execute(update(users).where(users.c.id == user_id).values(names))
    return user_id
