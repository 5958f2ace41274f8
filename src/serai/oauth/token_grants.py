"""The four grants of the token endpoint: Authlib's checks, our rows.

Each method overridden here is one that Authlib asks to be overridden; ``generate_token`` makes the
grant too, as its id is in the token.
"""

from typing import Any

from authlib.oauth2.rfc6749.grants import (
    AuthorizationCodeGrant,
    ClientCredentialsGrant,
    RefreshTokenGrant,
)
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc8628 import DeviceCodeGrant
from msgspec import structs

from serai.api.exchange import Origin
from serai.identity import accounts, grants
from serai.identity.grants import Grant
from serai.identity.principal import Principal
from serai.kernel.clock import parse_rfc3339
from serai.oauth import codes, devices, refresh_tokens, scopes
from serai.oauth.clients import BUILT_IN_ID
from serai.oauth.codes import Code
from serai.oauth.devices import Device
from serai.oauth.id_tokens import SignIn, is_signed_in, methods_of
from serai.oauth.protocol import refusal
from serai.oauth.refresh_tokens import RefreshToken

ANY_CLIENT = ["client_secret_basic", "client_secret_post", "none"]
GONE = "The person who agreed has no access any more, or has signed out: ask them again."


class Pkce(CodeChallenge):
    """PKCE with S256 only; who has no secret cannot do without."""

    SUPPORTED_CODE_CHALLENGE_METHOD = ["S256"]

    def validate_code_challenge(self, grant: Any, redirect_uri: str) -> None:
        """Check what comes with an authorization request."""
        values, client = grant.request.values, grant.request.client
        if "code_challenge" not in values and client.is_public:
            raise refusal("invalid_request", "code_challenge is missing: this client needs PKCE.")
        if "code_challenge" in values and values.get("code_challenge_method") != "S256":
            raise refusal("invalid_request", "code_challenge_method has to be S256.")
        super().validate_code_challenge(grant, redirect_uri)


class CodeGrant(AuthorizationCodeGrant):
    """Tokens for a code that a browser brought."""

    TOKEN_ENDPOINT_AUTH_METHODS = ANY_CLIENT

    def query_authorization_code(self, code: str, client: Any) -> Code:
        """The code, if it is this client's and good; one that comes again ends its family."""
        server = self.server
        found = codes.find(server.conn, server.oauth.vault, code)
        if found is None or found.client_id != client.client_id:
            raise refusal("invalid_grant", "code is unknown, or was given to another client.")
        if found.used_at is not None:
            server.end_by_id(found.grant_id)
            raise refusal("invalid_grant", "code was used already; all that came from it ends.")
        if parse_rfc3339(found.expires_at) <= server.at:
            raise refusal("invalid_grant", "code has expired: codes live for a minute.")
        return found

    def authenticate_user(self, authorization_code: Code) -> str:
        """Who agreed, if they could still do so."""
        code, conn = authorization_code, self.server.conn
        grant = Grant(id="", client_id=code.client_id, **_of_user(code))
        if not is_signed_in(conn, code.sign_in_id) or not _holder(self, grant):
            raise refusal("invalid_grant", GONE)
        return code.user_id

    def generate_token(self, user: Any = None, scope: Any = None, **more: Any) -> dict[str, Any]:
        """Make the grant and its tokens."""
        code, client, server = self.request.authorization_code, self.request.client, self.server
        grant = server.give(client, code.scope, **_of_user(code))
        codes.use(server.conn, code, grant.id, server.at)
        methods = methods_of(server.conn, code.sign_in_id)
        sign_in = SignIn(auth_time=code.auth_time, nonce=code.nonce, methods=methods)
        answer: dict[str, Any] = server.first_answer(client, grant, sign_in)
        return answer

    def delete_authorization_code(self, authorization_code: Code) -> None:
        """It stays for a while, marked as used, so that a replay is seen as one."""


class DeviceGrant(DeviceCodeGrant):
    """Tokens for a device whose owner agreed elsewhere."""

    TOKEN_ENDPOINT_AUTH_METHODS = ANY_CLIENT

    def query_device_credential(self, device_code: str) -> Device:
        """The device, if its code is this client's and good; one used before ends its family."""
        server, client = self.server, self.request.client
        found = devices.find_by_code(server.conn, server.oauth.vault, device_code)
        if found is None or found.client_id != client.client_id:
            raise refusal("invalid_grant", "device_code is unknown, or another client's.")
        if found.status == "used":
            server.end_by_id(grants.of_device(server.conn, found.user_id, found.digest))
            raise refusal("invalid_grant", "device_code was used already; what came from it ends.")
        if parse_rfc3339(found.expires_at) <= server.at:
            raise refusal("expired_token", "device_code has expired: start the sign-in again.")
        self.device = found
        return found

    def query_user_grant(self, user_code: str) -> tuple[str, bool] | None:
        """Who answered, and what; ``None`` while nobody did."""
        device = self.device
        if device.status == "pending":
            return None
        if device.status == "denied" or device.user_id is None:
            return "", False
        grant = Grant(id="", client_id=device.client_id, **_of_user(device))
        if not is_signed_in(self.server.conn, device.sign_in_id) or not _holder(self, grant):
            raise refusal("access_denied", GONE)
        return device.user_id, True

    def should_slow_down(self, credential: Device) -> bool:
        """Whether it polls far too often."""
        return devices.polled_too_fast(self.server.conn, credential, self.server.at)

    def generate_token(self, user: Any = None, scope: Any = None, **more: Any) -> dict[str, Any]:
        """Make the grant and its tokens."""
        device, client, server = self.device, self.request.client, self.server
        fields = _of_user(device) | {"device_digest": device.digest}
        grant = server.give(client, device.scope, **fields)
        devices.use(server.conn, device)
        methods = methods_of(server.conn, device.sign_in_id)
        sign_in = SignIn(auth_time=device.auth_time or 0, methods=methods)
        answer: dict[str, Any] = server.first_answer(client, grant, sign_in)
        return answer


class MachineGrant(ClientCredentialsGrant):
    """Tokens for a service account that shows its secret."""

    TOKEN_ENDPOINT_AUTH_METHODS = ANY_CLIENT

    def validate_requested_scope(self) -> None:
        """Checked when the token is made."""

    def generate_token(self, user: Any = None, scope: Any = None, **more: Any) -> dict[str, Any]:
        """Make the grant and its tokens, also one to refresh with: official clients want it."""
        client, server = self.request.client, self.server
        granted = server.scope_for(client, scope)
        holder = {"service_client_id": client.client_id, "workspace": client.workspace}
        grant = server.give(client, granted, **holder)
        answer: dict[str, Any] = server.first_answer(client, grant)
        return answer


class RefreshGrant(RefreshTokenGrant):
    """New tokens for a refresh token, which is good once; see ``refresh_tokens``."""

    TOKEN_ENDPOINT_AUTH_METHODS = ANY_CLIENT

    def validate_token_request(self) -> None:
        """One official SDK names no client: it means the built-in one."""
        request = self.request
        if not request.headers and "client_secret" not in request.values:
            request.values.setdefault("client_id", BUILT_IN_ID)
        super().validate_token_request()

    def authenticate_refresh_token(self, refresh_token: str) -> RefreshToken:
        """The token, if it is this client's and good; one that comes again ends its family."""
        server, values = self.server, self.request.values
        token = refresh_tokens.find(server.conn, server.oauth.vault, refresh_token, server.at)
        if token is None or not token.check_client(self.request.client):
            raise refusal(
                "invalid_grant",
                "refresh_token is unknown, expired or revoked, or another client's: sign in again.",
            )
        device_code = values.get("device_code")
        if device_code and server.oauth.vault.digest(device_code) != token.grant.device_digest:
            raise refusal("invalid_grant", "device_code is not the one this sign-in began with.")
        if not refresh_tokens.is_good(server.conn, token, server.at):
            server.end(token.grant, "reuse")
            raise refusal(
                "invalid_grant",
                "refresh_token was used already, so somebody else may have a copy: this sign-in "
                "has been ended. Sign in again.",
            )
        return token

    def authenticate_user(self, refresh_token: RefreshToken) -> Principal:
        """Whose it is, if they still have access."""
        holder = _holder(self, refresh_token.grant)
        if holder is None:
            raise refusal("invalid_grant", GONE)
        return holder

    def issue_token(self, user: Any, refresh_token: RefreshToken) -> dict[str, Any]:
        """Note the use, and make the next tokens."""
        server, client, grant = self.server, self.request.client, refresh_token.grant
        asked = scopes.words(self.request.payload.scope)
        scope = " ".join(asked) or grant.scope
        grants.use(server.conn, _seen(grant, server.origin), server.at)
        answer: dict[str, Any] = server.token_answer(
            client, grant, scope, self._next(refresh_token)
        )
        return answer

    def _next(self, token: RefreshToken) -> str:
        """The next refresh token; empty when the client is to keep the one it has."""
        server = self.server
        reusable = server.oauth.reusable_device_tokens and token.used_at is None
        if reusable and token.grant.device_digest and "device_code" in self.request.values:
            return ""
        return refresh_tokens.rotate(server.conn, server.oauth.vault, token, server.at)

    def revoke_old_credential(self, refresh_token: RefreshToken) -> None:
        """Its use is noted already."""


def _of_user(consent: Code | Device) -> dict[str, Any]:
    """The fields of a grant that a person's consent decides."""
    return {
        "user_id": consent.user_id,
        "sign_in_id": consent.sign_in_id,
        "workspace": consent.workspace or "",
        "bound": consent.bound,
    }


def _seen(grant: Grant, origin: Origin) -> Grant:
    """A grant with what its client looks like now."""
    return structs.replace(grant, user_agent=origin.user_agent, address=origin.client)


def _holder(grant_type: Any, grant: Grant) -> Principal | None:
    """Whose a grant is, if they have access, and the application is one of their account."""
    holder = accounts.principal_of_grant(grant_type.server.conn, grant, grant.scope)
    if holder is None or not grant_type.request.client.serves(holder.account_id):
        return None
    return holder


TOKEN_GRANTS: list[tuple[Any, list[Any]]] = [
    (CodeGrant, [Pkce(required=True)]),
    (DeviceGrant, []),
    (MachineGrant, []),
    (RefreshGrant, []),
]
"""What the token endpoint knows, each with Authlib's extensions."""
