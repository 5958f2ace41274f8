"""What clients read first: where the endpoints are, and which keys sign."""

import msgspec
from litestar import Response, get
from litestar.types import ControllerRouterHandler

from serai.api.exchange import json_response
from serai.identity.signing_keys import ALGORITHM
from serai.oauth import scopes
from serai.oauth.authorization import PROMPTS
from serai.oauth.clients import CODE, DEVICE, MACHINE, REFRESH
from serai.oauth.context import OAuth
from serai.oauth.people import CLAIMS
from serai.wire.oauth import KeySet, ProviderMetadata

CACHE = {"Cache-Control": "public, max-age=3600"}
"""An hour, far less than the day by which a key is published before it signs."""
OPENID = "/.well-known/openid-configuration"
OAUTH = "/.well-known/oauth-authorization-server"
PLACES = {
    "GetOpenIDConfiguration": ["/v0" + OPENID, OPENID],
    "GetOAuthServerMetadata": ["/v0" + OAUTH, OAUTH, OAUTH + "/v0"],
}
"""Below the issuer, at the root, and where RFC 8414 looks for an issuer with a path."""
WITH_SECRET = ["client_secret_basic", "client_secret_post"]
TOKEN_CLAIMS = ["iss", "aud", "exp", "iat", "auth_time", "nonce", "amr", "at_hash", "sid"]


def metadata_operations(oauth: OAuth) -> list[ControllerRouterHandler]:
    """Discovery and keys, for anybody."""
    known = msgspec.json.encode(metadata(oauth.tokens.issuer))

    def discovery(operation_id: str, paths: list[str]) -> ControllerRouterHandler:
        opt = {"answer": ProviderMetadata, "public": True}

        @get(paths, operation_id=operation_id, opt=opt)
        async def answer() -> Response[bytes]:
            return json_response(known, CACHE)

        return answer

    @get(
        ["/v0/.well-known/jwks.json", "/.well-known/jwks.json"],
        operation_id="GetSigningKeys",
        opt={"answer": KeySet, "public": True},
    )
    async def keys() -> Response[bytes]:
        return json_response(msgspec.json.encode({"keys": oauth.tokens.ring.published()}), CACHE)

    return [*(discovery(*place) for place in PLACES.items()), keys]


def metadata(issuer: str) -> ProviderMetadata:
    """What we say of ourselves."""
    return ProviderMetadata(
        issuer=issuer,
        authorization_endpoint=f"{issuer}/oauth/authorize",
        token_endpoint=f"{issuer}/oauth/token",
        userinfo_endpoint=f"{issuer}/oauth/userinfo",
        jwks_uri=f"{issuer}/.well-known/jwks.json",
        revocation_endpoint=f"{issuer}/oauth/revoke",
        introspection_endpoint=f"{issuer}/oauth/introspect",
        device_authorization_endpoint=f"{issuer}/login/device",
        scopes_supported=sorted(scopes.SUPPORTED),
        response_types_supported=["code"],
        response_modes_supported=["query"],
        grant_types_supported=[CODE, REFRESH, MACHINE, DEVICE],
        subject_types_supported=["public"],
        id_token_signing_alg_values_supported=[ALGORITHM],
        token_endpoint_auth_methods_supported=[*WITH_SECRET, "none"],
        revocation_endpoint_auth_methods_supported=[*WITH_SECRET, "none"],
        introspection_endpoint_auth_methods_supported=WITH_SECRET,
        code_challenge_methods_supported=["S256"],
        claims_supported=[*CLAIMS, *TOKEN_CLAIMS],
        prompt_values_supported=sorted(PROMPTS),
        authorization_response_iss_parameter_supported=True,
        claims_parameter_supported=False,
        request_parameter_supported=False,
        request_uri_parameter_supported=False,
    )
