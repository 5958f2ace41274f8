"""The page on which a person lets a device in that shows a code (RFC 8628, section 3.3)."""

from litestar import Response
from sqlalchemy import Connection

from serai.identity import limits
from serai.kernel.clock import now
from serai.kernel.errors import BadRequest, Conflict, Forbidden, NotFound, SeraiError
from serai.oauth import clients, devices
from serai.oauth.devices import Device
from serai.signin import workspaces
from serai.signin.journal import note
from serai.signin.scope_words import in_words
from serai.signin.site import Visit
from serai.signin.words import moment_text

UNKNOWN = "No device waits with that code. Look at the code again; each is good for ten minutes."


async def show_device(visit: Visit) -> Response[bytes]:
    """``GET /device``: type the code in, or look at what asks when the link has it."""
    code = visit.query("user_code").strip()[:40]
    if not code:
        return _entry(visit)
    return await _shown(visit, code)


async def answer_device(visit: Visit) -> Response[bytes]:
    """``POST /device``: look a code up, approve it or deny it."""
    code, decision = visit.field("user_code", 40), visit.field("answer")
    if decision not in {"approve", "deny"}:
        return await _shown(visit, code)
    try:
        device = await _find(visit, code)
        await _decide(visit, device, approved=decision == "approve")
    except (NotFound, Conflict, limits.TooManyFailures) as problem:
        return _entry(visit, code, problem)
    except BadRequest as problem:
        return await _shown(visit, code, problem)
    return visit.render("device_done.html", approved=decision == "approve")


def _entry(visit: Visit, code: str = "", problem: SeraiError | None = None) -> Response[bytes]:
    return visit.render(
        "device.html",
        status=problem.status if problem else 200,
        problem=problem.message if problem else None,
        code=code,
    )


async def _shown(visit: Visit, code: str, problem: BadRequest | None = None) -> Response[bytes]:
    """The page that says what asks, and asks back."""
    try:
        device = await _find(visit, code)
    except (NotFound, limits.TooManyFailures) as missing:
        return _entry(visit, code, missing)

    def read(conn: Connection) -> tuple[list[str], str]:
        names = workspaces.names_of(conn, visit.person.id)
        return names, _client_name(conn, visit, device)

    names, client = await visit.site.db.read(read)
    return visit.render(
        "device_confirm.html",
        status=problem.status if problem else 200,
        problem=problem.message if problem else None,
        device=device,
        client=client,
        asked=moment_text(device.created_at),
        rights=in_words(device.scope),
        names=names[: workspaces.SHOWN_MAX],
        chosen=names[0],
    )


def _client_name(conn: Connection, visit: Visit, device: Device) -> str:
    """What the application on a device is called.

    Raises:
        Forbidden: it serves another account's people.
    """
    client = clients.find(conn, visit.site.vault, device.client_id)
    if client is None or not client.serves(visit.person.account_id):
        raise Forbidden("The application on that device belongs to another account than yours.")
    return client.name


async def _find(visit: Visit, code: str) -> Device:
    """The device that shows a code; few wrong ones per person.

    Raises:
        NotFound: no device waits with it.
        TooManyFailures: too many were wrong.
    """
    site, moment = visit.site, now()
    budgets = limits.for_secret("user-code", visit.person.id)

    def find(conn: Connection) -> Device | None:
        limits.spend(conn, site.vault, budgets, moment)
        device = devices.find(conn, code, moment)
        if device is not None:
            limits.give_back(conn, site.vault, budgets)
        return device

    device = await site.db.write(find)
    if device is None:
        raise NotFound(UNKNOWN)
    return device


async def _decide(visit: Visit, device: Device, *, approved: bool) -> None:
    me, moment = visit.me, now()

    def decide(conn: Connection) -> None:
        if approved:
            _client_name(conn, visit, device)
            choice = workspaces.chosen(conn, visit)
            devices.approve(
                conn,
                device,
                user_id=me.person.id,
                sign_in_id=me.id,
                auth_time=me.auth_time,
                workspace=choice.name,
                bound=choice.bound,
                at=moment,
            )
        else:
            devices.deny(conn, device)
        note(conn, me.person, "approve" if approved else "deny", "device")

    await visit.site.db.write(decide)
