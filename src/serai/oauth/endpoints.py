"""Starting a device's sign-in, ending tokens and looking into them, on Authlib's endpoints."""

from typing import Any

import msgspec
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from authlib.oauth2.rfc8628 import DeviceAuthorizationEndpoint

from serai.identity import grants
from serai.identity.access_tokens import Claims
from serai.identity.grants import Grant
from serai.identity.keys import new_secret
from serai.kernel.errors import AuthenticationFailed
from serai.oauth import devices, refresh_tokens
from serai.oauth.clients import DEVICE, Client
from serai.oauth.protocol import ProtocolRequest, refusal


class DeviceAuthorization(DeviceAuthorizationEndpoint):
    """A code for a device to poll with, and one for its owner to type in."""

    EXPIRES_IN = int(devices.LIFETIME.total_seconds())
    INTERVAL = devices.INTERVAL

    def authenticate_client(self, request: ProtocolRequest) -> Client:
        """Who asks, if they may, and not too often from one address."""
        server = self.server
        client: Client = super().authenticate_client(request)
        if not client.check_grant_type(DEVICE):
            raise refusal("unauthorized_client", "This client may not sign devices in.")
        if devices.waiting(server.conn, server.origin.client, server.at) >= devices.WAITING_MAX:
            raise refusal(
                "temporarily_unavailable",
                f"{devices.WAITING_MAX} sign-ins from your address wait for an answer already.",
            )
        return client

    def generate_device_code(self) -> str:
        """A secret of our own form."""
        return new_secret(devices.PREFIX)

    def generate_user_code(self) -> str:
        """Authlib's, eight consonants with a hyphen between, that nobody else has."""
        while True:
            user_code: str = super().generate_user_code()
            if not devices.is_taken(self.server.conn, user_code):
                return user_code

    def get_verification_uri(self) -> str:
        """The page where its owner answers."""
        return f"{self.server.oauth.origin}/device"

    def save_device_credential(self, client_id: str, scope: str, data: dict[str, Any]) -> None:
        """Store it."""
        server = self.server
        row = {
            "digest": server.oauth.vault.digest(data["device_code"]),
            "user_code": data["user_code"],
            "client_id": client_id,
            "scope": server.scope_for(server.query_client(client_id), scope),
            "user_agent": server.origin.user_agent,
            "address": server.origin.client,
        }
        devices.start(server.conn, row, server.at)


class Living(msgspec.Struct, frozen=True):
    """A token of a living grant; an access token with its claims."""

    grant: Grant
    claims: Claims | None = None

    def check_client(self, client: Client) -> bool:
        """Whether it was given to that client."""
        return self.grant.client_id == client.client_id

    def is_expired(self) -> bool:
        """Such a token is not found in the first place."""
        return False

    def is_revoked(self) -> bool:
        """Such a token is not found in the first place."""
        return False


class Revocation(RevocationEndpoint):
    """Ends the whole grant that an access or refresh token belongs to (RFC 7009)."""

    CLIENT_AUTH_METHODS = ["client_secret_basic", "client_secret_post", "none"]

    def check_params(self, request: ProtocolRequest, client: Client) -> None:
        """A hint about the kind of token is not needed, and so never wrong."""
        _need_token(request)

    def query_token(self, token_string: str, token_type_hint: str | None) -> Living | None:
        """The token, if its grant lives; Authlib refuses another client's."""
        return find_token(self.server, token_string, spent=True)

    def revoke_token(self, token: Living, request: ProtocolRequest) -> None:
        """End its grant."""
        self.server.end(token.grant, "revoke")


class Introspection(IntrospectionEndpoint):
    """Tells a client with a secret about its own tokens (RFC 7662)."""

    CLIENT_AUTH_METHODS = ["client_secret_basic", "client_secret_post"]

    def check_params(self, request: ProtocolRequest, client: Client) -> None:
        """A hint about the kind of token is not needed, and so never wrong."""
        _need_token(request)

    def check_permission(self, token: Living, client: Client, request: ProtocolRequest) -> bool:
        """Others' tokens are not told from what is no token at all."""
        return token.check_client(client)

    def query_token(self, token_string: str, token_type_hint: str | None) -> Living | None:
        """The token, if it lives."""
        return find_token(self.server, token_string)

    def introspect_token(self, token: Living) -> dict[str, Any]:
        """What the client may know of it."""
        grant, claims = token.grant, token.claims
        told: dict[str, Any] = {
            "client_id": grant.client_id,
            "sub": grant.subject,
            "iss": self.server.oauth.tokens.issuer,
            "scope": claims.scope if claims else grant.scope,
            "token_type": "Bearer" if claims else "refresh_token",
        }
        if claims is not None:
            told |= {"exp": int(claims.exp), "iat": int(claims.iat), "aud": claims.aud}
            told |= {"jti": claims.jti, "workspace": claims.workspace}
        return told


def find_token(server: Any, text: str, *, spent: bool = False) -> Living | None:
    """An access or refresh token that can still be used; with ``spent`` also one that was."""
    if text.startswith(refresh_tokens.PREFIX):
        found = refresh_tokens.find(server.conn, server.oauth.vault, text, server.at)
        if found is None or (not spent and (found.used_at or found.superseded)):
            return None
        return Living(found.grant)
    try:
        claims = server.oauth.tokens.check(text, server.at)
    except AuthenticationFailed:
        return None
    grant = grants.find(server.conn, claims.sid, server.at)
    return None if grant is None or grant.subject != claims.sub else Living(grant, claims)


def _need_token(request: ProtocolRequest) -> None:
    if "token" not in request.values:
        raise refusal("invalid_request", "token is missing: send the token in question.")
