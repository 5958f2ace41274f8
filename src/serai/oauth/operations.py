"""The protocol over HTTP: the endpoints that clients, not browsers, call.

All of them answer below ``/v0`` and at the root of the server, where one official client looks.
Nothing that they are sent or answer is logged.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from authlib.oauth2.rfc6749 import OAuth2Error
from litestar import Response, get, post
from litestar.types import ControllerRouterHandler

from serai.api.exchange import AnyRequest
from serai.identity.caller import authenticate, bearer_tokens
from serai.kernel.errors import Forbidden
from serai.oauth import scopes
from serai.oauth.clients import CODE, DEVICE, MACHINE, REFRESH
from serai.oauth.context import OAuth
from serai.oauth.parameters import parse
from serai.oauth.people import claims_of
from serai.oauth.protocol import NO_STORE, Answer, ProtocolRequest, refusal, refused
from serai.oauth.server import Provider, run
from serai.wire.oauth import (
    DeviceAuthorizationAnswer,
    DeviceAuthorizationBody,
    IntrospectionAnswer,
    Nothing,
    OAuthError,
    TokenAnswer,
    TokenBody,
    TokenQuestion,
    UserInfo,
)

GRANT_TYPES = (CODE, REFRESH, MACHINE, DEVICE)
Step = Callable[[Provider, ProtocolRequest], Answer]


def protocol_operations(oauth: OAuth) -> list[ControllerRouterHandler]:
    """Token, device, revocation, introspection and userinfo endpoints."""
    return [
        _endpoint(oauth, "oauth/token", "CreateOAuthToken", _token, TokenBody, TokenAnswer),
        _endpoint(
            oauth,
            "login/device",
            "StartDeviceLogin",
            _ask("device_authorization"),
            DeviceAuthorizationBody,
            DeviceAuthorizationAnswer,
        ),
        _endpoint(
            oauth, "oauth/revoke", "RevokeOAuthToken", _ask("revocation"), TokenQuestion, Nothing
        ),
        _endpoint(
            oauth,
            "oauth/introspect",
            "IntrospectOAuthToken",
            _ask("introspection"),
            TokenQuestion,
            IntrospectionAnswer,
        ),
        _userinfo(oauth),
    ]


def _endpoint(
    oauth: OAuth, path: str, operation_id: str, step: Step, body: Any, answer: Any
) -> ControllerRouterHandler:
    opt = {"body": body, "answer": answer, "public": True, "form": True, "error": OAuthError}

    @post([f"/v0/{path}", f"/{path}"], status_code=200, operation_id=operation_id, opt=opt)
    async def endpoint(request: AnyRequest) -> Response[bytes]:
        try:
            values = parse(await request.body(), request.headers.get("content-type", ""))
            asked = ProtocolRequest(values, _basic(request))
        except OAuth2Error as problem:
            return _respond(refused(problem))
        return _respond(await run(oauth, lambda provider: step(provider, asked)))

    return endpoint


def _token(provider: Provider, request: ProtocolRequest) -> Answer:
    named = request.values.get("grant_type")
    if named is None:
        problem = refusal("invalid_request", f"grant_type is missing: {', '.join(GRANT_TYPES)}.")
        return refused(problem)
    if named not in GRANT_TYPES:
        problem = refusal(
            "unsupported_grant_type",
            f"grant_type '{named[:80]}' is not one of {', '.join(GRANT_TYPES)}.",
        )
        return refused(problem)
    answer: Answer = provider.create_token_response(request)
    return answer


def _ask(endpoint: str) -> Step:
    def step(provider: Provider, request: ProtocolRequest) -> Answer:
        answer: Answer = provider.create_endpoint_response(endpoint, request)
        return answer

    return step


def _basic(request: AnyRequest) -> str:
    """The ``Authorization`` header, if it is about a client and not about a caller."""
    header = request.headers.get("authorization", "").strip()
    return header if header[:6].lower() == "basic " else ""


def _userinfo(oauth: OAuth) -> ControllerRouterHandler:
    opt = {"answer": UserInfo, "scopes": [scopes.OPENID], "errors": [401, 403]}

    @get(["/v0/oauth/userinfo", "/oauth/userinfo"], operation_id="GetUserInfo", opt=opt)
    async def userinfo(request: AnyRequest) -> Response[bytes]:
        """Who signed in, to an application that they let know it"""
        tokens = bearer_tokens(request.scope["headers"])
        principal = await authenticate(oauth.authenticator, tokens)
        granted = principal.scopes or frozenset()
        if scopes.OPENID not in granted:
            raise Forbidden(
                "This needs an access token with the scope 'openid'.",
                code="INSUFFICIENT_SCOPE",
                headers={"WWW-Authenticate": 'Bearer error="insufficient_scope", scope="openid"'},
            )
        claims = await oauth.db.read(lambda conn: claims_of(conn, principal.subject, granted))
        return _respond(Answer(200, claims, NO_STORE))

    return userinfo


def _respond(answer: Answer) -> Response[bytes]:
    return Response(
        msgspec.json.encode(answer.body),
        media_type="application/json",
        status_code=answer.status,
        headers=answer.headers,
    )
