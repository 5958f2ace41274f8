"""A walk along OpenID Connect Core, Discovery, RFC 8414, 9068, 7009, 7662 and 9207.

Everything is read from the metadata, and checked with another library than the server's checks.
"""

import base64
import hashlib
import time
import uuid
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from sqlalchemy import Connection, insert

from identity.conftest import done, refused
from serai.kernel.clock import rfc3339
from serai.store.tables.sign_in import sign_ins

from .conftest import CALLBACK, Json, Tenant, basic, failed, pkce, refresh_body

REQUIRED = {
    "issuer",
    "authorization_endpoint",
    "token_endpoint",
    "jwks_uri",
    "response_types_supported",
    "subject_types_supported",
    "id_token_signing_alg_values_supported",
}
"""What OpenID Connect Discovery, section 3, requires."""


@pytest.fixture(scope="module")
def about(tenant: Tenant) -> Json:
    return dict(done(tenant.anyone.get("/v0/.well-known/openid-configuration")))


@pytest.fixture(scope="module")
def app(tenant: Tenant) -> Json:
    return tenant.register(
        name="conformance", scopes=["openid", "profile", "email", "offline_access", "agents:list"]
    )


def keys_of(tenant: Tenant, about: Json) -> KeySet:
    return KeySet.import_key_set(done(tenant.anyone.get(about["jwks_uri"])))


def tokens_of(tenant: Tenant, app: Json, scope: str, **more: Any) -> Json:
    """Tokens of the application by way of a code, with PKCE."""
    verifier, challenge = pkce()
    params = {
        "response_type": "code",
        "client_id": app["client_id"],
        "redirect_uri": CALLBACK,
        "scope": scope,
        "state": "s-1",
        **challenge,
        **({"nonce": more.pop("nonce")} if "nonce" in more else {}),
    }
    body = {
        "grant_type": "authorization_code",
        "code": tenant.answer(params, **more)["code"],
        "redirect_uri": CALLBACK,
        "code_verifier": verifier,
    }
    return tenant.tokens(body, headers=basic(app))


def test_the_metadata(tenant: Tenant, about: Json) -> None:
    assert about.keys() >= REQUIRED
    issuer = urlsplit(about["issuer"])
    assert not issuer.query
    assert not issuer.fragment
    assert f"{about['issuer']}/.well-known/openid-configuration" == (
        f"{tenant.server.url}/v0/.well-known/openid-configuration"
    )
    for name, url in about.items():
        if name.endswith(("_endpoint", "_uri")):
            assert url.startswith(about["issuer"] + "/"), name
    for supported, values in {
        "response_types_supported": {"code"},
        "subject_types_supported": {"public"},
        "id_token_signing_alg_values_supported": {"ES256"},
        "code_challenge_methods_supported": {"S256"},
        "grant_types_supported": {
            "authorization_code",
            "refresh_token",
            "client_credentials",
            "urn:ietf:params:oauth:grant-type:device_code",
        },
    }.items():
        assert set(about[supported]) == values
    assert {"openid", "offline_access", "agents:list"} <= set(about["scopes_supported"])
    assert about["authorization_response_iss_parameter_supported"] is True


@pytest.mark.parametrize(
    "path",
    [
        "/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-authorization-server/v0",
        "/v0/.well-known/oauth-authorization-server",
    ],
)
def test_the_metadata_is_the_same_wherever_clients_look(
    tenant: Tenant, about: Json, path: str
) -> None:
    answer = tenant.anyone.get(path)
    assert done(answer) == about
    assert answer.headers["content-type"] == "application/json"


def test_the_keys(tenant: Tenant, about: Json) -> None:
    answer = tenant.anyone.get(about["jwks_uri"])
    for key in done(answer)["keys"]:
        assert (key["kty"], key["crv"], key["alg"], key["use"]) == ("EC", "P-256", "ES256", "sig")
        assert "d" not in key
    seconds = int(answer.headers["cache-control"].rpartition("max-age=")[2])
    assert seconds < 86_400, "the next key is published a day before it signs"


def test_an_id_token(tenant: Tenant, about: Json, app: Json) -> None:
    signed_in = int(time.time()) - 100
    tokens = tokens_of(tenant, app, "openid", nonce="n-0S6_WzA2Mj", auth_time=signed_in)
    decoded = jwt.decode(tokens["id_token"], keys_of(tenant, about), algorithms=["ES256"])
    assert decoded.header["kid"]
    claims = decoded.claims
    assert claims["iss"] == about["issuer"]
    assert claims["aud"] == app["client_id"]
    assert claims["sub"] == tenant.person
    assert claims["nonce"] == "n-0S6_WzA2Mj"
    assert claims["auth_time"] == signed_in
    assert abs(claims["iat"] - time.time()) < 60
    assert claims["exp"] > claims["iat"]
    half = hashlib.sha256(tokens["access_token"].encode()).digest()[:16]
    assert claims["at_hash"] == base64.urlsafe_b64encode(half).decode().rstrip("=")
    assert "amr" not in claims, "nobody knows how they signed in"
    assert not tenant.works(tokens["id_token"]), "an ID token opens no API"
    header, body, signature = tokens["id_token"].split(".")
    with pytest.raises(JoseError):
        jwt.decode(f"{header}.{body}x.{signature}", keys_of(tenant, about), algorithms=["ES256"])


def test_how_somebody_signed_in(tenant: Tenant, about: Json, app: Json) -> None:
    session = uuid.uuid4().hex
    moment = rfc3339(datetime.now(UTC))

    def sign_in(conn: Connection) -> None:
        row = {
            "id": session,
            "digest": session.encode(),
            "user_id": tenant.person,
            "method": "password+code",
            "auth_time": 1,
            "user_agent": "",
            "address": "",
        }
        moments = dict.fromkeys(("created_at", "last_seen_at", "expires_at"), moment)
        conn.execute(insert(sign_ins).values(**row, **moments))

    tenant.write(sign_in)
    tokens = tokens_of(tenant, app, "openid", sign_in_id=session)
    claims = jwt.decode(tokens["id_token"], keys_of(tenant, about), algorithms=["ES256"]).claims
    assert claims["amr"] == ["pwd", "otp"]


def test_an_access_token(tenant: Tenant, about: Json, app: Json) -> None:
    tokens = tokens_of(tenant, app, "openid agents:list")
    assert (tokens["token_type"], tokens["expires_in"]) == ("Bearer", 7200)
    decoded = jwt.decode(tokens["access_token"], keys_of(tenant, about), algorithms=["ES256"])
    assert decoded.header["typ"] == "at+jwt"
    claims = decoded.claims
    needed = {"iss", "exp", "aud", "sub", "client_id", "iat", "jti", "scope", "workspace"}
    assert claims.keys() >= needed
    assert claims["exp"] - claims["iat"] == 7200
    assert (claims["iss"], claims["aud"]) == (about["issuer"], tenant.server.url)
    assert (claims["scope"], claims["workspace"]) == ("openid agents:list", "main")


def test_no_id_token_without_openid(tenant: Tenant, app: Json) -> None:
    assert "id_token" not in tokens_of(tenant, app, "agents:list")


def test_userinfo(tenant: Tenant, app: Json) -> None:
    def claims(scope: str, path: str = "/v0/oauth/userinfo") -> Any:
        token = tokens_of(tenant, app, scope)["access_token"]
        return tenant.anyone.get(path, headers={"Authorization": f"Bearer {token}"})

    assert done(claims("openid")) == {"sub": tenant.person}
    assert done(claims("openid email")).keys() == {"sub", "email", "email_verified"}
    assert done(claims("openid profile", "/oauth/userinfo"))["sub"] == tenant.person
    answer = claims("agents:list")
    refused(answer, 403, "INSUFFICIENT_SCOPE")
    assert 'scope="openid"' in answer.headers["www-authenticate"]
    for path in ("/v0/oauth/userinfo", "/oauth/userinfo"):
        answer = tenant.anyone.get(path)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        answer = tenant.anyone.get(path, headers={"Authorization": "Bearer ey.no.no"})
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert tenant.admin.get("/v0/oauth/userinfo").status_code == 403, "a key is no OAuth token"


def test_introspection(tenant: Tenant, app: Json, machine: Json) -> None:
    def look(token: str, client: Json) -> Json:
        return dict(
            done(tenant.ask("/v0/oauth/introspect", {"token": token}, headers=basic(client)))
        )

    tokens = tokens_of(tenant, app, "openid offline_access agents:list")
    told = look(tokens["access_token"], app)
    assert told["active"] is True
    assert told["scope"] == "openid offline_access agents:list"
    assert (told["client_id"], told["sub"]) == (app["client_id"], tenant.person)
    assert told["exp"] - told["iat"] == 7200
    assert look(tokens["refresh_token"], app)["token_type"] == "refresh_token"
    nothing = {"active": False}
    for token in (tokens["access_token"], tokens["refresh_token"], "x", "ey.a.b", "blr_x"):
        assert look(token, machine) == nothing, "others' tokens are not told from nonsense"
    done(tenant.ask("/oauth/revoke", {"token": tokens["access_token"]}, headers=basic(app)))
    assert look(tokens["access_token"], app) == nothing
    assert look(tokens["refresh_token"], app) == nothing
    own = tenant.tokens({"grant_type": "client_credentials"}, headers=basic(machine))
    assert look(own["access_token"], machine)["sub"] == machine["client_id"]
    answer = tenant.ask("/v0/oauth/introspect", {"token": "x", "client_id": "blaxel"})
    failed(answer, "invalid_client")
    wrong = basic(machine | {"client_secret": "no"})
    answer = tenant.ask("/v0/oauth/introspect", {"token": "x"}, headers=wrong)
    failed(answer, "invalid_client", 401)
    assert answer.headers["www-authenticate"].startswith("Basic")
    answer = tenant.ask("/v0/oauth/introspect", headers=basic(app))
    assert "token" in failed(answer, "invalid_request")


def test_revocation(tenant: Tenant, app: Json, machine: Json) -> None:
    mine = tenant.sign_in()
    path = "/v0/oauth/revoke"
    failed(tenant.ask(path, {"token": mine["refresh_token"]}, headers=basic(app)), "invalid_grant")
    failed(tenant.ask(path, {"token": mine["access_token"]}), "invalid_client")
    wrong = basic(machine | {"client_secret": "no"})
    failed(tenant.ask(path, {"token": mine["access_token"]}, headers=wrong), "invalid_client", 401)
    assert tenant.works(mine["access_token"]), "only its own client ends a token"
    body = {"client_id": "blaxel", "token_type_hint": "of_no_kind"}
    assert "token" in failed(tenant.ask(path, body), "invalid_request")
    for unknown in ("nonsense", "ey.a.b", "blr_nonsense"):
        assert done(tenant.ask(path, body | {"token": unknown})) == {}
    renewed = tenant.tokens(refresh_body(mine["refresh_token"]))
    assert done(tenant.ask(path, body | {"token": mine["refresh_token"]})) == {}
    assert not tenant.works(mine["access_token"])
    assert not tenant.works(renewed["access_token"]), "a used token ends its family as well"
    failed(tenant.token(refresh_body(mine["refresh_token"])), "invalid_grant")
    assert done(tenant.ask(path, body | {"token": mine["refresh_token"]})) == {}
