"""The page on which a person lets an application act for them: the authorization endpoint.

The way back to the application is a page with a refresh, not a redirect: Chromium applies the
form-action policy of this page to redirects after a form, and to those that follow it.
"""

from urllib.parse import parse_qsl, urlencode, urlsplit

from litestar import Response
from sqlalchemy import Connection

from serai.kernel.clock import now
from serai.kernel.errors import BadRequest
from serai.oauth import authorization
from serai.oauth.authorization import AuthorizationProblem, AuthorizationRequest
from serai.oauth.context import OAuth
from serai.oauth.redirects import is_loopback
from serai.signin import workspaces
from serai.signin.redirects import with_query
from serai.signin.scope_words import in_words
from serai.signin.site import Visit

PATHS = ("/oauth/authorize", "/v0/oauth/authorize")
FIELDS_MAX = 60
QUERY_MAX = 12_000


class Consent:
    """Both methods of it."""

    def __init__(self, oauth: OAuth) -> None:
        self.oauth = oauth

    async def ask(self, visit: Visit) -> Response[bytes]:
        """``GET``: who asks for what. Errors that the client may hear of go to it by redirect."""
        query = visit.request.scope["query_string"].decode("latin-1")
        try:
            request = await self._read(visit, query)
        except AuthorizationProblem as problem:
            if problem.redirect is None:
                raise
            return visit.redirect(problem.redirect)
        silent = "none" in request.prompt
        if self._must_sign_in(visit, request, query):
            if silent:
                return visit.redirect(request.refuse("login_required", "Nobody is signed in."))
            return _to_sign_in(visit, query)
        if silent:
            told = request.refuse("consent_required", "The person has to be asked.")
            return visit.redirect(told)
        return await self._page(visit, request, query)

    def _must_sign_in(self, visit: Visit, request: AuthorizationRequest, query: str) -> bool:
        """Whether the person has to prove (again) who they are."""
        if visit.sign_in is None or request.is_too_old(visit.sign_in.auth_time, now()):
            return True
        return "login" in request.prompt

    async def _page(
        self,
        visit: Visit,
        request: AuthorizationRequest,
        query: str,
        problem: BadRequest | None = None,
    ) -> Response[bytes]:
        def read(conn: Connection) -> tuple[list[str], bool]:
            names = workspaces.names_of(conn, visit.person.id)
            return names, authorization.may_use(conn, request.client, visit.person.id)

        names, usable = await visit.site.db.read(read)
        if not usable:
            raise BadRequest(f"{request.client.name} belongs to another account than yours.")
        return visit.render(
            "consent.html",
            status=problem.status if problem else 200,
            problem=problem.message if problem else None,
            client=request.client.name,
            ours=request.client.is_ours,
            goes_to=destination(request.redirect_uri),
            rights=in_words(request.scope),
            names=names[: workspaces.SHOWN_MAX],
            chosen=names[0],
            query=query,
            action=visit.request.scope["path"],
        )

    async def answer(self, visit: Visit) -> Response[bytes]:
        """``POST``: what the person decided. The request is read and checked anew."""
        query = visit.form.get("query", "")
        try:
            request = await self._read(visit, query)
        except AuthorizationProblem as problem:
            if problem.redirect is None:
                raise
            return _leave(visit, problem.redirect, "the application")
        if visit.sign_in is None or request.is_too_old(visit.sign_in.auth_time, now()):
            return _to_sign_in(visit, query)
        if visit.form.get("answer") != "approve":
            return _leave(visit, authorization.deny(request), request.client.name)
        try:
            target = await self._approve(visit, request)
        except BadRequest as problem:
            return await self._page(visit, request, query, problem)
        return _leave(visit, target, request.client.name)

    async def _approve(self, visit: Visit, request: AuthorizationRequest) -> str:
        me = visit.me

        def approve(conn: Connection) -> str:
            choice = workspaces.chosen(conn, visit)
            return authorization.approve(
                conn,
                self.oauth,
                request,
                user_id=me.person.id,
                sign_in_id=me.id,
                auth_time=me.auth_time,
                scope=request.scope,
                workspace=choice.name,
                bound=choice.bound,
                at=now(),
            )

        return await visit.site.db.write(approve)

    async def _read(self, visit: Visit, query: str) -> AuthorizationRequest:
        try:
            if len(query) > QUERY_MAX:
                raise ValueError("long")
            pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=FIELDS_MAX)
        except ValueError:
            raise BadRequest("The link is too long, or has too many parameters.") from None
        return await visit.site.db.read(
            lambda conn: authorization.read_request(conn, self.oauth, pairs)
        )


def destination(redirect_uri: str) -> str:
    """Where an answer goes, for people."""
    if is_loopback(redirect_uri):
        return "a program on this computer"
    parts = urlsplit(redirect_uri)
    return parts.netloc if parts.scheme == "https" else f"the app for {parts.scheme}: links"


def _to_sign_in(visit: Visit, query: str) -> Response[bytes]:
    """Sign in (again), then see this page: without ``prompt=login``, which is done then."""
    pairs = [
        (name, _without_login(value) if name == "prompt" else value)
        for name, value in parse_qsl(query, keep_blank_values=True)
    ]
    goal = f"{visit.request.scope['path']}?{urlencode(pairs)}"
    return visit.redirect(with_query("/login", next=goal, again="1"))


def _without_login(prompt: str) -> str:
    return " ".join(word for word in prompt.split() if word != "login")


def _leave(visit: Visit, target: str, name: str) -> Response[bytes]:
    return visit.render("leaving.html", target=target, name=name)
