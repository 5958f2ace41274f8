"""Limits that an operator sets."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from platform_server import KEY, Server


@pytest.fixture
def account(api: httpx.Client) -> Iterator[str]:
    """The id of the account; its limits are gone afterwards."""
    account_id = api.get("/v0/accounts").json()[0]["id"]
    yield account_id
    assert api.put(f"/v0/quotas/account/{account_id}", json=[]).json() == []


def limit(api: httpx.Client, account: str, resource: str, value: int, **more: str) -> Any:
    """Set one limit."""
    sent = [{"resourceType": resource, "value": value} | more]
    answered = api.put(f"/v0/quotas/account/{account}", json=sent)
    assert answered.status_code == 200, answered.text
    return answered.json()


def create(api: httpx.Client, kind: str, name: str) -> httpx.Response:
    """Create a resource."""
    return api.post(f"/v0/{kind}", json={"metadata": {"name": name}, "spec": {}})


@pytest.mark.parametrize("where", [{}, {"workspace": "main"}])
def test_deployments_are_limited(api: httpx.Client, account: str, where: dict[str, str]) -> None:
    assert limit(api, account, "deployments", 2, **where)[0]["used"] == 0
    assert create(api, "agents", "one").status_code == 200
    assert create(api, "functions", "two").status_code == 200
    refused = create(api, "models", "three")
    assert (refused.status_code, refused.json()["error"]) == (402, "USAGE_LIMIT_EXCEEDED")
    details = refused.json()["details"]
    assert (details["limit"], details["used"], details["requested"]) == (2, 2, 1)
    assert "limit" in refused.json()["message"]
    assert "2" in refused.json()["message"]
    policy = {"type": "location", "locations": [{"name": "us", "type": "country"}]}
    body = {"metadata": {"name": f"free{len(where)}"}, "spec": policy}
    assert api.post("/v0/policies", json=body).status_code == 200
    shown = api.get(f"/v0/quotas/account/{account}").json()
    assert shown == [{"resourceType": "deployments", "value": 2, "used": 2} | where]
    api.delete("/v0/agents/one")
    assert create(api, "models", "three").status_code == 200
    for path in ("functions/two", "models/three"):
        api.delete(f"/v0/{path}")


def test_a_limit_holds_under_concurrent_creates(
    server: Server, api: httpx.Client, account: str
) -> None:
    limit(api, account, "deployments", 5)

    def post(number: int) -> int:
        with server.client_for(KEY) as client:
            return create(client, "agents", f"burst-{number}").status_code

    with ThreadPoolExecutor(16) as pool:
        codes = list(pool.map(post, range(20)))
    assert sorted(codes) == [200] * 5 + [402] * 15


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ([{"resourceType": "moons", "value": 1}], "[0].resourceType"),
        ([{"resourceType": "volumes", "value": -1}], "[0].value"),
        ([{"resourceType": "volumes", "value": 1}] * 2, "[1].resourceType"),
        ([{"resourceType": "volumes"}], "value"),
        ({}, "array"),
    ],
)
def test_limits_are_checked(api: httpx.Client, account: str, sent: Any, field: str) -> None:
    answered = api.put(f"/v0/quotas/account/{account}", json=sent)
    assert answered.status_code == 400
    assert field in answered.json()["message"]


def test_other_accounts_and_workspaces(api: httpx.Client, account: str) -> None:
    assert api.get("/v0/quotas/account/acc-other").status_code == 403
    sent = [{"resourceType": "volumes", "value": 1, "workspace": "other"}]
    assert api.put(f"/v0/quotas/account/{account}", json=sent).status_code == 404


@pytest.mark.sandbox
def test_sandboxes_and_their_memory_are_limited(new_server: Callable[..., Server]) -> None:
    server = new_server().start()
    api = server.client
    account = api.get("/v0/accounts").json()[0]["id"]
    spec = {"runtime": {"memory": 512}}

    def sandbox(name: str) -> httpx.Response:
        return api.post("/v0/sandboxes", json={"metadata": {"name": name}, "spec": spec})

    limit(api, account, "sandboxes", 1)
    first = sandbox("one")
    assert first.status_code == 200, first.text
    refused = sandbox("two")
    assert (refused.status_code, refused.json()["code"]) == (402, "USAGE_LIMIT_EXCEEDED")
    assert api.get("/v0/sandboxes/two").status_code == 404
    limit(api, account, "sandbox_memory", 1000)
    refused = sandbox("two")
    assert refused.status_code == 402
    assert refused.json()["details"]["used"] == 512
    api.delete("/v0/sandboxes/one")
    assert sandbox("two").status_code == 200
