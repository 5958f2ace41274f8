"""The authorization endpoint without its pages: what is asked, and what a person answers.

Which client asks and where its codes go is settled before anything else. Until then an error is
only shown; afterwards it goes to the client, by redirect.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
from authlib.common.urls import add_params_to_uri
from authlib.oauth2.rfc6749 import OAuth2Error
from sqlalchemy import Connection, select

from serai.api.exchange import Origin
from serai.kernel.clock import now
from serai.kernel.errors import BadRequest
from serai.oauth import clients, codes
from serai.oauth.clients import Client
from serai.oauth.codes import Code
from serai.oauth.context import OAuth
from serai.oauth.protocol import ProtocolRequest, refusal
from serai.oauth.server import Provider
from serai.store.tables.identity import users

PARAMETER_MAX = 4096
CHECKED = frozenset(
    {
        "client_id",
        "code_challenge",
        "code_challenge_method",
        "login_hint",
        "max_age",
        "nonce",
        "prompt",
        "redirect_uri",
        "response_mode",
        "response_type",
        "scope",
    }
)
"""Parameters that are compared or stored; ``state`` goes back as it came, others are ignored."""
PROMPTS = frozenset({"none", "login", "consent", "select_account"})
NOT_SUPPORTED = {"request": "request_not_supported", "request_uri": "request_uri_not_supported"}


class AuthorizationProblem(BadRequest):
    """An authorization request that cannot be fulfilled.

    ``redirect`` is where the browser is to be sent, which tells the client; ``None`` when the
    client or its redirect URI is not to be trusted, so that only a page may tell.
    """

    code = "INVALID_AUTHORIZATION_REQUEST"

    def __init__(self, message: str, redirect: str | None = None) -> None:
        super().__init__(message)
        self.redirect = redirect


class AuthorizationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asks a person for; all of it is checked.

    Attributes:
        client: who asks.
        redirect_uri: where the answer goes.
        redirect_uri_sent: whether the request said so itself.
        scope: what is asked for, words separated by a space.
        state: goes back to the client as it came.
        nonce: goes into the ID token.
        code_challenge: of PKCE, with method S256; ``None`` only from a client with a secret.
        prompt: any of ``none``, ``login``, ``consent`` and ``select_account``.
        max_age: how many seconds ago the person may have signed in at most.
        login_hint: who is expected to sign in.
        issuer: who we are, for the answer.
    """

    client: Client
    redirect_uri: str
    redirect_uri_sent: bool
    scope: str
    state: str | None
    nonce: str | None
    code_challenge: str | None
    prompt: frozenset[str]
    max_age: int | None
    login_hint: str | None
    issuer: str

    def is_too_old(self, auth_time: int, at: datetime) -> bool:
        """Whether somebody signed in too long ago (``auth_time`` in seconds since 1970)."""
        return self.max_age is not None and at.timestamp() - auth_time > self.max_age

    def refuse(self, error: str, description: str) -> str:
        """Where to send the browser to tell the client of an error, such as ``login_required``."""
        told = {"error": error, "error_description": description}
        return _answer(self.redirect_uri, told, self.state, self.issuer)


def read_request(
    conn: Connection, oauth: OAuth, pairs: Iterable[tuple[str, str]]
) -> AuthorizationRequest:
    """Check an authorization request.

    Args:
        conn: only read from.
        oauth: the provider.
        pairs: the parameters of the query or form, in order, decoded.

    Raises:
        AuthorizationProblem: it cannot be fulfilled.
    """
    values, repeated = _collect(pairs)
    client, redirect_uri = _destination(conn, oauth, values, repeated)
    issuer, state = oauth.tokens.issuer, values.get("state")
    try:
        _check(values, repeated)
        provider = Provider(oauth, conn, now(), Origin())
        scope = provider.scope_for(client, values.get("scope"))
        provider.get_consent_grant(ProtocolRequest(values))
        prompt, max_age = _prompt(values), _max_age(values)
    except OAuth2Error as problem:
        text = str(problem.description or problem.error)
        told = {"error": str(problem.error), "error_description": text}
        place = _answer(redirect_uri, told, state, issuer)
        raise AuthorizationProblem(text, place) from None
    return AuthorizationRequest(
        client=client,
        redirect_uri=redirect_uri,
        redirect_uri_sent="redirect_uri" in values,
        scope=scope,
        state=state,
        nonce=values.get("nonce"),
        code_challenge=values.get("code_challenge"),
        prompt=prompt,
        max_age=max_age,
        login_hint=values.get("login_hint"),
        issuer=issuer,
    )


def approve(
    conn: Connection,
    oauth: OAuth,
    request: AuthorizationRequest,
    *,
    user_id: str,
    sign_in_id: str | None,
    auth_time: int,
    scope: str,
    workspace: str,
    bound: bool,
    at: datetime,
) -> str:
    """Store a code for what a person agreed to; returns where to send the browser.

    Args:
        conn: inside a write transaction.
        oauth: the provider.
        request: as read.
        user_id: who agrees.
        sign_in_id: of their browser session, which ends what comes from it.
        auth_time: when they signed in, in seconds since 1970.
        scope: what they agreed to, all or part of what was asked.
        workspace: what requests are about that name none.
        bound: whether they cannot name another.
        at: now.
    """
    if not may_use(conn, request.client, user_id):
        return request.refuse("access_denied", "This application belongs to another account.")
    agreed = " ".join(word for word in request.scope.split() if word in scope.split())
    code = Code(
        client_id=request.client.client_id,
        user_id=user_id,
        sign_in_id=sign_in_id,
        redirect_uri=request.redirect_uri,
        redirect_uri_sent=request.redirect_uri_sent,
        scope=agreed,
        workspace=workspace,
        bound=bound,
        nonce=request.nonce,
        code_challenge=request.code_challenge,
        code_challenge_method="S256" if request.code_challenge else None,
        auth_time=auth_time,
    )
    told = {"code": codes.issue(conn, oauth.vault, code, at)}
    return _answer(request.redirect_uri, told, request.state, request.issuer)


def deny(request: AuthorizationRequest) -> str:
    """Where to send the browser of a person who does not agree."""
    return request.refuse("access_denied", "The person did not agree.")


def may_use(conn: Connection, client: Client, user_id: str) -> bool:
    """Whether an application serves a person: it serves those of its own account."""
    account = conn.execute(select(users.c.account_id).where(users.c.id == user_id)).scalar()
    return account is not None and client.serves(account)


def _collect(pairs: Iterable[tuple[str, str]]) -> tuple[dict[str, str], set[str]]:
    """The parameters that have a value, and the names of those that came more than once."""
    values: dict[str, str] = {}
    repeated: set[str] = set()
    for name, value in pairs:
        if name in values:
            repeated.add(name)
        elif value:
            values[name] = value
    return values, repeated


def _destination(
    conn: Connection, oauth: OAuth, values: dict[str, str], repeated: set[str]
) -> tuple[Client, str]:
    """Which client asks, and where its answer goes."""
    for name in ("client_id", "redirect_uri"):
        if name in repeated:
            raise AuthorizationProblem(f"The link names {name} more than once.")
    client = clients.find(conn, oauth.vault, values.get("client_id", ""))
    if client is None:
        raise AuthorizationProblem("There is no application with the client_id in this link.")
    sent = values.get("redirect_uri")
    place = client.get_default_redirect_uri() if sent is None else sent
    if place is None:
        raise AuthorizationProblem("The link lacks redirect_uri: where the answer should go.")
    if not client.check_redirect_uri(place):
        raise AuthorizationProblem(
            f"The redirect_uri in this link is not one that {client.name} has registered."
        )
    return client, place


def _check(values: dict[str, str], repeated: set[str]) -> None:
    """The rules that hold for every request."""
    if repeated:
        raise refusal("invalid_request", f"{min(repeated)} comes more than once.")
    for name, value in values.items():
        if len(value) > PARAMETER_MAX:
            raise refusal("invalid_request", f"{name} is longer than {PARAMETER_MAX} characters.")
        if name in CHECKED and not (value.isascii() and value.isprintable()):
            raise refusal("invalid_request", f"{name} has characters that are not printable ASCII.")
        if name in NOT_SUPPORTED:
            raise refusal(NOT_SUPPORTED[name], f"{name} is not supported here.")
    if values.get("response_type") is None:
        raise refusal("invalid_request", "response_type is missing: it has to be 'code'.")
    if values["response_type"] != "code":
        raise refusal("unsupported_response_type", "response_type has to be 'code'.")
    if values.get("response_mode", "query") != "query":
        raise refusal("invalid_request", "response_mode has to be 'query'.")


def _prompt(values: dict[str, str]) -> frozenset[str]:
    wanted = frozenset(values.get("prompt", "").split())
    if wanted - PROMPTS:
        raise refusal("invalid_request", f"prompt knows only {', '.join(sorted(PROMPTS))}.")
    if "none" in wanted and len(wanted) > 1:
        raise refusal("invalid_request", "prompt 'none' does not go with others.")
    return wanted


def _max_age(values: dict[str, str]) -> int | None:
    text = values.get("max_age")
    if text is None:
        return None
    if not text.isdigit() or len(text) > 10:
        raise refusal("invalid_request", "max_age is not a whole number of seconds.")
    return int(text)


def _answer(place: str, told: dict[str, str], state: str | None, issuer: str) -> str:
    if state is not None:
        told = {**told, "state": state}
    found: Any = add_params_to_uri(place, {**told, "iss": issuer}.items())
    return str(found)
