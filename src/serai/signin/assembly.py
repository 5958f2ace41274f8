"""All routes of sign-in, and what it does in the background."""

import asyncio
from importlib import resources

import structlog
from litestar import Response, get, post
from litestar.types import ControllerRouterHandler
from sqlalchemy import Connection

from serai.identity import limits, one_time_links, sign_ins
from serai.identity.upstream_identities import Admission
from serai.kernel.clock import now
from serai.kernel.errors import ServiceUnavailable
from serai.kernel.settings import Settings
from serai.oauth.context import OAuth
from serai.signin import account, device, entering, inviting, login, recovering
from serai.signin.consent import PATHS, Consent
from serai.signin.provider import Provider
from serai.signin.session_operations import session_operations
from serai.signin.site import Page, Site
from serai.signin.upstream import CALLBACK, START, Upstream

STYLE = "/assets/sign-in.css"
PRUNE_SECONDS = 3600.0
HIDDEN = {"hidden": True}
log = structlog.get_logger(__name__)


def sign_in_operations(
    site: Site, oauth: OAuth, upstream: Upstream | None = None
) -> list[ControllerRouterHandler]:
    """Every page, the stylesheet, and the operations on one's own sessions."""
    elsewhere = []
    if upstream is not None:
        elsewhere = [
            _get(site, START, upstream.start),
            _get(site, CALLBACK, upstream.finish),
        ]
    return [
        _style(),
        *elsewhere,
        *_open_pages(site),
        *_account_pages(site),
        *_access_pages(site, Consent(oauth)),
        *session_operations(site.identity),
    ]


def upstream_of(settings: Settings) -> Upstream | None:
    """Signing in at the provider that the settings name."""
    if settings.oidc_issuer is None or settings.oidc_client_id is None:
        return None
    provider = Provider(
        settings.oidc_issuer,
        settings.oidc_client_id,
        settings.oidc_client_secret,
        settings.origin + CALLBACK,
    )
    workspace = settings.workspace if settings.oidc_auto_create else None
    domains = settings.oidc_allowed_domains
    return Upstream(provider, Admission(domains=domains, workspace=workspace))


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
        _get(site, "/invitations", inviting.show_invitation),
        _post(site, "/invitations/accept", inviting.accept_invitation),
        _post(site, "/invitations/decline", inviting.decline_invitation),
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


def _access_pages(site: Site, consent: Consent) -> list[ControllerRouterHandler]:
    """Who may act for somebody: devices, and applications under both their addresses."""
    return [
        _get(site, "/device", device.show_device, private=True),
        _post(site, "/device", device.answer_device, private=True),
        *(_get(site, path, consent.ask) for path in PATHS),
        *(_post(site, path, consent.answer) for path in PATHS),
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
