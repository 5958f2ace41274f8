"""Every operation with too few scopes and with exactly its own; the other APIs from outside."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from platform_server import today

from .conftest import World, done
from .test_isolation import PARAMETER, Victim, comparable

KINDS = ("agents", "functions", "models", "sandboxes", "jobs")
ID = re.compile(r'"request_id":"([^"]+)"')
CREDENTIALS = ("key", "token", "scoped key", "bound token")


def operations(world: World) -> Iterator[tuple[str, str, frozenset[str]]]:
    """Method, path and scopes of every operation that the server describes."""
    for path, item in done(world.anonymous("GET", "/v0/openapi.json"))["paths"].items():
        for method, operation in item.items():
            if method in {"get", "put", "post", "patch", "delete"}:
                for way in operation.get("security", []):
                    if "OAuth2" in way:
                        yield method.upper(), path, frozenset(way["OAuth2"])


def test_each_operation_asks_for_its_scopes_and_no_others(world: World) -> None:
    api, workspace = world.new_workspace()
    clients: dict[frozenset[str], httpx.Client] = {}

    def client_with(scopes: frozenset[str]) -> httpx.Client:
        if scopes not in clients:
            words = " ".join(sorted(scopes)) or "email"
            signed = world.access_token(api, words, workspace=workspace, bound=True)
            clients[scopes] = world.client(signed, workspace)
        return clients[scopes]

    walked = list(operations(world))
    every = frozenset(scope for _, _, scopes in walked for scope in scopes) - {"admin"}
    assert len(walked) > 150
    assert len(every) > 50
    for method, path, scopes in walked:
        if not path.startswith("/v0/") or not scopes:
            continue
        where = PARAMETER.sub("nowhere", path)
        body: dict[str, Any] = {} if method in {"GET", "DELETE"} else {"json": {}}
        for too_few in {frozenset[str](), every - scopes}:
            refused = client_with(too_few).request(method, where, **body)
            told = f"{method} {path}: {refused.status_code} {refused.text}"
            assert refused.status_code == 403, told
            assert "INSUFFICIENT_SCOPE" in refused.text, told
        passed = client_with(scopes).request(method, where, **body)
        assert passed.status_code < 500, f"{method} {path}: {passed.text}"
        assert "INSUFFICIENT_SCOPE" not in passed.text, f"{method} {path}: {passed.text}"
        if path == "/v0/profile/grants":  # deleting them ends these very credentials
            clients.clear()


@pytest.fixture(scope="module")
def victim(world: World) -> Victim:
    return Victim(world)


@pytest.fixture(params=CREDENTIALS)
def intruder(world: World, request: pytest.FixtureRequest) -> httpx.Client:
    """A client of another account, by several kinds of credential."""
    client, workspace = world.new_account()
    if request.param == "key":
        return client
    if request.param == "scoped key":
        body = {"name": "scoped", "scopes": ["admin"]}
        return world.client(done(client.post("/v0/profile/api_keys", json=body))["apiKey"])
    bound = request.param == "bound token"
    return world.client(world.access_token(client, workspace=workspace, bound=bound))


@pytest.mark.parametrize("kind", KINDS)
def test_the_inference_api_tells_nothing_of_others(
    world: World, victim: Victim, intruder: httpx.Client, kind: str
) -> None:
    for path in ("", "/", "/v1/chat/completions", "/process"):
        for method in ("GET", "POST", "DELETE"):
            theirs = f"/{victim.workspace}/{kind}/{victim.name}{path}"
            nothing = f"/nowhere-at-all/{kind}/nothing-at-all{path}"
            found, missed = (
                intruder.request(method, one, json={"model": "m"}) for one in (theirs, nothing)
            )
            names = (victim.workspace, victim.name, "nowhere-at-all", "nothing-at-all")
            names += tuple(one.headers["x-request-id"] for one in (found, missed))
            assert found.status_code in {403, 404}, f"{method} {theirs}: {found.text}"
            assert comparable(found, *names) == comparable(missed, *names), f"{method} {theirs}"


def test_the_billing_api_tells_nothing_of_others(
    world: World, victim: Victim, intruder: httpx.Client
) -> None:
    for below in ("", "/metrics", "/metrics/groupings", "/metrics/resource-types", "/quotas"):
        query = today() if below == "/metrics" else {}
        found, missed = (
            intruder.get(f"/v0/accounts/{account}{below}", params=query)
            for account in (victim.account, "acc-nowhere00000")
        )
        assert found.status_code in {403, 404}, found.text
        names = (victim.account, "acc-nowhere00000")
        assert comparable(found, *names) == comparable(missed, *names)


def test_only_admins_of_the_account_see_what_other_workspaces_cost(world: World) -> None:
    api, workspace = world.new_workspace()
    boss, _ = world.new_user(api, "admin")
    member, _ = world.new_user(api)
    machine = done(api.post("/v0/service_accounts", json={"name": "m", "role": "admin"}))
    keys = f"/v0/service_accounts/{machine['client_id']}/api_keys"
    account = done(world.admin.get("/v0/accounts"))[0]["id"]
    clients = [boss, member, world.client(done(api.post(keys, json={}))["apiKey"], workspace)]
    clients += [world.client(world.access_token(boss, workspace=workspace), workspace)]
    path = f"/v0/accounts/{account}/metrics"
    for query in ({"workspace": "main"}, {"workspace": workspace}, {"groupBy": "workspace"}):
        for client in clients:
            answer = client.get(path, params=today(**query))
            assert answer.status_code == 403, answer.text
        done(world.admin.get(path, params=today(**query)))
