"""The last steps of every way to sign in: the second factor, and the new session."""

import base64
from datetime import datetime, timedelta

import msgspec
from litestar import Response
from sqlalchemy import Connection

from serai.identity import limits, passwords, second_factors, sign_ins
from serai.kernel.clock import now, rfc3339
from serai.kernel.errors import BadRequest, SeraiError
from serai.signin import known
from serai.signin.journal import note, person_of
from serai.signin.redirects import local_path
from serai.signin.site import Visit

TICKET_LIFE = timedelta(minutes=5)
TICKET_MAX = 8192
LATE = "Signing in took too long: begin again."
WRONG_CODE = "That code is not right. Codes change every 30 seconds, and each works once."


class Ticket(msgspec.Struct, frozen=True):
    """Somebody who has proved one thing. It goes to the browser and comes back, sealed.

    ``stamp`` is when their password last changed: a change in between voids it.
    """

    user_id: str
    method: str
    stamp: str
    next: str
    made_at: str


async def proved(visit: Visit, user_id: str, method: str, goal: str) -> Response[bytes]:
    """Go on with somebody whose password (or identity elsewhere) is right."""

    def read(conn: Connection) -> tuple[str, bool]:
        return _stamp(conn, user_id), second_factors.is_on(conn, user_id)

    stamp, asks_code = await visit.site.db.read(read)
    ticket = Ticket(user_id, method, stamp, local_path(goal), rfc3339(now()))
    return ask_code(visit, ticket) if asks_code else await enter(visit, ticket)


def ask_code(
    visit: Visit, ticket: Ticket, problem: SeraiError | None = None, status: int = 200
) -> Response[bytes]:
    """The page that asks for the second factor."""
    message = problem.message if problem else None
    return visit.render(
        "code.html", status=status, problem=message, ticket=_sealed(visit, ticket), next=ticket.next
    )


async def check_code(visit: Visit) -> Response[bytes]:
    """``POST /login/code``: the second factor."""
    ticket = _unsealed(visit, visit.field("ticket", TICKET_MAX))
    site, code, moment = visit.site, visit.field("code", 40), now()
    browser = known.browser_of(site.vault, visit.known, [ticket.user_id])
    budgets = limits.for_code(ticket.user_id, browser)
    try:
        await site.db.write(lambda conn: limits.spend(conn, site.vault, budgets, moment))
    except limits.TooManyFailures as problem:
        return ask_code(visit, ticket, problem, problem.status)

    def check(conn: Connection) -> bool:
        if second_factors.accept(conn, site.vault, ticket.user_id, code, moment) is None:
            person = person_of(conn, ticket.user_id)
            if person is not None:
                note(conn, person, "refuse_code")
            return False
        limits.refund(conn, site.vault, budgets)
        return True

    if not await site.db.write(check):
        return ask_code(visit, ticket, BadRequest(WRONG_CODE), 400)
    return await enter(visit, ticket, second_factor=True)


async def enter(visit: Visit, ticket: Ticket, second_factor: bool = False) -> Response[bytes]:
    """Begin a session in place of the browser's old one, and go where they wanted."""
    site, moment = visit.site, now()
    method = ticket.method + ("+code" if second_factor else "")

    def begin(conn: Connection) -> str:
        person = person_of(conn, ticket.user_id)
        asks_code = second_factors.is_on(conn, ticket.user_id) and not second_factor
        if person is None or asks_code or _stamp(conn, ticket.user_id) != ticket.stamp:
            raise BadRequest(LATE)
        if visit.sign_in is not None:
            sign_ins.sign_out(conn, visit.sign_in.id)
        place = {"user_agent": visit.user_agent, "address": visit.address}
        sign_in_id, secret = sign_ins.begin(conn, site.vault, person.id, method, moment, **place)
        note(conn, person, "sign_in", target=sign_in_id)
        return secret

    secret = await site.db.write(begin)
    remember(visit, ticket.user_id, secret)
    return visit.redirect(ticket.next)


def remember(visit: Visit, user_id: str, secret: str) -> None:
    """Set the cookies of a new session; forms are bound to a new secret too."""
    names = visit.site.cookies
    visit.keep(names.session, secret, int(sign_ins.LIFETIME.total_seconds()))
    cookie = known.with_person(visit.site.vault, visit.known, user_id)
    visit.keep(names.known, cookie, known.SECONDS)
    visit.renew_secret()


def _stamp(conn: Connection, user_id: str) -> str:
    row = passwords.of_user(conn, user_id)
    return "" if row is None else str(row.changed_at)


def _sealed(visit: Visit, ticket: Ticket) -> str:
    sealed = visit.site.vault.seal(msgspec.json.encode(ticket), _context(visit))
    return base64.urlsafe_b64encode(sealed).decode()


def _unsealed(visit: Visit, text: str) -> Ticket:
    try:
        sealed = base64.urlsafe_b64decode(text)
        raw = visit.site.vault.unseal(sealed, _context(visit))
        ticket = msgspec.json.decode(raw, type=Ticket)
    except (ValueError, SeraiError):
        raise BadRequest(LATE) from None
    if _is_old(ticket, now()):
        raise BadRequest(LATE)
    return ticket


def _is_old(ticket: Ticket, at: datetime) -> bool:
    return ticket.made_at < rfc3339(at - TICKET_LIFE)


def _context(visit: Visit) -> str:
    return f"second-step:{visit.secret}"
