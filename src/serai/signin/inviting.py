"""The page that an invitation's link leads to: accept or decline, with or without a user."""

from litestar import Response
from sqlalchemy import Connection

from serai.identity import accounts, invitations, passwords, sign_ins
from serai.kernel.clock import now
from serai.kernel.errors import Forbidden, SeraiError
from serai.signin.entering import remember
from serai.signin.journal import note, person_of
from serai.signin.recovering import new_password
from serai.signin.site import Visit
from serai.wire.identity import AcceptedInvitation, ReceivedInvitation


async def show_invitation(visit: Visit) -> Response[bytes]:
    """``GET /invitations``."""
    return await _page(visit, visit.query("token"))


async def _page(visit: Visit, token: str, problem: SeraiError | None = None) -> Response[bytes]:
    vault = visit.site.vault

    def read(conn: Connection) -> tuple[ReceivedInvitation, str | None]:
        return invitations.look(conn, vault, token), invitations.user_of(conn, vault, token)

    invitation, user_id = await visit.site.db.read(read)
    mine = visit.sign_in is not None and visit.sign_in.person.id == user_id
    return visit.render(
        "invitation.html",
        status=problem.status if problem else 200,
        problem=problem.message if problem else None,
        invitation=invitation,
        proof=token,
        known=user_id is not None,
        mine=mine,
        length=passwords.LENGTH_MIN,
    )


async def accept_invitation(visit: Visit) -> Response[bytes]:
    """``POST /invitations/accept``: as who is signed in, or as somebody new."""
    token = visit.field("proof", 200)
    user_id = await visit.site.db.read(
        lambda conn: invitations.user_of(conn, visit.site.vault, token)
    )
    if user_id is not None:
        return await _join(visit, token, user_id)
    return await _begin(visit, token)


async def _join(visit: Visit, token: str, user_id: str) -> Response[bytes]:
    site = visit.site
    if visit.sign_in is None or visit.person.id != user_id:
        raise Forbidden("Sign in with the address that was invited, then open the link again.")

    def join(conn: Connection) -> AcceptedInvitation:
        caller = accounts.principal_of_user(conn, user_id)
        if caller is None:
            raise Forbidden("This user is gone.")
        found = invitations.look(conn, site.vault, token).workspace
        workspace = (found.name if found else None) or ""
        accepted = invitations.join(conn, site.vault, caller, workspace, token)
        note(conn, visit.person, "accept_invitation", "workspace", workspace)
        return accepted

    return _welcome(visit, await site.identity.write(join), signs_in=True)


async def _begin(visit: Visit, token: str) -> Response[bytes]:
    """Make the user: with a password, unless they want nothing but the API key."""
    site = visit.site
    invitation = await site.db.read(lambda conn: invitations.look(conn, site.vault, token))
    signs_in = not visit.field("key_only")
    try:
        typed = new_password(visit.form, invitation.email or "") if signs_in else None
        hashed = await site.passwords.hash(typed) if typed is not None else None
    except SeraiError as problem:
        return await _page(visit, token, problem)

    def begin(conn: Connection) -> tuple[AcceptedInvitation, str, str | None]:
        accepted = invitations.accept_by_link(conn, site.vault, token)
        user_id = invitations.user_named(conn, accepted)
        person = person_of(conn, user_id)
        assert person is not None
        note(conn, person, "accept_invitation", "workspace", _name(accepted))
        if hashed is None:
            return accepted, user_id, None
        passwords.store(conn, user_id, hashed, now())
        place = {"user_agent": visit.user_agent, "address": visit.address}
        return (
            accepted,
            user_id,
            sign_ins.begin(conn, site.vault, user_id, "password", now(), **place)[1],
        )

    accepted, user_id, secret = await site.identity.write(begin)
    if secret is not None:
        remember(visit, user_id, secret)
    return _welcome(visit, accepted, signs_in=signs_in)


async def decline_invitation(visit: Visit) -> Response[bytes]:
    """``POST /invitations/decline``: the link is enough."""
    site, token = visit.site, visit.field("proof", 200)
    declined = await site.db.write(
        lambda conn: invitations.decline_by_link(conn, site.vault, token)
    )
    return visit.render("declined.html", workspace=declined.workspace)


def _welcome(visit: Visit, accepted: AcceptedInvitation, *, signs_in: bool) -> Response[bytes]:
    return visit.render(
        "invited.html",
        workspace=_name(accepted),
        api_key=accepted.api_key,
        origin=visit.site.origin,
        signs_in=signs_in,
    )


def _name(accepted: AcceptedInvitation) -> str:
    return (accepted.workspace.name if accepted.workspace else None) or ""
