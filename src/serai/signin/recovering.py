"""Setting a password without the old one: the first admin's, and a forgotten one."""

from collections.abc import Callable

import structlog
from litestar import Response
from sqlalchemy import Connection, select, update

from serai.identity import bootstrap, limits, one_time_links, passwords, sign_ins
from serai.identity.one_time_links import Purpose
from serai.identity.people import check_email
from serai.kernel.clock import now
from serai.kernel.errors import BadRequest, Conflict, Forbidden, NotFound, SeraiError
from serai.signin.entering import proved
from serai.signin.journal import note, person_of
from serai.signin.site import Visit
from serai.store.tables.identity import users

SPENT = "This link was used already, or is too old. `serai reset-password EMAIL` makes a new one."
SET_UP = "Serai is set up already: sign in, or use `serai reset-password EMAIL` on the server."
NO_PROOF = (
    "Open the link that `serai up` printed, or paste the admin's API key, which `serai env` prints."
)
log = structlog.get_logger(__name__)


async def show_setup(visit: Visit) -> Response[bytes]:
    """``GET /setup``: the first admin chooses an address and a password."""
    return await _setup_page(visit, visit.query("token"))


async def _setup_page(
    visit: Visit, token: str, problem: SeraiError | None = None, email: str = ""
) -> Response[bytes]:
    admin = await visit.site.db.read(bootstrap.unclaimed_admin)
    if admin is None:
        raise Conflict(SET_UP)
    shown = "" if admin.email == bootstrap.ADMIN_EMAIL else admin.email
    return visit.render(
        "setup.html",
        status=problem.status if problem else 200,
        problem=problem.message if problem else None,
        proof=token,
        email=email or shown,
        length=passwords.LENGTH_MIN,
    )


async def set_up(visit: Visit) -> Response[bytes]:
    """``POST /setup``."""
    email, token = visit.field("email", 320), visit.field("proof", 200)
    try:
        user_id = await _proven_admin(visit, token)
        address = check_email(email)
        hashed = await _new_password(visit, address)
        await _store(visit, user_id, hashed, lambda conn: _claim(conn, user_id, address))
    except SeraiError as problem:
        return await _setup_page(visit, token, problem, email)
    return await proved(visit, user_id, "password", "/account?done=welcome")


async def _proven_admin(visit: Visit, token: str) -> str:
    """The first admin's id, if this is them: by the link, or by the API key."""
    site, budgets = visit.site, limits.for_secret("setup", limits.nearby(visit.address))
    await site.db.write(lambda conn: limits.spend(conn, site.vault, budgets, now()))
    admin = await site.db.read(bootstrap.unclaimed_admin)
    if admin is None:
        raise Conflict(SET_UP)
    if token:
        found = await site.db.read(
            lambda conn: one_time_links.find(conn, site.vault, "setup", token, now())
        )
        if found != admin.id:
            raise Forbidden(SPENT)
    elif not await _is_key_of(visit, admin.id):
        raise Forbidden(NO_PROOF)
    return str(admin.id)


async def _is_key_of(visit: Visit, user_id: str) -> bool:
    key = visit.field("api_key", 600)
    if not key:
        return False
    principal = await visit.site.identity.authenticator.verify(key)
    whole = principal.credential == "api_key" and principal.scopes is None
    return whole and principal.kind == "user" and principal.subject == user_id


def _claim(conn: Connection, user_id: str, email: str) -> None:
    """Give the first admin their address, unless somebody was faster or has it."""
    admin = bootstrap.unclaimed_admin(conn)
    if admin is None or admin.id != user_id:
        raise Conflict(SET_UP)
    same = select(users.c.id).where(
        users.c.account_id == admin.account_id, users.c.email == email, users.c.id != user_id
    )
    if conn.execute(same).first():
        raise Conflict("Somebody else in the account has that e-mail address.")
    conn.execute(update(users).where(users.c.id == user_id).values(email=email))


async def show_reset(visit: Visit) -> Response[bytes]:
    """``GET /login/reset``: a new password, with a one-time link."""
    token = visit.query("token")
    return _reset_page(visit, token, await _email_of(visit, "reset", token))


def _reset_page(
    visit: Visit, token: str, email: str, problem: SeraiError | None = None
) -> Response[bytes]:
    return visit.render(
        "reset.html",
        status=problem.status if problem else 200,
        problem=problem.message if problem else None,
        proof=token,
        email=email,
        length=passwords.LENGTH_MIN,
    )


async def reset(visit: Visit) -> Response[bytes]:
    """``POST /login/reset``: all sessions and grants of the person end."""
    token = visit.field("proof", 200)
    email = await _email_of(visit, "reset", token)
    try:
        hashed = await _new_password(visit, email)
        user_id = await _store_by_link(visit, token, hashed)
    except BadRequest as problem:
        return _reset_page(visit, token, email, problem)
    return await proved(visit, user_id, "password", "/account?done=password")


async def _store_by_link(visit: Visit, token: str, hashed: str) -> str:
    site = visit.site

    def change(conn: Connection) -> str:
        user_id = one_time_links.find(conn, site.vault, "reset", token, now())
        if user_id is None:
            raise NotFound(SPENT)
        _put(conn, user_id, hashed)
        return user_id

    return await site.identity.write(change)


async def _email_of(visit: Visit, purpose: Purpose, token: str) -> str:
    """The address of the person a link is for.

    Raises:
        NotFound: there is no such link any more.
    """
    site = visit.site

    def read(conn: Connection) -> str | None:
        user_id = one_time_links.find(conn, site.vault, purpose, token, now())
        person = None if user_id is None else person_of(conn, user_id)
        return None if person is None else person.email

    email = await site.db.read(read)
    if email is None:
        raise NotFound(SPENT)
    return email


async def _new_password(visit: Visit, email: str) -> str:
    """The hash of the password that was typed twice."""
    return await visit.site.passwords.hash(new_password(visit.form, email))


def new_password(form: dict[str, str], email: str) -> str:
    """A good password out of the two fields of a form.

    Raises:
        BadRequest: they differ, or it is easy to guess.
    """
    password = form.get("password", "")
    passwords.check_new(password, email)
    if password != form.get("again", ""):
        raise BadRequest("The two passwords are not the same: type it again.")
    return password


async def _store(
    visit: Visit, user_id: str, hashed: str, first: Callable[[Connection], None]
) -> None:
    def change(conn: Connection) -> None:
        first(conn)
        _put(conn, user_id, hashed)

    await visit.site.identity.write(change)


def _put(conn: Connection, user_id: str, hashed: str) -> None:
    """A new password: whoever was signed in is not any more, and links are void."""
    passwords.store(conn, user_id, hashed, now())
    one_time_links.use_up(conn, user_id)
    sign_ins.end_all(conn, user_id)
    person = person_of(conn, user_id)
    if person is not None:
        note(conn, person, "set_password", "password")


async def show_forgot(visit: Visit) -> Response[bytes]:
    """``GET /login/forgot``."""
    return visit.render("forgot.html", mails=visit.site.send_link is not None, sent=False)


async def forgot(visit: Visit) -> Response[bytes]:
    """``POST /login/forgot``: mail a link; the answer is the same for unknown addresses."""
    site, email = visit.site, visit.field("email", 320).lower()
    if site.send_link is None:
        return await show_forgot(visit)
    budgets = limits.for_secret("forgot", limits.nearby(visit.address))
    await site.db.write(lambda conn: limits.spend(conn, site.vault, budgets, now()))

    def make(conn: Connection) -> list[str]:
        found = conn.execute(select(users.c.id).where(users.c.email == email).limit(4)).scalars()
        return [
            one_time_links.make(conn, site.vault, "reset", user_id, site.origin, now())
            for user_id in found
        ]

    for link in await site.db.write(make):
        site.spawn(site.send_link(email, link))
    return visit.render("forgot.html", mails=True, sent=True)
