"""Budgets that refuse calls of models, through the API, the gateway and a crash."""

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from platform_server import KEY, Server

from .test_models import add_model, ask, provider, tokens_of

__all__ = ["provider"]
numbers = itertools.count()
PRICES = [
    {"billingDimension": "model_input_tokens_count", "perMillion": "1000"},
    {"billingDimension": "model_output_tokens_count", "perMillion": "1800"},
]
"""A call of 11 and 5 tokens costs 0.02."""


@pytest.fixture
def own(new_server: Callable[..., Server]) -> Server:
    """A server that the test may restart."""
    return new_server().start()


@pytest.fixture
def account(api: httpx.Client) -> str:
    return priced(api)


def priced(api: httpx.Client) -> str:
    path = f"/v0/accounts/{api.get('/v0/accounts').json()[0]['id']}"
    assert api.put(f"{path}/prices", json={"currency": "USD", "prices": PRICES}).is_success
    return path


def budget(api: httpx.Client, account: str, amount: str, **fields) -> str:
    name = f"cap-{next(numbers)}"
    body = {"name": name, "amount": amount, "action": "refuse"} | fields
    made = api.post(f"{account}/budgets", json=body)
    assert made.status_code == 200, made.text
    return f"{account}/budgets/{name}"


def call(api: httpx.Client, model: str) -> httpx.Response:
    return api.post(f"/main/models/{model}/v1/chat/completions", json=ask("hello"))


def statuses(api: httpx.Client, model: str, count: int) -> list[int]:
    return [call(api, model).status_code for _ in range(count)]


def test_a_spent_budget_refuses_and_tells_all_about_it(
    api: httpx.Client, account: str, provider: str
) -> None:
    model = add_model(api, provider)
    path = budget(api, account, "0.03", resourceName=model)
    assert statuses(api, model, 3) == [200, 200, 429]
    refused = call(api, model)
    error = refused.json()["error"]
    assert (error["code"], error["origin"], error["retryable"]) == (
        "USAGE_LIMIT_EXCEEDED", "platform", False,
    )  # fmt: skip
    assert (error["limit"], error["spent"], error["currency"]) == ("0.03", "0.04", "USD")
    assert path.endswith(error["budget"])
    assert error["resetAt"].endswith("-01T00:00:00Z")
    assert refused.headers["x-should-retry"] == "false"
    assert int(refused.headers["retry-after"]) > 0
    shown = api.get(path).json()
    assert (shown["action"], shown["per"], shown["spent"]) == ("refuse", "month", "0.04")
    assert "unpriced" not in shown
    assert "secret" not in shown
    raised = {"amount": "0.05", "action": "refuse", "resourceName": model}
    assert api.put(path, json=raised).is_success
    assert statuses(api, model, 2) == [200, 429]
    assert api.delete(path).is_success
    assert statuses(api, model, 2) == [200, 200]


def test_budgets_of_keys_and_labels_refuse_only_these(
    api: httpx.Client, server: Server, account: str, provider: str
) -> None:
    red, blue = add_model(api, provider), add_model(api, provider)
    body = api.get(f"/v0/models/{red}").json()
    body["metadata"]["labels"] = {"team": f"red-{red}"}
    assert api.put(f"/v0/models/{red}", json=body).is_success
    key = api.post("/v0/profile/api_keys", json={"name": "limited"}).json()
    by_label = budget(api, account, "0.03", label=f"team=red-{red}", per="day")
    by_key = budget(api, account, "0.01", apiKey=key["id"])
    with server.client_for(key["apiKey"]) as limited:
        assert statuses(limited, blue, 2) == [200, 429]
        assert call(limited, red).json()["error"]["budget"] == by_key.rpartition("/")[2]
    assert statuses(api, red, 3) == [200, 200, 429]
    assert statuses(api, blue, 1) == [200]
    tokens_of(api, blue, 32)
    shown = [api.get(path).json() for path in (by_label, by_key)]
    assert [one["spent"] for one in shown] == ["0.04", "0.02"]
    assert [one["per"] for one in shown] == ["day", "month"]
    assert (shown[0]["label"], shown[1]["apiKey"]) == (f"team=red-{red}", key["id"])
    for path in (by_label, by_key):
        assert api.delete(path).is_success


def test_what_is_spent_survives_a_crash(own: Server, provider: str) -> None:
    with own.client_for(KEY) as api:
        model, account = add_model(api, provider), priced(api)
        budget(api, account, "0.05", label="team=red", workspace="main")
        body = api.get(f"/v0/models/{model}").json()
        body["metadata"]["labels"] = {"team": "red"}
        assert api.put(f"/v0/models/{model}", json=body).is_success
        assert statuses(api, model, 4) == [200, 200, 200, 429]
        tokens_of(api, model, 48)
    own.kill()
    own.start()
    with own.client_for(KEY) as api:
        assert statuses(api, model, 1) == [429]


def test_calls_at_once_overspend_by_no_more_than_those_at_once(
    api: httpx.Client, account: str, provider: str
) -> None:
    model = add_model(api, provider)
    path = budget(api, account, "0.20", resourceName=model)
    with ThreadPoolExecutor(16) as pool:
        seen = list(pool.map(lambda _: call(api, model).status_code, range(200)))
    assert 10 <= seen.count(200) < 10 + 16
    assert seen.count(200) + seen.count(429) == 200
    assert api.delete(path).is_success


def test_models_without_a_price_are_named(api: httpx.Client, account: str, provider: str) -> None:
    model = add_model(api, provider)
    only = [PRICES[0] | {"model": "another"}]
    assert api.put(f"{account}/prices", json={"currency": "USD", "prices": only}).is_success
    path = budget(api, account, "0.01", resourceName=model)
    assert statuses(api, model, 3) == [200, 200, 200]
    tokens_of(api, model, 48)
    shown = api.get(path).json()
    assert (shown["spent"], shown["unpriced"]) == ("0", [model])
    assert api.delete(path).is_success


def test_a_key_that_nobody_has_is_refused(api: httpx.Client, account: str) -> None:
    body = {"name": "ghost", "amount": "1", "action": "refuse", "apiKey": "no-such-key"}
    refused = api.post(f"{account}/budgets", json=body)
    assert (refused.status_code, "apiKey" in refused.json()["message"]) == (400, True)


def test_a_model_whose_budget_is_spent_does_not_stand_in(
    api: httpx.Client, account: str, provider: str
) -> None:
    spare, other = add_model(api, provider), add_model(api, provider)
    broken = add_model(api, "http://127.0.0.1:9/v1")
    body = api.get(f"/v0/models/{broken}").json()
    body["spec"]["gateway"] = {"fallbacks": [spare, other]}
    assert api.put(f"/v0/models/{broken}", json=body).is_success
    path = budget(api, account, "0.03", resourceName=spare)
    assert statuses(api, broken, 4) == [200] * 4
    assert api.get(path).json()["spent"] == "0.04"
    tokens_of(api, other, 32)
    assert api.delete(path).is_success
