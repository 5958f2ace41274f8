"""Authorization requests that were tampered with, and what is told to whom about them."""

from typing import Any

import pytest

from serai.oauth import authorization

from .conftest import (
    CALLBACK,
    LOOPBACK,
    Json,
    Tenant,
    asking,
    basic,
    device_body,
    done,
    failed,
    query_of,
)


def problem_of(tenant: Tenant, params: Json | list[tuple[str, str]]) -> Any:
    """What the page would be told about a request that cannot be fulfilled."""
    with pytest.raises(authorization.AuthorizationProblem) as caught:
        tenant.answer(params)
    return caught.value


@pytest.mark.parametrize(
    "place",
    [
        "http://127.0.0.1.evil.example/callback",
        "http://127.0.0.1:80@evil.example/callback",
        "http://evil.example/callback",
        "https://127.0.0.1/callback",
        "http://127.0.0.1:4711\\@evil.example/",
        "http://127.0.0.1:0/callback",
        "http://127.0.0.1:99999/callback",
        "http://127.0.0.1:4711/callback#fragment",
        "http://127.1/callback",
        "http://2130706433/callback",
        "http://[::ffff:127.0.0.1]/callback",
        "HTTP://127.0.0.1/callback",
        "javascript:alert(1)",
        "data:text/html,x",
        "//127.0.0.1/callback",
        "http://localhost.evil.example/",
        "http://127.0.0.1:4711/call back",
        "http://127.0.0.1:4711/\r\nX: y",
        'http://evil.example/"quoted"',
    ],
)
def test_redirect_uris_that_are_not_loopback(tenant: Tenant, place: str) -> None:
    assert problem_of(tenant, asking(redirect_uri=place)).redirect is None


@pytest.mark.parametrize(
    "place",
    [
        CALLBACK + "/",
        CALLBACK + "/../evil",
        CALLBACK + "?x=1",
        CALLBACK + "#x",
        CALLBACK[:-1],
        CALLBACK.replace("app.example", "app.example.evil.example"),
        CALLBACK.replace("app.example", "app.example:444"),
        CALLBACK.replace("app.example", "app.example:443"),
        CALLBACK.replace("app.example", "evil@app.example"),
        CALLBACK.replace("app.example", "evil.example%2Fapp.example"),
        CALLBACK.replace("app.example", "APP.example"),
        CALLBACK.replace("/callback", "/%63allback"),
        CALLBACK.replace("https", "http"),
        "http://127.0.0.1/callback",
        " " + CALLBACK,
    ],
)
def test_redirect_uris_that_are_not_quite_the_registered_one(tenant: Tenant, place: str) -> None:
    client = tenant.register(name="exact")
    wanted = asking(client_id=client["client_id"], redirect_uri=place, scope="openid")
    assert problem_of(tenant, wanted).redirect is None


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"client_id": None}, "client_id"),
        ({"client_id": "nobody"}, "client_id"),
        ({"client_id": "x\x00"}, "client_id"),
        ({"redirect_uri": None}, "redirect_uri"),
    ],
)
def test_nothing_goes_to_somebody_unknown(tenant: Tenant, params: Json, named: str) -> None:
    problem = problem_of(tenant, asking(**params))
    assert problem.redirect is None
    assert named in problem.message


@pytest.mark.parametrize(
    ("params", "error", "named"),
    [
        ({"response_type": None}, "invalid_request", "response_type"),
        ({"response_type": "token"}, "unsupported_response_type", "response_type"),
        ({"response_type": "code id_token"}, "unsupported_response_type", "response_type"),
        ({"response_mode": "fragment"}, "invalid_request", "response_mode"),
        ({"code_challenge": None}, "invalid_request", "code_challenge"),
        ({"code_challenge_method": None}, "invalid_request", "code_challenge_method"),
        ({"code_challenge_method": "plain"}, "invalid_request", "code_challenge_method"),
        ({"code_challenge": "short"}, "invalid_request", "code_challenge"),
        ({"scope": "openid everything"}, "invalid_scope", "everything"),
        ({"prompt": "none login"}, "invalid_request", "prompt"),
        ({"prompt": "please"}, "invalid_request", "prompt"),
        ({"max_age": "-1"}, "invalid_request", "max_age"),
        ({"max_age": "soon"}, "invalid_request", "max_age"),
        ({"nonce": "x" * 5000}, "invalid_request", "nonce"),
        ({"nonce": "\u00e9"}, "invalid_request", "nonce"),
        ({"request": "ey"}, "request_not_supported", "request"),
        ({"request_uri": "https://x"}, "request_uri_not_supported", "request_uri"),
    ],
)
def test_what_the_client_is_told_by_redirect(
    tenant: Tenant, params: Json, error: str, named: str
) -> None:
    problem = problem_of(tenant, asking(**params))
    assert problem.redirect.startswith(LOOPBACK + "?")
    told = query_of(problem.redirect)
    assert (told["error"], told["state"]) == (error, "s&t=1")
    assert told["iss"] == f"{tenant.server.url}/v0"
    assert named in told["error_description"]


@pytest.mark.parametrize(
    ("name", "by_redirect"), [("client_id", False), ("redirect_uri", False), ("scope", True)]
)
def test_parameters_that_come_twice(tenant: Tenant, name: str, by_redirect: bool) -> None:
    params = asking(scope="openid")
    problem = problem_of(tenant, [*params.items(), (name, params[name])])
    assert (problem.redirect is not None) == by_redirect
    assert name in problem.message


def test_who_does_not_agree(tenant: Tenant) -> None:
    def deny(conn: Any) -> str:
        request = authorization.read_request(conn, tenant.oauth, asking().items())
        return authorization.deny(request)

    told = query_of(tenant.write(deny))
    assert (told["error"], told["state"]) == ("access_denied", "s&t=1")


def test_nobody_gets_more_than_was_asked_for(tenant: Tenant) -> None:
    client = tenant.register(scopes=["openid", "agents:list", "models:list"])
    params = {"response_type": "code", "client_id": client["client_id"], "scope": "agents:list"}
    code = tenant.answer(params, scope="agents:list models:list admin")["code"]
    body = {"grant_type": "authorization_code", "code": code}
    assert tenant.tokens(body, headers=basic(client))["scope"] == "agents:list"


def test_a_scope_that_was_taken_away_meanwhile(tenant: Tenant) -> None:
    client = tenant.register(scopes=["openid", "agents:list"])
    params = {"response_type": "code", "client_id": client["client_id"]}
    code = tenant.answer(params)["code"]
    path = f"/v0/oauth/clients/{client['client_id']}"
    done(tenant.admin.put(path, json={"scopes": ["openid"]}))
    body = {"grant_type": "authorization_code", "code": code}
    assert tenant.tokens(body, headers=basic(client))["scope"] == "openid"


def test_a_device_of_another_account(tenant: Tenant) -> None:
    boss, workspace = tenant.new_account()
    stranger = done(boss.get("/v0/profile"))["sub"]
    client = tenant.register()
    started = done(tenant.ask("/v0/login/device", {}, headers=basic(client)))
    tenant.agree_to_device(started["user_code"], user_id=stranger, workspace=workspace)
    body = device_body(started["device_code"])
    del body["client_id"]
    failed(tenant.token(body, headers=basic(client)), "access_denied")


def test_an_application_of_another_account(tenant: Tenant) -> None:
    boss, _ = tenant.new_account()
    stranger = done(boss.get("/v0/profile"))["sub"]
    client = tenant.register()
    params = {"response_type": "code", "client_id": client["client_id"], "scope": "openid"}
    assert tenant.answer(params, user_id=stranger)["error"] == "access_denied"
