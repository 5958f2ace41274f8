"""Signing in with a password, and signing out."""

from litestar import Response
from sqlalchemy import Connection

from serai.identity import grants, limits, passwords, sign_ins
from serai.identity.passwords import Match, Stored
from serai.kernel.clock import now
from serai.kernel.errors import BadRequest, SeraiError
from serai.oauth.clients import CONSOLE_ID
from serai.signin import known
from serai.signin.entering import proved
from serai.signin.journal import note, person_of
from serai.signin.redirects import local_path
from serai.signin.site import Visit

WRONG = "The e-mail address and the password do not belong together."
NAME_MAX = 320


async def show_login(visit: Visit) -> Response[bytes]:
    """``GET /login``."""
    goal = local_path(visit.query("next"))
    if visit.sign_in is not None and not visit.query("again"):
        return visit.redirect(goal)
    return _form(visit, goal)


def _form(
    visit: Visit, goal: str, email: str = "", problem: SeraiError | None = None
) -> Response[bytes]:
    return visit.render(
        "login.html",
        status=problem.status if problem else 200,
        headers=problem.headers if isinstance(problem, limits.TooManyFailures) else None,
        problem=problem.message if problem else None,
        next=goal,
        email=email,
        upstream=visit.site.upstream_label,
    )


async def check_login(visit: Visit) -> Response[bytes]:
    """``POST /login``."""
    goal = local_path(visit.form.get("next"))
    email, password = visit.field("email", NAME_MAX).lower(), visit.form.get("password", "")
    try:
        if not email or not password:
            raise BadRequest("Type your e-mail address and your password.")
        user_id = await guess(visit, email, password)
    except SeraiError as problem:
        return _form(visit, goal, email, problem)
    return await proved(visit, user_id, "password", goal)


async def guess(visit: Visit, email: str, password: str) -> str:
    """Whose this password is.

    Raises:
        TooManyFailures: there were too many wrong ones.
        BadRequest: it is wrong; the answer is the same for unknown addresses.
        ServiceUnavailable: too many are being checked.
    """
    site = visit.site
    if len(password.encode("utf-8", "surrogatepass")) > passwords.BYTES_MAX:
        raise BadRequest(f"A password has at most {passwords.BYTES_MAX} bytes.")
    candidates = await site.db.read(lambda conn: passwords.candidates(conn, email))
    browser = known.browser_of(site.vault, visit.known, [one.user_id for one in candidates])
    budgets = limits.for_password(email, visit.address, browser)
    await site.db.write(lambda conn: limits.spend(conn, site.vault, budgets, now()))
    match = await site.passwords.match(candidates, password)

    def settle(conn: Connection) -> None:
        if match is None:
            _note_refused(conn, candidates)
            return
        limits.refund(conn, site.vault, budgets)
        _renew(conn, candidates, match)

    await site.db.write(settle)
    if match is None:
        raise BadRequest(WRONG)
    return match.user_id


def _note_refused(conn: Connection, candidates: list[Stored]) -> None:
    for one in candidates:
        person = person_of(conn, one.user_id)
        if person is not None:
            note(conn, person, "refuse_password")


def _renew(conn: Connection, candidates: list[Stored], match: Match) -> None:
    if match.renewed is not None:
        before = next(one.hash for one in candidates if one.user_id == match.user_id)
        passwords.renew(conn, match.user_id, before, match.renewed)


async def sign_out(visit: Visit) -> Response[bytes]:
    """``POST /logout``: leave this browser, and the console. Other applications stay let in."""
    if visit.sign_in is not None:
        sign_in = visit.sign_in

        def leave(conn: Connection) -> None:
            grants.end_of_sign_in(conn, sign_in.id, CONSOLE_ID)
            sign_ins.sign_out(conn, sign_in.id)
            note(conn, sign_in.person, "sign_out", target=sign_in.id)

        await visit.site.identity.write(leave)
    visit.keep(visit.site.cookies.session, "", 0)
    visit.renew_secret()
    return visit.redirect("/login")
