"""What attackers and broken clients send to the endpoints that tokens come from."""

import base64
import re
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from serai.kernel.clock import rfc3339
from serai.store.tables.oauth import device_codes, oauth_codes

from .conftest import (
    LOOPBACK,
    Json,
    Tenant,
    asking,
    basic,
    code_body,
    device_body,
    done,
    failed,
    pkce,
    refresh_body,
)

ENDPOINTS = ["/v0/oauth/token", "/v0/oauth/revoke", "/v0/oauth/introspect", "/v0/login/device"]


@pytest.mark.parametrize(
    ("body", "error", "named"),
    [
        ({}, "invalid_request", "grant_type"),
        ({"grant_type": ""}, "invalid_request", "grant_type"),
        ({"grant_type": 'pass"word\u00e9'}, "invalid_request", "grant_type"),
        ({"grant_type": "password"}, "unsupported_grant_type", "grant_type 'password'"),
        ({"grant_type": "implicit"}, "unsupported_grant_type", "grant_type"),
        ({"grant_type": "client_credentials"}, "invalid_client", "client_id is missing"),
        ({"grant_type": "refresh_token"}, "invalid_request", "refresh_token"),
        ({"grant_type": "authorization_code", "client_id": "blaxel"}, "invalid_request", "code"),
        ({"grant_type": "refresh_token", "refresh_token": 7}, "invalid_request", "refresh_token"),
        (device_body(""), "invalid_request", "device_code"),
        (device_body("bld_no"), "invalid_grant", "device_code"),
        (device_body("x" * 9000), "invalid_request", "device_code"),
        (code_body("no", "v" * 43), "invalid_grant", "code"),
        (refresh_body("blr_\x00"), "invalid_request", "refresh_token"),
        (refresh_body("blr_no"), "invalid_grant", "refresh_token"),
        (refresh_body("blr_no", client_id="nobody"), "invalid_client", "client_id"),
        (refresh_body("blr_no", client_secret="x"), "invalid_client", "client_secret"),
    ],
)
def test_token_requests_that_cannot_be_answered(
    tenant: Tenant, body: Json, error: str, named: str
) -> None:
    assert named in failed(tenant.anyone.post("/v0/oauth/token", json=body), error)
    if all(isinstance(value, str) and value.isascii() for value in body.values()):
        assert named in failed(tenant.token(body), error)


def test_a_wrong_secret_names_the_parameter_and_nobody(tenant: Tenant, machine: Json) -> None:
    body = {"grant_type": "client_credentials"}
    wrong = machine | {"client_secret": "bls_wrong"}
    absent = {"client_id": "sa-nobody", "client_secret": "bls_wrong"}
    for client in (wrong, absent):
        in_header = failed(tenant.token(body, headers=basic(client)), "invalid_client")
        in_body = failed(tenant.token(body | client), "invalid_client")
        assert "client_secret" in in_header
        assert "client_secret" in in_body
        assert client["client_id"] not in in_header + in_body
    told = [failed(tenant.token(body | one), "invalid_client") for one in (wrong, absent)]
    assert told[0] == told[1], "nobody learns which machines exist"
    lacking = [
        failed(tenant.token(body | {"client_id": one["client_id"]}), "invalid_client")
        for one in (machine, absent)
    ]
    assert "client_secret" in lacking[0]
    assert lacking[0] == lacking[1]


@pytest.mark.parametrize(
    "header",
    ["Basic", "Basic !!!!", "Basic /w==", "Basic bm8tY29sb24=", "basic OmFiYw=="],
)
def test_malformed_basic_headers(tenant: Tenant, header: str) -> None:
    body = {"grant_type": "client_credentials"}
    failed(tenant.token(body, headers={"Authorization": header}), "invalid_client")


def test_two_ways_of_authentication_at_once(tenant: Tenant, machine: Json) -> None:
    body = {"grant_type": "client_credentials"}
    secret = {"client_secret": machine["client_secret"]}
    text = failed(tenant.token(body | secret, headers=basic(machine)), "invalid_request")
    assert "client_secret" in text
    other = {"client_id": "blaxel"}
    text = failed(tenant.token(body | other, headers=basic(machine)), "invalid_request")
    assert "client_id" in text


def test_a_bearer_token_is_no_client(tenant: Tenant, machine: Json) -> None:
    """One SDK sends its access token along; that changes nothing."""
    headers = {"X-Blaxel-Authorization": "Bearer stale", "Authorization": "Bearer stale"}
    body = {"grant_type": "client_credentials"} | {
        name: machine[name] for name in ("client_id", "client_secret")
    }
    assert tenant.token(body, headers=headers).status_code == 200
    assert tenant.token({"grant_type": "client_credentials"}, headers=headers).status_code == 400


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b"{"),
        ("application/json", b"[]"),
        ("application/json", b'"text"'),
        ("application/json", b"[" * 50_000),
        ("application/json", b'{"grant_type": "a", "grant_type": "a"}'),
        ("application/json", b'{"client_id": {"client_id": "blaxel"}}'),
        ("application/json", b'{"client_id": "\\ud800"}'),
        ("application/json", b"\xff\xfe"),
        ("application/x-www-form-urlencoded", b"client_id=a&client_id=a"),
        ("application/x-www-form-urlencoded", b"\xff=\xff"),
        ("application/x-www-form-urlencoded", b"a=&" * 100),
        ("application/x-www-form-urlencoded", b"client_id=%00"),
        ("multipart/form-data; boundary=x", b"--x--"),
        ("text/plain", b"grant_type=client_credentials"),
        ("", b"grant_type=client_credentials"),
    ],
)
def test_bodies_that_are_no_parameters(tenant: Tenant, path: str, kind: str, body: bytes) -> None:
    answer = tenant.anyone.post(path, content=body, headers={"Content-Type": kind})
    failed(answer, "invalid_request")


@pytest.mark.parametrize("path", ENDPOINTS)
def test_bodies_that_are_too_large(tenant: Tenant, path: str) -> None:
    big = b"client_id=" + b"x" * 70_000
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    failed(tenant.anyone.post(path, content=big, headers=form), "invalid_request", 413)
    assert tenant.anyone.post(path, content=b"x" * (11 << 20), headers=form).status_code == 413


@pytest.mark.parametrize("path", ENDPOINTS)
def test_only_posts(tenant: Tenant, path: str) -> None:
    for method in ("GET", "PUT", "DELETE"):
        assert tenant.anyone.request(method, path).status_code == 405


def test_parameters_in_the_query_count_for_nothing(tenant: Tenant, machine: Json) -> None:
    path = "/v0/oauth/token?grant_type=client_credentials"
    failed(tenant.anyone.post(path, headers=basic(machine)), "invalid_request")


def test_a_code_is_good_once_and_a_replay_ends_what_came_from_it(tenant: Tenant) -> None:
    verifier, challenge = pkce()
    code = tenant.answer(asking(**challenge))["code"]
    tokens = tenant.tokens(code_body(code, verifier))
    assert tenant.works(tokens["access_token"])
    failed(tenant.token(code_body(code, verifier)), "invalid_grant")
    assert not tenant.works(tokens["access_token"])
    failed(tenant.token(refresh_body(tokens["refresh_token"])), "invalid_grant")


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"code_verifier": "w" * 43}, "invalid_grant"),
        ({"code_verifier": "short"}, "invalid_request"),
        ({"code_verifier": ""}, "invalid_request"),
        ({"redirect_uri": "http://127.0.0.1:4712/callback"}, "invalid_grant"),
        ({"redirect_uri": LOOPBACK + "/"}, "invalid_grant"),
        ({"redirect_uri": ""}, "invalid_grant"),
        ({"client_id": "nobody"}, "invalid_client"),
    ],
)
def test_a_code_needs_all_it_was_bound_to(tenant: Tenant, more: Json, error: str) -> None:
    verifier, challenge = pkce()
    code = tenant.answer(asking(**challenge))["code"]
    failed(tenant.token(code_body(code, verifier) | more), error)
    assert tenant.token(code_body(code, verifier)).status_code == 200, "its owner still can"


def test_a_code_of_another_client(tenant: Tenant) -> None:
    client = tenant.register()
    params = {"response_type": "code", "client_id": client["client_id"], "scope": "openid"}
    code = tenant.answer(params)["code"]
    failed(tenant.token(code_body(code, "v" * 43)), "invalid_grant")
    other = tenant.register()
    body = {"grant_type": "authorization_code", "code": code}
    failed(tenant.token(body, headers=basic(other)), "invalid_grant")
    assert tenant.token(body, headers=basic(client)).status_code == 200


def test_a_verifier_without_a_challenge(tenant: Tenant) -> None:
    """Else somebody could strip the challenge from a request (RFC 9700, section 4.8)."""
    client = tenant.register()
    params = {"response_type": "code", "client_id": client["client_id"], "scope": "openid"}
    body = {"grant_type": "authorization_code", "code": tenant.answer(params)["code"]}
    more = {"code_verifier": "v" * 43}
    failed(tenant.token(body | more, headers=basic(client)), "invalid_request")


def test_codes_live_for_a_minute(tenant: Tenant) -> None:
    verifier, challenge = pkce()
    code = tenant.answer(asking(**challenge), at=datetime.now(UTC) - timedelta(seconds=61))["code"]
    assert "expired" in failed(tenant.token(code_body(code, verifier)), "invalid_grant")


@pytest.mark.parametrize(
    "change", [{"sign_in_id": "ended"}, {"user_id": "nobody"}, {"workspace": "gone", "bound": True}]
)
def test_a_code_ends_with_what_it_came_from(tenant: Tenant, change: Json) -> None:
    verifier, challenge = pkce()
    code = tenant.answer(asking(**challenge))["code"]
    mine = oauth_codes.c.digest == tenant.vault.digest(code)
    tenant.write(lambda conn: conn.execute(update(oauth_codes).where(mine).values(change)))
    failed(tenant.token(code_body(code, verifier)), "invalid_grant")


def test_scope_is_never_widened(tenant: Tenant, machine: Json) -> None:
    narrow = {"grant_type": "client_credentials", "scope": "agents:list"}
    tokens = tenant.tokens(narrow, headers=basic(machine))
    body = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    wider = body | {"scope": "agents:list models:list"}
    failed(tenant.token(wider, headers=basic(machine)), "invalid_scope")
    api = tenant.client(tenant.tokens(body, headers=basic(machine))["access_token"])
    assert api.get("/v0/agents").status_code == 200
    assert api.get("/v0/models").status_code == 403
    person = {"grant_type": "client_credentials", "scope": "openid"}
    assert "openid" in failed(tenant.token(person, headers=basic(machine)), "invalid_scope")


def test_a_scope_may_be_narrowed_for_one_token(tenant: Tenant) -> None:
    tokens = tenant.sign_in("agents:list models:list")
    narrow = tenant.tokens(refresh_body(tokens["refresh_token"], scope="agents:list"))
    assert tenant.client(narrow["access_token"]).get("/v0/models").status_code == 403
    full = tenant.tokens(refresh_body(narrow["refresh_token"]))
    assert tenant.client(full["access_token"]).get("/v0/models").status_code == 200


def test_registered_applications_act_for_people_only(tenant: Tenant) -> None:
    client = tenant.register()
    body = {"grant_type": "client_credentials"}
    failed(tenant.token(body, headers=basic(client)), "unauthorized_client")


def test_devices_that_are_refused_too_late_or_played_again(tenant: Tenant) -> None:
    from serai.oauth import devices

    started = done(tenant.ask("/v0/login/device", {"client_id": "blaxel"}))
    spelled = started["user_code"].lower().replace("-", " ")

    def deny(conn: Any) -> None:
        device = devices.find(conn, spelled, datetime.now(UTC))
        assert device is not None
        devices.deny(conn, device)

    tenant.write(deny)
    failed(tenant.token(device_body(started["device_code"])), "access_denied")

    started = done(tenant.ask("/v0/login/device", {"client_id": "blaxel"}))
    mine = device_codes.c.user_code == started["user_code"]
    past = {"expires_at": rfc3339(datetime.now(UTC))}
    tenant.write(lambda conn: conn.execute(update(device_codes).where(mine).values(past)))
    failed(tenant.token(device_body(started["device_code"])), "expired_token")
    assert (
        tenant.write(lambda conn: devices.find(conn, started["user_code"], datetime.now(UTC)))
        is None
    )

    code, tokens = tenant.device_sign_in()
    failed(tenant.token(device_body(code)), "invalid_grant")
    assert not tenant.works(tokens["access_token"])


def test_a_device_code_is_one_clients(tenant: Tenant) -> None:
    client = tenant.register()
    started = done(tenant.ask("/v0/login/device", {"scope": "openid"}, headers=basic(client)))
    tenant.agree_to_device(started["user_code"])
    failed(tenant.token(device_body(started["device_code"])), "invalid_grant")
    body = device_body(started["device_code"])
    del body["client_id"]
    assert tenant.tokens(body, headers=basic(client))["id_token"]


def test_a_refresh_with_another_devices_code(tenant: Tenant) -> None:
    code, tokens = tenant.device_sign_in()
    body = refresh_body(tokens["refresh_token"])
    for wrong in ("bld_" + secrets.token_hex(20), "x"):
        text = failed(tenant.token(body | {"device_code": wrong}), "invalid_grant")
        assert "device_code" in text
    assert tenant.token(body | {"device_code": code}).status_code == 200


def test_many_waiting_devices_of_one_address(tenant: Tenant) -> None:
    body = {"client_id": "blaxel"}
    answers = [tenant.ask("/v0/login/device", body) for _ in range(101)]
    failed(answers[-1], "temporarily_unavailable")
    waits = device_codes.c.status == "pending"
    tenant.write(
        lambda conn: conn.execute(update(device_codes).where(waits).values(status="denied"))
    )


def test_user_codes_are_easy_to_type(tenant: Tenant) -> None:
    started = done(tenant.ask("/v0/login/device", {"client_id": "blaxel"}))
    assert re.fullmatch(r"([B-DF-HJ-NP-TV-XZ]{4}-?){2}", started["user_code"])


def test_no_secret_is_logged_or_kept_for_a_second_time(tenant: Tenant, machine: Json) -> None:
    headers = basic(machine) | {"Idempotency-Key": "once"}
    body = {"grant_type": "client_credentials"}
    first, second = (tenant.token(body, headers=headers) for _ in range(2))
    assert "idempotent-replayed" not in second.headers
    tokens, others = done(first), done(second)
    assert tokens["refresh_token"] != others["refresh_token"]
    tenant.server.logged(path="/v0/oauth/token", status=200)
    log = tenant.server.log.read_text()
    pair = base64.b64encode(f"{machine['client_id']}:{machine['client_secret']}".encode()).decode()
    for secret in (tokens["refresh_token"], tokens["access_token"], pair):
        assert secret not in log
    assert machine["client_secret"] not in log
