"""The caller of a management request, and the middleware that finds out who it is."""

import re
from typing import Any
from urllib.parse import parse_qs

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from serai.identity.principal import Authenticator, Principal
from serai.kernel.errors import AuthenticationRequired, BadRequest, Forbidden, NotFound
from serai.store.reach import within

PUBLIC = frozenset(
    {
        "/v0/changelog",
        "/v0/drives/jwks.json",
        "/v0/openapi.json",
        "/v0/versions",
        "/v0/invitations",
        "/v0/invitations/accept",
        "/v0/invitations/decline",
        "/v0/.well-known/jwks.json",
        "/v0/.well-known/oauth-authorization-server",
        "/v0/.well-known/openid-configuration",
        "/v0/login/device",
        "/v0/oauth/introspect",
        "/v0/oauth/revoke",
        "/v0/oauth/authorize",
        "/v0/oauth/token",
    }
)
"""Paths that need no credential; what an invitation's link leads to asks for its secret."""
PROTECTED = frozenset({"/metrics", "/v1/logs", "/v1/metrics", "/v1/traces"})
"""Paths outside ``/v0`` that need one all the same."""
MERGED = re.compile(r"/+")
"""The router takes several slashes for one, so the door must as well."""
BEARER = re.compile(r"bearer\s+(\S+)\s*\Z", re.IGNORECASE)
CONTRADICTION = (
    "X-Blaxel-Authorization and Authorization carry credentials of two different identities: send "
    "one of them."
)
PLACEHOLDER = "replaced"
"""What two model libraries put into ``Authorization`` when the SDK sends the key elsewhere."""


class Caller(msgspec.Struct, frozen=True):
    """Who calls, and the workspace named by the request (``None``: the only one, if it is)."""

    principal: Principal
    named_workspace: str | None

    @property
    def workspace(self) -> str:
        """The workspace that this request is about.

        Raises:
            BadRequest: none named and the credential has several.
            Forbidden: the credential has no access to the one named.
        """
        named, granted = self.named_workspace, self.principal.workspaces
        if named is None:
            if len(granted) == 1:
                return next(iter(granted))
            if self.principal.home is not None:
                return self.principal.home
            raise BadRequest(
                "This credential reaches more than one workspace, or none: name one in the "
                "X-Blaxel-Workspace header or the workspace query parameter.",
                code="WORKSPACE_REQUIRED",
            )
        if named not in granted:
            raise Forbidden(
                f"This credential has no access to workspace {named[:80]!r}. Check the "
                "X-Blaxel-Workspace header (BL_WORKSPACE) against the credential you use.",
                code="WORKSPACE_FORBIDDEN",
            )
        return named

    @property
    def is_admin(self) -> bool:
        """Whether the caller administers the request's workspace."""
        return self.principal.workspaces.get(self.workspace) == "admin"


def caller_of(request: Any) -> Caller:
    """The authenticated caller of a request."""
    caller: Caller = request.state["caller"]
    return caller


def bearer_tokens(headers: Any) -> list[str]:
    """The credentials among raw ASGI headers, the platform's own first.

    ``X-Blaxel-Authorization`` wins over ``Authorization``; empty values and the placeholder that
    some model libraries send are passed over. Several different values are all returned.
    """
    found: dict[str, None] = {}
    for wanted in (b"x-blaxel-authorization", b"authorization"):
        for name, value in headers:
            match = BEARER.match(value.decode("latin-1").strip()) if name == wanted else None
            if match and match[1].lower() != PLACEHOLDER:
                found[match[1]] = None
    return list(found)


async def authenticate(authenticator: Authenticator, tokens: list[str]) -> Principal:
    """Whose the credentials of a request are; the first one counts.

    Raises:
        AuthenticationRequired: there is none.
        AuthenticationFailed: the first one is not valid.
        BadRequest: another one is valid too, and somebody else's.
    """
    if not tokens:
        raise AuthenticationRequired(
            "No credential came with this request: send an API key or access token as "
            "'X-Blaxel-Authorization: Bearer <key>' or 'Authorization: Bearer <key>'."
        )
    first, *others = tokens
    principal = authenticator.cached(first) or await authenticator.verify(first)
    for other in others:
        if await authenticator.contradicts(principal, other):
            raise BadRequest(CONTRADICTION, code="CONFLICTING_CREDENTIALS")
    return principal


class Guard:
    """ASGI middleware: every ``/v0`` request but a few needs a valid credential."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator) -> None:
        self.app = app
        self.authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Put the Caller into the request's state, and the database in their reach, or refuse."""
        if scope["type"] == ScopeType.HTTP and _needs_credential(scope["path"]):
            principal = await authenticate(self.authenticator, bearer_tokens(scope["headers"]))
            scope["state"]["caller"] = Caller(principal, _named_workspace(scope))
            with within(principal):
                await self.app(scope, receive, send)
            return
        if _is_misspelt(scope):
            raise NotFound("There is nothing at this path: it has one slash too many.")
        await self.app(scope, receive, send)


def _needs_credential(path: str) -> bool:
    return path in PROTECTED or (path.startswith("/v0/") and path not in PUBLIC)


def _is_misspelt(scope: Any) -> bool:
    """Whether the router would find an operation here that asks for a credential."""
    path = scope["path"] if scope["type"] == ScopeType.HTTP else ""
    merged = MERGED.sub("/", path).rstrip("/")
    return path not in PUBLIC and (merged.startswith("/v0/") or merged in PROTECTED)


def _named_workspace(scope: Any) -> str | None:
    for name, value in scope["headers"]:
        if name == b"x-blaxel-workspace" and value.strip():
            return str(value.decode("latin-1").strip())
    query = scope["query_string"]
    if b"workspace=" in query:
        values = parse_qs(query.decode("latin-1")).get("workspace")
        return values[0] if values else None
    return None
