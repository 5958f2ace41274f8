"""OAuth 2.0 and OpenID Connect: bodies and answers in snake_case, as the standards write them."""

from typing import Any, Literal

import msgspec

from serai.wire.common import Wire


class Protocol(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Base of the shapes here; what is absent is never sent."""


class TokenBody(Protocol):
    """A request for tokens. ``grant_type`` says which of the other members are needed."""

    grant_type: str
    client_id: str | None = None
    client_secret: str | None = None
    code: str | None = None
    redirect_uri: str | None = None
    code_verifier: str | None = None
    refresh_token: str | None = None
    device_code: str | None = None
    scope: str | None = None


class TokenAnswer(Protocol):
    """Tokens. ``expires_in`` is in seconds; ``scope`` is there for registered clients."""

    access_token: str
    expires_in: int
    token_type: str
    refresh_token: str | None = None
    id_token: str | None = None
    scope: str | None = None


class OAuthError(Protocol):
    """An error of the protocol, as RFC 6749 writes it."""

    error: str
    error_description: str | None = None


class DeviceAuthorizationBody(Protocol):
    """A device that wants to act for somebody."""

    client_id: str | None = None
    client_secret: str | None = None
    scope: str | None = None


class DeviceAuthorizationAnswer(Protocol):
    """What to poll with and what to show; times in seconds."""

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_in: int
    interval: int


class TokenQuestion(Protocol):
    """A token to end or to ask about."""

    token: str
    token_type_hint: str | None = None
    client_id: str | None = None
    client_secret: str | None = None


class Nothing(Protocol):
    """An empty object."""


class IntrospectionAnswer(Protocol):
    """What a token is; only ``active``, and false, when it is not the asking client's."""

    active: bool
    client_id: str | None = None
    sub: str | None = None
    iss: str | None = None
    aud: str | list[str] | None = None
    scope: str | None = None
    token_type: str | None = None
    exp: int | None = None
    iat: int | None = None
    jti: str | None = None
    workspace: str | None = None


class UserInfo(Protocol):
    """Claims about a person, as far as the scopes ``profile`` and ``email`` allow."""

    sub: str
    name: str | None = None
    given_name: str | None = None
    family_name: str | None = None
    email: str | None = None
    email_verified: bool | None = None


class ProviderMetadata(Protocol):
    """Where the endpoints are and what they support (OpenID Connect Discovery, RFC 8414)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    userinfo_endpoint: str
    jwks_uri: str
    revocation_endpoint: str
    introspection_endpoint: str
    device_authorization_endpoint: str
    scopes_supported: list[str]
    response_types_supported: list[str]
    response_modes_supported: list[str]
    grant_types_supported: list[str]
    subject_types_supported: list[str]
    id_token_signing_alg_values_supported: list[str]
    token_endpoint_auth_methods_supported: list[str]
    revocation_endpoint_auth_methods_supported: list[str]
    introspection_endpoint_auth_methods_supported: list[str]
    code_challenge_methods_supported: list[str]
    claims_supported: list[str]
    prompt_values_supported: list[str]
    authorization_response_iss_parameter_supported: bool
    claims_parameter_supported: bool
    request_parameter_supported: bool
    request_uri_parameter_supported: bool


class KeySet(Protocol):
    """The public keys that tokens are signed with, also the one that comes next."""

    keys: list[dict[str, Any]]


class OAuthClient(Protocol):
    """An application. ``client_secret`` is shown once, to a ``confidential`` one."""

    client_id: str
    name: str
    confidential: bool
    redirect_uris: list[str]
    scopes: list[str]
    created_at: str
    created_by: str
    updated_at: str
    client_secret: str | None = None


class CreateOAuthClientBody(Protocol):
    """An application to register. ``confidential`` ones can keep a secret, as servers do."""

    name: str
    scopes: list[str]
    redirect_uris: list[str] = []
    confidential: bool = True


class UpdateOAuthClientBody(Protocol):
    """What to change of an application; absent members stay."""

    name: str | None = None
    redirect_uris: list[str] | None = None
    scopes: list[str] | None = None


class ProfileGrant(Wire):
    """An application or device that acts for the caller; ``current`` is the one that asks.

    ``workspace`` is what it works in, unless not ``bound`` to it.
    """

    id: str
    client_id: str
    client_name: str
    kind: Literal["application", "device"]
    scopes: list[str]
    workspace: str
    bound: bool
    current: bool
    created_at: str
    last_used_at: str
    expires_at: str
    user_agent: str | None = None
    address: str | None = None
