"""The account page: name, password, second factor, sessions, and what was let in."""

from typing import Any

import msgspec
from litestar import Response
from sqlalchemy import Connection, update

from serai.identity import grants, limits, passwords, second_factors, sign_ins
from serai.identity.passwords import Stored
from serai.kernel.clock import now
from serai.kernel.errors import BadRequest, NotFound, SeraiError
from serai.signin import clients, known
from serai.signin.journal import note
from serai.signin.recovering import new_password
from serai.signin.site import PRODUCT, Visit
from serai.signin.words import browser_name, moment_text
from serai.store.secrets import Vault
from serai.store.tables.identity import users

DONE = {
    "welcome": "Welcome. You can sign in with this address and password from now on.",
    "name": "Your name was changed.",
    "password": "Your password was changed. You are signed out everywhere else.",
    "code-on": "The second factor is on.",
    "code-off": "The second factor is off.",
    "session": "That session has ended, and so has what was let in from it.",
    "grant": "That application has no access any more.",
}
NAME_MAX = 63
FRESH_SECONDS = 600
TOO_LATE = "To set a first password, sign out and in again within the last ten minutes."
WRONG = "The current password is wrong."


class Row(msgspec.Struct, frozen=True):
    """A session or a grant in its list."""

    id: str
    title: str
    lines: list[str]
    current: bool = False


async def show_account(visit: Visit) -> Response[bytes]:
    """``GET /account``."""
    return await _page(visit, done=DONE.get(visit.query("done")))


async def _page(
    visit: Visit, problem: SeraiError | None = None, done: str | None = None
) -> Response[bytes]:
    me, vault, moment = visit.me, visit.site.vault, now()

    def read(conn: Connection) -> dict[str, Any]:
        factor = second_factors.find(conn, me.person.id)
        on = factor is not None and factor.confirmed_at is not None
        user = conn.execute(users.select().where(users.c.id == me.person.id)).one()
        found = sign_ins.listing(conn, me.person.id, moment)
        let_in = grants.listing(conn, me.person.id, moment)
        return {
            "user": user,
            "has_password": passwords.of_user(conn, me.person.id) is not None,
            "codes_left": second_factors.recovery_left(factor) if on else None,
            "sessions": [_session(row, me.id) for row in found],
            "grants": [_grant(conn, vault, row) for row in let_in],
        }

    values = await visit.site.db.read(read)
    return visit.render(
        "account.html",
        status=problem.status if problem else 200,
        problem=problem.message if problem else None,
        done=done,
        length=passwords.LENGTH_MIN,
        **values,
    )


def _session(row: Any, current: str) -> Row:
    return Row(
        row.id,
        browser_name(row.user_agent),
        [
            f"{row.address or 'unknown address'}, last used {moment_text(row.last_seen_at)}",
            f"signed in {moment_text(row.created_at)}",
        ],
        row.id == current,
    )


def _grant(conn: Connection, vault: Vault, row: Any) -> Row:
    where = f"workspace {row.workspace}" if row.bound else "all your workspaces"
    return Row(
        row.id,
        clients.name_of(conn, vault, row.client_id),
        [
            f"{where}; let in {moment_text(row.created_at)}",
            f"{row.address or 'unknown address'}, last used {moment_text(row.last_used_at)}",
        ],
    )


async def change_name(visit: Visit) -> Response[bytes]:
    """``POST /account/name``."""
    person = visit.person
    names = {field: visit.field(field) or None for field in ("given_name", "family_name")}
    for text in names.values():
        if text is not None and (len(text) > NAME_MAX or not text.isprintable()):
            return await _page(
                visit, BadRequest(f"A name has at most {NAME_MAX} printable characters.")
            )
    change = update(users).where(users.c.id == person.id).values(names)
    await visit.site.db.write(lambda conn: conn.execute(change))
    return visit.redirect("/account?done=name")


async def change_password(visit: Visit) -> Response[bytes]:
    """``POST /account/password``: ends the other sessions and what was let in from them."""
    me, site = visit.me, visit.site
    try:
        before = await _checked_password(visit)
        hashed = await site.passwords.hash(new_password(visit.form, me.person.email))
    except SeraiError as problem:
        return await _page(visit, problem)

    def change(conn: Connection) -> None:
        row = passwords.of_user(conn, me.person.id)
        if (None if row is None else row.hash) != before:
            raise BadRequest("The password was changed elsewhere meanwhile.")
        passwords.store(conn, me.person.id, hashed, now())
        sign_ins.end_others(conn, me.person.id, me.id)
        note(conn, me.person, "set_password", "password")

    await site.identity.write(change)
    return visit.redirect("/account?done=password")


async def _checked_password(visit: Visit) -> str | None:
    """The stored hash, once the current password was typed; ``None`` where there is none yet."""
    site, me = visit.site, visit.me
    row = await site.db.read(lambda conn: passwords.of_user(conn, me.person.id))
    if row is None:
        if now().timestamp() - me.auth_time > FRESH_SECONDS:
            raise BadRequest(TOO_LATE)
        return None
    browser = known.browser_of(site.vault, visit.known, [me.person.id])
    budgets = limits.for_password(me.person.email, visit.address, browser)
    await site.db.write(lambda conn: limits.spend(conn, site.vault, budgets, now()))
    typed = visit.form.get("current", "")
    if len(typed) > passwords.BYTES_MAX or not await site.passwords.match(
        [Stored(me.person.id, row.hash)], typed
    ):
        raise BadRequest(WRONG)
    await site.db.write(lambda conn: limits.refund(conn, site.vault, budgets))
    return str(row.hash)


async def show_second_factor(visit: Visit) -> Response[bytes]:
    """``GET /account/second-factor``: a secret for the app, and its picture."""
    return await _second_factor_page(visit)


async def _second_factor_page(visit: Visit, problem: SeraiError | None = None) -> Response[bytes]:
    person, site = visit.person, visit.site
    secret = await site.db.write(lambda conn: second_factors.begin(conn, site.vault, person.id))
    uri = second_factors.uri(secret, person.email, PRODUCT)
    return visit.render(
        "second_factor.html",
        status=problem.status if problem else 200,
        problem=problem.message if problem else None,
        secret=second_factors.shown(secret),
        picture=_picture(uri),
        codes=None,
    )


def _picture(uri: str) -> str:
    import segno

    return str(segno.make(uri, error="m").svg_data_uri(border=2, scale=4))


async def confirm_second_factor(visit: Visit) -> Response[bytes]:
    """``POST /account/second-factor``: on from now on; shows the recovery codes, once."""
    person, site, code = visit.person, visit.site, _digits(visit.field("code", 40))

    def confirm(conn: Connection) -> list[str]:
        codes = second_factors.confirm(conn, site.vault, person.id, code, now())
        note(conn, person, "turn_on", "second_factor")
        return codes

    try:
        codes = await site.db.write(confirm)
    except BadRequest as problem:
        return await _second_factor_page(visit, problem)
    return _codes_page(visit, codes, "The second factor is on.")


async def new_recovery_codes(visit: Visit) -> Response[bytes]:
    """``POST /account/second-factor/recovery``: needs a code."""
    person, site = visit.person, visit.site
    try:
        await _checked_code(visit)
    except SeraiError as problem:
        return await _page(visit, problem)

    def renew(conn: Connection) -> list[str]:
        note(conn, person, "renew_recovery_codes", "second_factor")
        return second_factors.renew_recovery(conn, site.vault, person.id)

    return _codes_page(visit, await site.db.write(renew), "The old recovery codes are void.")


def _codes_page(visit: Visit, codes: list[str], done: str) -> Response[bytes]:
    return visit.render("second_factor.html", codes=codes, done=done, secret="", picture="")


async def turn_off_second_factor(visit: Visit) -> Response[bytes]:
    """``POST /account/second-factor/off``: needs a code."""
    person = visit.person
    try:
        await _checked_code(visit)
    except SeraiError as problem:
        return await _page(visit, problem)

    def turn_off(conn: Connection) -> None:
        second_factors.remove(conn, person.id)
        note(conn, person, "turn_off", "second_factor")

    await visit.site.db.write(turn_off)
    return visit.redirect("/account?done=code-off")


async def _checked_code(visit: Visit) -> None:
    """Use up the code that was typed.

    Raises:
        BadRequest: it is not right.
        TooManyFailures: too many were not.
    """
    person, site, code, moment = visit.person, visit.site, visit.field("code", 40), now()
    browser = known.browser_of(site.vault, visit.known, [person.id])
    budgets = limits.for_code(person.id, browser)
    await site.db.write(lambda conn: limits.spend(conn, site.vault, budgets, moment))

    def accept(conn: Connection) -> bool:
        right = second_factors.accept(conn, site.vault, person.id, code, moment) is not None
        if right:
            limits.refund(conn, site.vault, budgets)
        return right

    if not await site.db.write(accept):
        raise BadRequest(second_factors.WRONG)


def _digits(code: str) -> str:
    return "".join(code.split())


async def end_session(visit: Visit) -> Response[bytes]:
    """``POST /account/sessions/end``: one of mine, and what was let in from it."""
    person, wanted = visit.person, visit.field("id", 80)

    def end(conn: Connection) -> None:
        if not sign_ins.end(conn, person.id, wanted):
            raise NotFound("That session has ended already.")
        note(conn, person, "end_session", target=wanted)

    await visit.site.identity.write(end)
    return visit.redirect("/account?done=session")


async def end_grant(visit: Visit) -> Response[bytes]:
    """``POST /account/grants/end``: take an application's access away."""
    person, wanted = visit.person, visit.field("id", 80)

    def end(conn: Connection) -> None:
        if not grants.revoke_own(conn, person.id, wanted):
            raise NotFound("That application has no access any more.")
        note(conn, person, "revoke", "oauth_grant", wanted)

    await visit.site.identity.write(end)
    return visit.redirect("/account?done=grant")
