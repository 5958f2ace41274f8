"""The caller of a management request, and the middleware that finds out who it is."""

import re
from typing import Any
from urllib.parse import parse_qs

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from serai.identity.principal import Authenticator, Principal
from serai.kernel.errors import AuthenticationRequired, BadRequest, Forbidden, NotFound

PUBLIC = frozenset(
    {
        "/v0/changelog",
        "/v0/drives/jwks.json",
        "/v0/openapi.json",
        "/v0/versions",
        "/v0/invitations",
        "/v0/invitations/accept",
        "/v0/invitations/decline",
    }
)
"""Paths that need no credential; what an invitation's link leads to asks for its secret."""
MERGED = re.compile(r"/+")
"""The router takes several slashes for one, so the door must as well."""
BEARER = re.compile(r"bearer\s+(\S+)\s*\Z", re.IGNORECASE)
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
            raise BadRequest(
                "This API key reaches more than one workspace, or none: name one in the "
                "X-Blaxel-Workspace header or the workspace query parameter.",
                code="WORKSPACE_REQUIRED",
            )
        if named not in granted:
            raise Forbidden(
                f"This API key has no access to workspace {named[:80]!r}. Check the "
                "X-Blaxel-Workspace header (BL_WORKSPACE) against the key you use.",
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


def bearer_token(headers: Any) -> str | None:
    """The platform credential among raw ASGI headers.

    ``X-Blaxel-Authorization`` wins over ``Authorization``; empty values and the placeholder that
    some model libraries send are passed over.
    """
    found: dict[bytes, str] = {}
    for name, value in headers:
        if name in {b"x-blaxel-authorization", b"authorization"}:
            match = BEARER.match(value.decode("latin-1").strip())
            if match and match[1].lower() != PLACEHOLDER:
                found.setdefault(name, match[1])
    return found.get(b"x-blaxel-authorization") or found.get(b"authorization")


class Guard:
    """ASGI middleware: every ``/v0`` request but a few needs a valid credential."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator) -> None:
        self.app = app
        self.authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Put the Caller into the request's state, or refuse."""
        if scope["type"] == ScopeType.HTTP and _needs_credential(scope["path"]):
            token = bearer_token(scope["headers"])
            if token is None:
                raise AuthenticationRequired(
                    "No API key came with this request: send it as 'X-Blaxel-Authorization: "
                    "Bearer <key>' or 'Authorization: Bearer <key>'."
                )
            auth = self.authenticator
            principal = auth.cached(token) or await auth.verify(token)
            scope["state"]["caller"] = Caller(principal, _named_workspace(scope))
        elif _is_misspelt(scope):
            raise NotFound("There is nothing at this path: it has one slash too many.")
        await self.app(scope, receive, send)


def _needs_credential(path: str) -> bool:
    return path.startswith("/v0/") and path not in PUBLIC


def _is_misspelt(scope: Any) -> bool:
    """Whether the router would find an operation here that asks for a credential."""
    path = scope["path"] if scope["type"] == ScopeType.HTTP else ""
    return path not in PUBLIC and MERGED.sub("/", path).startswith("/v0/")


def _named_workspace(scope: Any) -> str | None:
    for name, value in scope["headers"]:
        if name == b"x-blaxel-workspace" and value.strip():
            return str(value.decode("latin-1").strip())
    query = scope["query_string"]
    if b"workspace=" in query:
        values = parse_qs(query.decode("latin-1")).get("workspace")
        return values[0] if values else None
    return None
