"""Each grant, through a client that others wrote and that knows only the metadata."""

import time

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from identity.conftest import done

from .conftest import CALLBACK, EXACTLY, LOOPBACK, Json, Tenant, basic, device_body, params_of

METHODS = ["client_secret_basic", "client_secret_post"]


@pytest.fixture(scope="module")
def about(tenant: Tenant) -> Json:
    return dict(done(tenant.anyone.get("/v0/.well-known/openid-configuration")))


@pytest.mark.parametrize("method", METHODS)
def test_code_with_pkce_and_a_secret(tenant: Tenant, about: Json, method: str) -> None:
    client = tenant.register(scopes=["openid", "email", "offline_access", "agents:list"])
    app = tenant.independent(
        client,
        method,
        scope="openid email offline_access agents:list",
        redirect_uri=CALLBACK,
        code_challenge_method="S256",
    )
    verifier = "v" * 64
    url, state = app.create_authorization_url(
        about["authorization_endpoint"], code_verifier=verifier, nonce="n-1"
    )
    answer = tenant.answer(params_of(url))
    assert answer["iss"] == about["issuer"]
    assert answer["state"] == state
    token = app.fetch_token(
        about["token_endpoint"], code=answer["code"], state=state, code_verifier=verifier
    )
    assert token["expires_in"] == 7200
    assert token["scope"] == "openid email offline_access agents:list"
    keys = KeySet.import_key_set(done(tenant.anyone.get(about["jwks_uri"])))
    claims = jwt.decode(token["id_token"], keys, algorithms=["ES256"]).claims
    assert (claims["aud"], claims["nonce"]) == (client["client_id"], "n-1")

    assert app.get(about["userinfo_endpoint"]).json() == {
        "sub": tenant.person,
        "email": "admin@localhost",
        "email_verified": claims.get("email_verified", False),
    }
    headers = {"X-Blaxel-Workspace": "main"}
    assert app.get(f"{tenant.server.url}/v0/agents", headers=headers).status_code == 200
    assert app.get(f"{tenant.server.url}/v0/models", headers=headers).status_code == 403

    first = token["refresh_token"]
    renewed = app.refresh_token(about["token_endpoint"], refresh_token=first)
    assert renewed["refresh_token"] != first
    assert app.get(about["userinfo_endpoint"]).status_code == 200
    assert app.revoke_token(about["revocation_endpoint"], renewed["refresh_token"]).json() == {}
    assert not tenant.works(renewed["access_token"])


def test_code_of_a_public_client_on_any_loopback_port(tenant: Tenant, about: Json) -> None:
    client = tenant.register(
        confidential=False, redirect_uris=["http://127.0.0.1/cb"], scopes=["openid", "profile"]
    )
    assert "client_secret" not in client
    app = tenant.independent(
        client,
        "none",
        scope="openid profile",
        redirect_uri="http://127.0.0.1:53111/cb",
        code_challenge_method="S256",
    )
    verifier = "w" * 43
    url, state = app.create_authorization_url(
        about["authorization_endpoint"], code_verifier=verifier
    )
    answer = tenant.answer(params_of(url))
    token = app.fetch_token(
        about["token_endpoint"], code=answer["code"], state=state, code_verifier=verifier
    )
    assert "refresh_token" not in token, "nobody agreed to offline_access"
    assert app.get(about["userinfo_endpoint"]).json()["name"] == "admin"


def test_code_without_pkce_for_a_client_with_a_secret(tenant: Tenant, about: Json) -> None:
    client = tenant.register()
    app = tenant.independent(client, METHODS[0], scope="openid", redirect_uri=CALLBACK)
    url, state = app.create_authorization_url(about["authorization_endpoint"])
    code = tenant.answer(params_of(url))["code"]
    assert app.fetch_token(about["token_endpoint"], code=code, state=state)["id_token"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scope", [None, "agents:list"])
def test_client_credentials(
    tenant: Tenant, about: Json, machine: Json, method: str, scope: str | None
) -> None:
    app = tenant.independent(machine, method)
    more = {"scope": scope} if scope else {}
    token = app.fetch_token(about["token_endpoint"], grant_type="client_credentials", **more)
    assert token.keys() - {"expires_at"} == EXACTLY
    assert token["expires_in"] == 7200
    assert app.get(f"{tenant.server.url}/v0/profile").json()["sub"] == machine["client_id"]
    assert app.get(f"{tenant.server.url}/v0/agents").status_code == 200
    allowed = app.get(f"{tenant.server.url}/v0/models").status_code == 200
    assert allowed == (scope is None), "a scope limits a machine as well"
    renewed = app.refresh_token(about["token_endpoint"], refresh_token=token["refresh_token"])
    assert tenant.works(renewed["access_token"])


def test_device(tenant: Tenant, about: Json) -> None:
    app = tenant.independent({"client_id": "blaxel"}, "none")
    place, asked = about["device_authorization_endpoint"], {"client_id": "blaxel"}
    started = app.request("POST", place, withhold_token=True, data=asked).json()
    assert started["verification_uri"] == f"{tenant.server.url}/device"
    assert started["user_code"] in started["verification_uri_complete"]
    tenant.agree_to_device(started["user_code"])
    body = device_body(started["device_code"])
    del body["client_id"]  # Authlib's client adds it
    token = app.fetch_token(about["token_endpoint"], **body)
    assert token.keys() - {"expires_at"} == EXACTLY
    assert app.get(f"{tenant.server.url}/v0/agents").status_code == 200


def test_the_built_in_client_may_do_what_the_person_may(tenant: Tenant) -> None:
    tokens = tenant.sign_in()
    assert tokens.keys() == EXACTLY
    api = tenant.client(tokens["access_token"])
    assert done(api.get("/v0/workspaces"))
    assert done(api.get("/v0/account/admins"))


def test_a_bound_grant_reaches_one_workspace(tenant: Tenant) -> None:
    _, other = tenant.new_workspace()
    tokens = tenant.sign_in(workspace=other, bound=True)
    api = tenant.client(tokens["access_token"])
    assert done(api.get("/v0/profile"))["workspaces"] == [{"name": other, "role": "admin"}]
    assert done(api.get("/v0/agents"))["data"] == []
    assert tenant.client(tokens["access_token"], "main").get("/v0/agents").status_code == 403


def test_what_the_official_clients_send(tenant: Tenant, machine: Json) -> None:
    """JSON bodies, at both addresses; the shapes are written down in the clients' sources."""
    for path in ("/v0/oauth/token", "/oauth/token", "/api/v0/oauth/token"):
        answer = tenant.anyone.post(
            path, json={"grant_type": "client_credentials"}, headers=basic(machine)
        )
        assert done(answer).keys() == EXACTLY
        assert answer.headers["content-type"] == "application/json"
    asked = {"client_id": "blaxel", "scope": "offline_access"}
    started = done(tenant.anyone.post("/v0/login/device", json=asked))
    assert started["interval"] <= 3
    tenant.agree_to_device(started["user_code"])
    code = started["device_code"]
    tokens = done(tenant.anyone.post("/v0/oauth/token", json=device_body(code)))
    assert tokens.keys() == EXACTLY
    refresh = {"grant_type": "refresh_token", "device_code": code}
    named = refresh | {"refresh_token": tokens["refresh_token"], "client_id": "blaxel"}
    tokens = done(tenant.anyone.post("/v0/oauth/token", json=named))
    assert tokens.keys() == EXACTLY
    nameless = refresh | {"refresh_token": tokens["refresh_token"]}
    tokens = done(tenant.anyone.post("/v0/oauth/token", json=nameless))
    assert tokens.keys() == EXACTLY
    assert tenant.works(tokens["access_token"])


def test_a_three_second_poll_is_never_told_to_slow_down(tenant: Tenant) -> None:
    started = done(tenant.ask("/v0/login/device", {"client_id": "blaxel"}))
    body = device_body(started["device_code"])
    errors = []
    for pause in (0, 3, 3):
        time.sleep(pause)
        errors.append(tenant.token(body).json()["error"])
    assert errors == ["authorization_pending"] * 3
    assert tenant.token(body).json()["error"] == "slow_down"
    tenant.agree_to_device(started["user_code"])
    assert tenant.token(body).status_code == 200


def test_the_loopback_address_of_the_built_in_client_has_any_path(tenant: Tenant) -> None:
    assert tenant.answer(
        {
            "response_type": "code",
            "client_id": "blaxel",
            "redirect_uri": LOOPBACK + "/deeper?x=1",
            "code_challenge": "c" * 43,
            "code_challenge_method": "S256",
        }
    ).keys() == {"x", "code", "iss"}
