"""All routes of sign-in, and what it does in the background."""

import asyncio
from importlib import resources

import structlog
from litestar import Response, get, post
from litestar.types import ControllerRouterHandler
from sqlalchemy import Connection

from serai.identity import limits, one_time_links, sign_ins
from serai.kernel.clock import now
from serai.kernel.errors import ServiceUnavailable
from serai.signin import account, entering, login, recovering
from serai.signin.session_operations import session_operations
from serai.signin.site import Page, Site

STYLE = "/assets/sign-in.css"
PRUNE_SECONDS = 3600.0
HIDDEN = {"hidden": True}
log = structlog.get_logger(__name__)


def sign_in_operations(site: Site) -> list[ControllerRouterHandler]:
    """Every page, the stylesheet, and the operations on one's own sessions."""
    return [
        _style(),
        *_open_pages(site),
        *_account_pages(site),
        *session_operations(site.identity),
    ]


def _open_pages(site: Site) -> list[ControllerRouterHandler]:
    return [
        _get(site, "/login", login.show_login),
        _post(site, "/login", login.check_login),
        _post(site, "/login/code", entering.check_code),
        _get(site, "/login/forgot", recovering.show_forgot),
        _post(site, "/login/forgot", recovering.forgot),
        _get(site, "/login/reset", recovering.show_reset),
        _post(site, "/login/reset", recovering.reset),
        _get(site, "/setup", recovering.show_setup),
        _post(site, "/setup", recovering.set_up),
        _post(site, "/logout", login.sign_out),
    ]


def _account_pages(site: Site) -> list[ControllerRouterHandler]:
    pages: dict[str, Page] = {
        "/account/name": account.change_name,
        "/account/password": account.change_password,
        "/account/second-factor": account.confirm_second_factor,
        "/account/second-factor/recovery": account.new_recovery_codes,
        "/account/second-factor/off": account.turn_off_second_factor,
        "/account/sessions/end": account.end_session,
        "/account/grants/end": account.end_grant,
    }
    return [
        _get(site, "/account", account.show_account, private=True),
        _get(site, "/account/second-factor", account.show_second_factor, private=True),
        *(_post(site, path, page, private=True) for path, page in pages.items()),
    ]


def _get(site: Site, path: str, page: Page, *, private: bool = False) -> ControllerRouterHandler:
    handler = site.private(page) if private else site.page(page)
    return get(path, opt=HIDDEN, media_type="text/html")(handler)


def _post(site: Site, path: str, page: Page, *, private: bool = False) -> ControllerRouterHandler:
    handler = site.private(page) if private else site.page(page)
    return post(path, opt=HIDDEN, media_type="text/html")(handler)


def _style() -> ControllerRouterHandler:
    sheet = resources.files("serai.signin").joinpath("static/sign-in.css").read_bytes()
    headers = {"Cache-Control": "public, max-age=300", "X-Content-Type-Options": "nosniff"}

    @get(STYLE, opt=HIDDEN)
    async def style() -> Response[bytes]:
        return Response(sheet, media_type="text/css", headers=headers)

    return style


async def keep_sign_in(site: Site) -> None:
    """Forget what is over, now and then, until cancelled."""

    def prune(conn: Connection) -> None:
        for one in (sign_ins, limits, one_time_links):
            one.prune(conn, now())

    while True:
        await asyncio.sleep(PRUNE_SECONDS)
        try:
            await site.db.write(prune)
        except ServiceUnavailable as problem:
            log.warning("pruning_waits", problem=problem.message)
