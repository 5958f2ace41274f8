"""What all pages share: who is looking, the layout, and the headers that keep others out."""

import asyncio
import base64
import ipaddress
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import structlog
from litestar import Response
from litestar.datastructures import Cookie

from serai.api.exchange import AnyRequest
from serai.identity import sign_ins
from serai.identity.context import IdentityContext
from serai.identity.passwords import Passwords
from serai.identity.sign_ins import Person, SignIn
from serai.kernel.clock import now
from serai.kernel.errors import SeraiError
from serai.signin.cookies import Cookies, parse
from serai.signin.forms import SCRIPTED, TOKEN, check_source, check_token, is_scripted, read_form

if TYPE_CHECKING:
    from jinja2 import Environment

PRODUCT = "Serai"
POLICY = "; ".join(
    (
        "default-src 'none'",
        "style-src 'self'",
        "img-src 'self' data:",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every page. With ``no-referrer`` browsers would hide the origin of our own forms as well."""
Page = Callable[["Visit"], Awaitable[Response[bytes]]]
Handler = Callable[[AnyRequest], Coroutine[Any, Any, Response[bytes]]]
SendLink = Callable[[str, str], Coroutine[Any, Any, None]]
"""Mails a link for setting a password: to whom, and the link."""
log = structlog.get_logger(__name__)


class Site:
    """Makes route handlers of pages.

    Args:
        identity: the database and what verifies credentials.
        passwords: hashes them.
        send_link: mails links for forgotten passwords; ``None`` without mail.
        upstream_label: what the button for signing in elsewhere says; ``None`` without one.
    """

    def __init__(
        self,
        identity: IdentityContext,
        passwords: Passwords,
        send_link: SendLink | None = None,
        upstream_label: str | None = None,
    ) -> None:
        self.identity = identity
        self.db = identity.db
        self.vault = identity.vault
        self.origin = identity.origin
        self.passwords = passwords
        self.send_link = send_link
        self.upstream_label = upstream_label
        self.cookies = Cookies(identity.origin)
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something after the answer."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @cached_property
    def templates(self) -> "Environment":
        """The templates; loaded when the first page is asked for."""
        from jinja2 import Environment, PackageLoader, StrictUndefined

        return Environment(
            loader=PackageLoader("serai.signin"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def page(self, fn: Page) -> Handler:
        """A handler that shows a page to anybody."""

        async def handle(request: AnyRequest) -> Response[bytes]:
            return await self._show(request, fn)

        return handle

    def private(self, fn: Page) -> Handler:
        """A handler that shows a page to who is signed in, and lets others sign in first."""

        async def guarded(visit: Visit) -> Response[bytes]:
            return await fn(visit) if visit.sign_in else visit.to_sign_in()

        return self.page(guarded)

    async def _show(self, request: AnyRequest, fn: Page) -> Response[bytes]:
        if is_scripted(request.headers):
            return Response(SCRIPTED, media_type="text/plain", status_code=403, headers=HEADERS)
        visit = await self._visit(request)
        try:
            if request.method == "POST":
                check_source(request.headers, self.origin)
                visit.form = await read_form(request)
                check_token(visit.form, visit.form_token)
            return await fn(visit)
        except SeraiError as problem:
            return visit.failed(problem)

    async def _visit(self, request: AnyRequest) -> "Visit":
        visit = Visit(self, request)
        if visit.session_secret:
            moment = now()
            visit.sign_in = await self.db.read(
                lambda conn: sign_ins.find(conn, self.vault, visit.session_secret, moment)
            )
        if visit.sign_in is not None:
            await self._note_seen(visit.sign_in)
        return visit

    async def _note_seen(self, sign_in: SignIn) -> None:
        moment = now()
        if sign_ins.is_worth_noting(sign_in, moment):
            await self.db.write(lambda conn: sign_ins.note_seen(conn, sign_in, moment))


class Visit:
    """One request of a browser: who it is, what it sent, and the cookies of the answer."""

    def __init__(self, site: Site, request: AnyRequest) -> None:
        self.site = site
        self.request = request
        self.cookies = parse(request.headers.get("cookie", ""))
        self.session_secret = self.cookies.get(site.cookies.session, "")
        self.sign_in: SignIn | None = None
        self.form: dict[str, str] = {}
        self.set_cookies: dict[str, Cookie] = {}
        self.secret = self.cookies.get(site.cookies.visit, "")
        if len(self.secret) < 32:
            self.renew_secret()

    @property
    def me(self) -> SignIn:
        """The session; only for private pages."""
        assert self.sign_in is not None
        return self.sign_in

    @property
    def person(self) -> Person:
        """Who is signed in; only for private pages."""
        return self.me.person

    @property
    def address(self) -> str:
        """The client's network address; see ``client_address``."""
        return client_address(self.request)

    @property
    def user_agent(self) -> str:
        """What the browser calls itself."""
        return str(self.request.headers.get("user-agent", ""))[:256]

    @property
    def known(self) -> str:
        """The cookie of who has signed in here before."""
        return self.cookies.get(self.site.cookies.known, "")

    @property
    def form_token(self) -> str:
        """What a form must carry: bound to this browser, and to the session if there is one."""
        session = self.session_secret if self.sign_in else ""
        digest = self.site.vault.digest(f"form:{self.secret}:{session}")
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def field(self, name: str, length_max: int = 4096) -> str:
        """A field of the form, without space around it; empty when it was not sent."""
        return self.form.get(name, "").strip()[:length_max]

    def query(self, name: str) -> str:
        """A parameter of the query; empty when it was not sent."""
        return str(self.request.query_params.get(name, ""))

    def renew_secret(self) -> None:
        """Bind forms to a new secret from now on."""
        self.secret = secrets.token_urlsafe(32)
        self.keep(self.site.cookies.visit, self.secret)

    def keep(self, name: str, value: str, seconds: int | None = None) -> None:
        """Set a cookie with the answer; ``seconds=0`` deletes it."""
        self.set_cookies[name] = self.site.cookies.make(name, value, seconds)

    def render(
        self, template: str, status: int = 200, headers: dict[str, str] | None = None, **values: Any
    ) -> Response[bytes]:
        """A page of a template."""
        person = self.sign_in.person if self.sign_in else None
        given = {"person": person, "problem": None, "done": None, "token": self._token_field}
        text = self.site.templates.get_template(template).render({**given, **values})
        return Response(
            text.encode(),
            media_type="text/html",
            status_code=status,
            headers=HEADERS | (headers or {}),
            cookies=list(self.set_cookies.values()),
        )

    def redirect(self, target: str) -> Response[bytes]:
        """Send the browser elsewhere, with GET."""
        headers = HEADERS | {"Location": target}
        return Response(
            b"", status_code=303, headers=headers, cookies=list(self.set_cookies.values())
        )

    def to_sign_in(self) -> Response[bytes]:
        """Let them sign in, and come back here when this page was asked for with GET."""
        scope = self.request.scope
        back = scope["path"]
        if self.request.method != "GET":
            return self.redirect("/login")
        if scope["query_string"]:
            back += "?" + scope["query_string"].decode("latin-1")
        return self.redirect(f"/login?next={quote(back, safe='/')}")

    def failed(self, problem: SeraiError) -> Response[bytes]:
        """A page that says what went wrong."""
        passed_on = {
            name: value for name, value in problem.headers.items() if name == "Retry-After"
        }
        return self.render(
            "error.html", status=problem.status, headers=passed_on, problem=problem.message
        )

    def _token_field(self) -> Any:
        from markupsafe import Markup

        field = Markup('<input type="hidden" name="{}" value="{}">')
        return field.format(TOKEN, self.form_token)


def client_address(request: AnyRequest) -> str:
    """The address of the browser.

    A proxy on this machine says it last in ``X-Forwarded-For``; nobody else is believed.
    """
    client = request.scope.get("client")
    peer = str(client[0]) if client else ""
    forwarded = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
    return forwarded if forwarded and _is_address(forwarded) and _is_local(peer) else peer


def _is_local(address: str) -> bool:
    return _is_address(address) and ipaddress.ip_address(address).is_loopback


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
