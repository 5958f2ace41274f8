"""What running costs, over HTTP."""

import time
from collections.abc import Callable

import httpx
import pytest

from platform_server import Server, today


def account_of(api: httpx.Client) -> str:
    """The account of the key."""
    accounts = api.get("/v0/accounts").json()
    assert len(accounts) == 1
    return str(accounts[0]["id"])


@pytest.mark.sandbox
def test_a_sandbox_costs_what_it_ran(new_server: Callable[..., Server]) -> None:
    server = new_server().start()
    api = server.client
    body = {"metadata": {"name": "metered"}, "spec": {"runtime": {"memory": 2048}}}
    begin = time.time()
    assert api.post("/v0/sandboxes", json=body).status_code == 200
    account = account_of(api)
    time.sleep(2)

    def used() -> tuple[float, float]:
        answer = api.get(
            f"/v0/accounts/{account}/metrics",
            params=today(groupBy="billing_dimension", resourceName="metered"),
        )
        assert answer.status_code == 200, answer.text
        row = answer.json()["data"][0]
        assert row["billingDimension"] == "sandbox_compute_runtime_gbs"
        return row["summary"]["usage"], row["summary"]["cost"]

    usage, cost = used()
    assert 0 < usage <= 2 * (time.time() - begin) * 1.01
    assert cost > 0
    api.delete("/v0/sandboxes/metered")
    final, _ = used()
    assert final >= usage
    time.sleep(1)
    assert used()[0] == final
    server.kill()
    server.start()
    assert used()[0] == final


@pytest.mark.parametrize(
    "path", ["metrics", "metrics/export", "metrics/enums/group-by", "prices", "budgets"]
)
def test_another_account_is_not_there(api: httpx.Client, path: str) -> None:
    answer = api.get(f"/v0/accounts/acc-somebody-else/{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, 404)


@pytest.mark.parametrize("params", ["startTime=x", "groupBy=colour", "limit=0", "cursor=x"])
def test_parameters_are_checked(api: httpx.Client, params: str) -> None:
    name, _, value = params.partition("=")
    answer = api.get(f"/v0/accounts/{account_of(api)}/metrics", params=today() | {name: value})
    assert (answer.status_code, answer.json()["code"]) == (400, 400)
    assert name in answer.json()["message"]
