"""Authlib's authorization server, for one request in one transaction.

Authlib turns every error of the protocol into an answer, so the transaction commits what was done
before: a replay that ends a family is answered as an error, and stays ended.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from authlib.oauth2.rfc6749 import AuthorizationServer, InvalidClientError, OAuth2Error
from authlib.oauth2.rfc6749.util import extract_basic_authorization
from sqlalchemy import Connection

from serai.api.exchange import Origin, current_origin
from serai.identity import changes, grants
from serai.identity.access_tokens import SECONDS
from serai.identity.grants import Grant
from serai.kernel.clock import now
from serai.oauth import clients, refresh_tokens, scopes, trail
from serai.oauth.clients import Client
from serai.oauth.context import OAuth
from serai.oauth.endpoints import DeviceAuthorization, Introspection, Revocation
from serai.oauth.id_tokens import SignIn, id_token
from serai.oauth.protocol import NO_STORE, Answer, ProtocolRequest, refusal, refused
from serai.oauth.token_grants import TOKEN_GRANTS

T = TypeVar("T")


class Provider(AuthorizationServer):
    """Everything about one request.

    Attributes:
        oauth: what the provider needs.
        conn: inside a write transaction, or a read one for authorization requests.
        at: now.
        origin: where the request comes from.
        ended: whether it ended a grant.
    """

    def __init__(self, oauth: OAuth, conn: Connection, at: datetime, origin: Origin) -> None:
        super().__init__()
        self.oauth = oauth
        self.conn = conn
        self.at = at
        self.origin = origin
        self.ended = False
        for grant, extensions in TOKEN_GRANTS:
            self.register_grant(grant, extensions)
        for endpoint in (DeviceAuthorization, Introspection, Revocation):
            self.register_endpoint(endpoint)

    # What Authlib asks for.

    def query_client(self, client_id: str) -> Client | None:
        """The client of that id."""
        return clients.find(self.conn, self.oauth.vault, client_id)

    def save_token(self, token: Any, request: Any) -> None:
        """Tokens are stored when they are made."""

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Nobody listens."""

    def create_oauth2_request(self, request: ProtocolRequest) -> ProtocolRequest:
        """Requests come in Authlib's form."""
        return request

    def handle_response(self, status: int, body: Any, headers: Any) -> Answer:
        """A good answer."""
        return Answer(status, body, NO_STORE)

    def handle_error_response(self, request: Any, error: OAuth2Error) -> Answer:
        """An error as an answer."""
        return refused(error)

    def authenticate_client(
        self, request: ProtocolRequest, methods: list[str], endpoint: str = "token"
    ) -> Client:
        """Who asks.

        A wrong secret at the token endpoint is answered with 400, also in HTTP Basic, as the
        official clients are used to; elsewhere HTTP Basic is answered with 401, as RFC 6749 wants.
        """
        try:
            self._check_credentials(request)
            client: Client = super().authenticate_client(request, methods, endpoint)
        except (InvalidClientError, UnicodeDecodeError):
            in_header = bool(request.headers) and endpoint in {"revocation", "introspection"}
            status = 401 if in_header else 400
            raise refusal("invalid_client", _no_client(request), status) from None
        request.client = client
        return client

    def _check_credentials(self, request: ProtocolRequest) -> None:
        sent = request.values.get("client_id")
        if request.headers and "client_secret" in request.values:
            raise refusal(
                "invalid_request",
                "client_secret is in the body, and another one in the Authorization header: send "
                "one of them.",
            )
        if request.headers and sent is not None and sent != _basic_id(request):
            raise refusal(
                "invalid_request", "client_id is not the one in the Authorization header."
            )

    # What grants and endpoints share.

    def scope_for(self, client: Client, asked: str | None) -> str:
        """What a client gets when it asks for a scope.

        Raises:
            OAuth2Error: naming the words that it may not ask for.
        """
        found = client.get_allowed_scope(asked)
        if found is None:
            wrong = " ".join(scopes.unknown(scopes.words(asked), client.scope))
            raise refusal("invalid_scope", f"scope has words that this client may not use: {wrong}")
        return found

    def give(self, client: Client, scope: str, **fields: Any) -> Grant:
        """A new grant, noted in the audit log; ``fields`` are those of ``grants.Grant``.

        What the client may not ask for any more, since somebody agreed, is left out.
        """
        scope = " ".join(word for word in scope.split() if word in client.scope)
        grant = grants.create(
            self.conn,
            self.at,
            client_id=client.client_id,
            scope=scope,
            user_agent=self.origin.user_agent,
            address=self.origin.client,
            **fields,
        )
        trail.note(self.conn, self.origin, grant, "grant")
        return grant

    def end(self, grant: Grant, action: str) -> None:
        """End a grant and all its tokens."""
        if grants.revoke(self.conn, grant.id):
            self.ended = True
            trail.note(self.conn, self.origin, grant, action)

    def end_by_id(self, grant_id: str | None) -> None:
        """End the grant that came from a code which was used twice."""
        grant = grants.find(self.conn, grant_id, self.at) if grant_id else None
        if grant is not None:
            self.end(grant, "reuse")

    def first_answer(
        self, client: Client, grant: Grant, sign_in: SignIn | None = None
    ) -> dict[str, Any]:
        """The tokens of a new grant."""
        refresh = None
        if client.gets_refresh_token(grant.scope):
            refresh = refresh_tokens.issue(self.conn, self.oauth.vault, grant.id, self.at)
        answer = self.token_answer(client, grant, grant.scope, refresh)
        if sign_in is not None and scopes.OPENID in grant.scope.split():
            token = answer["access_token"]
            answer["id_token"] = id_token(self.oauth.tokens, grant, sign_in, token, self.at)
        return answer

    def token_answer(
        self, client: Client, grant: Grant, scope: str, refresh: str | None
    ) -> dict[str, Any]:
        """A token answer: exactly four members for the official clients, which refuse more."""
        answer: dict[str, Any] = {
            "access_token": self.oauth.tokens.issue(grant, scope, self.at),
            "expires_in": SECONDS,
            "token_type": "Bearer",
        }
        if refresh is not None:
            answer["refresh_token"] = refresh
        if client.kind == "registered":
            answer["scope"] = scope
        return answer


async def run(oauth: OAuth, fn: Callable[[Provider], T]) -> T:
    """Answer a request in a write transaction; what it ended is felt once that is durable.

    Also when the client has gone meanwhile.
    """
    origin = current_origin()

    def work(conn: Connection) -> tuple[T, bool]:
        provider = Provider(oauth, conn, now(), origin)
        answer = fn(provider)
        if provider.ended:
            changes.note(conn)
        return answer, provider.ended

    async def commit() -> T:
        answer, ended = await oauth.db.write(work)
        if ended:
            oauth.authenticator.forget()
        return answer

    return await asyncio.shield(asyncio.ensure_future(commit()))


def _basic_id(request: ProtocolRequest) -> str | None:
    found: str | None = extract_basic_authorization(request.headers)[0]
    return found


def _no_client(request: ProtocolRequest) -> str:
    """Why a client was not recognised; the same for all that exist and all that do not."""
    if request.headers:
        return "client_id or client_secret in the Authorization header is wrong, or one is missing."
    if "client_id" not in request.values:
        return "client_id is missing: send it in the body, or with client_secret as HTTP Basic."
    if "client_secret" not in request.values:
        return "client_secret is missing, or there is no public client with this client_id."
    return "client_id or client_secret is wrong."
