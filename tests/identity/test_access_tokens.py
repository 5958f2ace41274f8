"""Access tokens: what is believed, and every way in which one can be wrong."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey
from sqlalchemy import update

from serai.identity import changes, grants
from serai.kernel.clock import now
from serai.store.tables.identity import memberships, users

from .conftest import World, done, refused

REFUSED = "This access token is not valid here"


def encode(part: Any) -> str:
    """A part of a JWT."""
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def ask(world: World, token: str, path: str = "/v0/profile") -> httpx.Response:
    return world.client(token).get(path)


def test_a_token_says_who_and_for_what(world: World) -> None:
    token = world.access_token(world.admin, "admin offline_access")
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    profile = done(world.admin.get("/v0/profile"))
    assert {"iss", "aud", "sub", "exp", "iat", "scope", "workspace"} <= claims.keys()
    assert claims["sub"] == profile["sub"]
    assert claims["exp"] - claims["iat"] == 7200
    assert done(ask(world, token)) == profile
    for header in ("Authorization", "X-Blaxel-Authorization"):
        answer = world.anonymous("GET", "/v0/agents", headers={header: f"Bearer {token}"})
        assert answer.status_code == 200, answer.text


def test_a_machine_has_one_too(world: World) -> None:
    api, workspace = world.new_workspace()
    machine = done(api.post("/v0/service_accounts", json={"name": "CI"}))
    path = f"/v0/service_accounts/{machine['client_id']}"
    key = done(api.post(f"{path}/api_keys", json={}))["apiKey"]
    token = world.access_token(world.client(key), workspace=workspace)
    assert done(ask(world, token))["sub"] == machine["client_id"]
    assert done(ask(world, token, "/v0/agents"))["data"] == []
    done(api.delete(path))
    refused(ask(world, token), 401, "AUTHENTICATION_FAILED")


def test_the_home_workspace_is_meant_when_none_is_named(world: World) -> None:
    api, workspace = world.new_workspace()
    done(api.post("/v0/agents", json={"metadata": {"name": "here"}, "spec": {}}))
    token = world.access_token(world.admin, workspace=workspace)
    assert len(done(ask(world, token, "/v0/agents"))["data"]) == 1
    other = world.client(token, "main")
    assert all(a["metadata"]["name"] != "here" for a in done(other.get("/v0/agents"))["data"])


def test_a_bound_grant_reaches_no_other_workspace(world: World) -> None:
    _, workspace = world.new_workspace()
    token = world.access_token(world.admin, workspace=workspace, bound=True)
    profile = done(ask(world, token))
    assert [grant["name"] for grant in profile["workspaces"]] == [workspace]
    assert not profile.get("accountAdmin")
    refused(world.client(token, "main").get("/v0/agents"), 403, "WORKSPACE_FORBIDDEN")
    refused(world.client(token).post("/v0/workspaces", json={"name": "x"}), 403, "ADMIN_REQUIRED")


def test_rights_are_those_of_now(world: World) -> None:
    api, workspace = world.new_workspace()
    person, sub = world.new_user(api, "admin")
    token = world.access_token(person, workspace=workspace)
    policies = {"metadata": {"name": "p"}, "spec": {"type": "flavor", "flavors": []}}
    assert ask(world, token, "/v0/users").status_code == 200
    done(api.put(f"/v0/users/{sub}", json={"role": "member"}))
    refused(world.client(token).post("/v0/policies", json=policies), 403, "ADMIN_REQUIRED")
    done(api.delete(f"/v0/users/{sub}"))
    refused(ask(world, token), 401, "AUTHENTICATION_FAILED")


def test_a_revoked_grant_ends_its_tokens(world: World) -> None:
    grant = world.grant(world.admin)
    token = world.sign(world.claims(grant))
    client = world.client(token)
    done(client.get("/v0/profile"))

    def revoke(conn: Any) -> None:
        grants.revoke(conn, grant.id)
        changes.note(conn)

    world.write(revoke)
    revoked_at = time.monotonic()
    while client.get("/v0/profile").status_code == 200:
        assert time.monotonic() < revoked_at + 5, "another process's revocation was not noticed"
    refused(client.get("/v0/profile"), 401, "AUTHENTICATION_FAILED")


WRONG: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "not yet valid (iat)": lambda c: c | {"iat": c["iat"] + 3600, "exp": c["exp"] + 3600},
    "not yet valid (nbf)": lambda c: c | {"nbf": c["iat"] + 3600},
    "foreign issuer": lambda c: c | {"iss": "https://elsewhere.example/v0"},
    "issuer with a slash more": lambda c: c | {"iss": c["iss"] + "/"},
    "foreign audience": lambda c: c | {"aud": "https://elsewhere.example"},
    "no audience among several": lambda c: c | {"aud": ["a", "b"]},
    "somebody else": lambda c: c | {"sub": "00000000-0000-0000-0000-000000000000"},
    "no such grant": lambda c: c | {"sid": "00000000-0000-0000-0000-000000000000"},
    "no grant": lambda c: {k: v for k, v in c.items() if k != "sid"},
    "no end": lambda c: {k: v for k, v in c.items() if k != "exp"},
    "an end in words": lambda c: c | {"exp": "tomorrow"},
    "too late an end": lambda c: c | {"exp": c["iat"] + 7201},
    "an endless end": lambda c: c | {"exp": 1e999},
    "a list as subject": lambda c: c | {"sub": [c["sub"]]},
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG.keys())
def test_wrong_claims_are_refused(
    world: World, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    token = world.sign(change(world.claims(world.grant(world.admin))))
    answer = ask(world, token)
    assert answer.status_code == 401, answer.text
    assert answer.headers["WWW-Authenticate"].endswith('error="invalid_token"')


def test_an_expired_token_is_told_so(world: World) -> None:
    claims = world.claims(world.grant(world.admin))
    token = world.sign(claims | {"iat": claims["iat"] - 7300, "exp": claims["iat"] - 100})
    assert "refresh" in refused(ask(world, token), 401, "TOKEN_EXPIRED")


def public_forms(world: World) -> list[bytes]:
    """The public key in the forms that a confused library could take for a shared secret."""
    key = world.ring().signing(now()).key
    return [
        key.as_pem(private=False),
        key.as_der(private=False),
        json.dumps(key.as_dict()).encode(),
    ]


def test_no_other_signature_is_believed(world: World) -> None:
    claims = world.claims(world.grant(world.admin))
    good = world.sign(claims)
    header = json.loads(base64.urlsafe_b64decode(good.split(".")[0] + "=="))
    body = encode(claims)
    assert done(ask(world, good))
    strange = ECKey.generate_key("P-256", {"kid": header["kid"]})
    forged = []
    for alg in ("none", "None", "NONE", "nOnE"):
        forged.append(f"{encode(header | {'alg': alg})}.{body}.")
    for secret in public_forms(world):  # what is public, used as a shared secret
        start = f"{encode(header | {'alg': 'HS256'})}.{body}"
        mac = hmac.new(secret, start.encode(), hashlib.sha256).digest()
        forged.append(f"{start}.{encode(mac)}")
    forged.append(jwt.encode(header, claims, strange, algorithms=["ES256"]))
    jwk = strange.as_dict(private=False)
    inside = {"alg": "ES256", "typ": "at+jwt", "jwk": jwk, "kid": header["kid"]}
    forged.append(jwt.encode(inside, claims, strange, algorithms=["ES256"]))
    other = header | {"kid": "unknown"}
    forged.append(jwt.encode(other, claims, strange, algorithms=["ES256"]))
    forged.append(f"{encode(header)}.{body}.")
    forged.append(f"{encode(header | {'crit': ['exp']})}.{body}.{good.split('.')[2]}")
    forged.append(good + "=")
    forged.append(good.replace(".", ".."))
    for token in forged:
        assert ask(world, token).status_code == 401, token


def test_a_token_of_another_kind_is_no_access_token(world: World) -> None:
    claims = world.claims(world.grant(world.admin))
    for kind in ("JWT", "logout+jwt", "", "dpop+jwt"):
        assert REFUSED in refused(
            ask(world, world.sign(claims, kind)), 401, "AUTHENTICATION_FAILED"
        )


def test_an_oversized_token_costs_nothing(world: World) -> None:
    claims = world.claims(world.grant(world.admin))
    token = world.sign(claims | {"padding": "x" * 8000})
    assert ask(world, token).status_code == 401


@settings(max_examples=150, deadline=None)
@given(position=st.integers(min_value=0), replacement=st.sampled_from("Aa0-_.=~ \x7f"))
def test_no_changed_character_survives(
    world: World, changed: str, position: int, replacement: str
) -> None:
    at = position % len(changed)
    token = changed[:at] + replacement + changed[at + 1 :]
    if _bits(token) != _bits(changed):
        assert ask_quickly(world, token) in {400, 401}


def _bits(token: str) -> list[bytes]:
    """What the parts of a token mean; padding bits of base64 mean nothing."""
    try:
        return [base64.urlsafe_b64decode(part + "==") for part in token.split(".")]
    except ValueError:
        return []


def ask_quickly(world: World, token: str) -> int:
    try:
        return world.admin.get(
            "/v0/profile", headers={"X-Blaxel-Authorization": f"Bearer {token}"}
        ).status_code
    except httpx.LocalProtocolError:
        return 401


@pytest.fixture(scope="module")
def changed(world: World) -> str:
    return world.access_token(world.admin)


def test_a_missing_user_has_no_token(world: World) -> None:
    api, workspace = world.new_workspace()
    person, sub = world.new_user(api)
    token = world.access_token(person, workspace=workspace)

    def lose(conn: Any) -> None:
        conn.execute(memberships.delete().where(memberships.c.user_id == sub))
        conn.execute(update(users).where(users.c.id == sub).values(email="gone@example.com"))

    world.write(lose)
    answer = ask(world, token, "/v0/agents")
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"] == "WORKSPACE_REQUIRED"


def test_what_a_bound_grant_ends_elsewhere_is_written_down(world: World) -> None:
    other, first = world.new_account()
    second = done(other.post("/v0/workspaces", json={"name": f"{first}-two"}))["name"]
    ended = world.sign(world.claims(world.grant(other, workspace=first)))
    token = world.access_token(other, workspace=second, bound=True)
    assert ask(world, ended).status_code == 200
    assert world.client(token).delete("/v0/profile/grants").status_code == 200
    refused(ask(world, ended), 401, "AUTHENTICATION_FAILED")
    entries = done(other.get("/v0/audit", params={"workspace": first}))["data"]
    assert any(entry["action"] == "revoke" for entry in entries)
