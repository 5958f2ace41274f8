"""Token policies of models through the management API, the gateway and a restart."""

from collections.abc import Callable

import pytest

from platform_server import KEY, Server

from .test_models import add_model, ask, provider, tokens_of

__all__ = ["provider"]


@pytest.fixture
def own(new_server: Callable[..., Server]) -> Server:
    """A server that the test may restart."""
    return new_server().start()


def limit(api, name: str, *models: str, **limits) -> None:
    policy = {"type": "maxToken", "maxTokens": {"granularity": "month", "step": 1} | limits}
    assert api.post("/v0/policies", json={"metadata": {"name": name}, "spec": policy}).is_success
    for model in models:
        body = api.get(f"/v0/models/{model}").json()
        body["spec"]["policies"] = [name]
        assert api.put(f"/v0/models/{model}", json=body).is_success


def call(api, model: str) -> int:
    path = f"/main/models/{model}/v1/chat/completions"
    return api.post(path, json=ask("hello")).status_code


def test_a_policy_holds_from_the_moment_it_is_attached_and_after_a_restart(
    own: Server, provider: str
) -> None:
    with own.client_for(KEY) as api:
        model = add_model(api, provider)
        assert [call(api, model) for _ in range(2)] == [200, 200]
        tokens_of(api, model, 32)
        limit(api, "cap", model, total=40)
        assert [call(api, model) for _ in range(2)] == [200, 429]
        tokens_of(api, model, 48)
    own.stop()
    own.start()
    with own.client_for(KEY) as api:
        assert call(api, model) == 429
        body = api.get("/v0/policies/cap").json()
        body["spec"]["maxTokens"]["total"] = 1000
        assert api.put("/v0/policies/cap", json=body).is_success
        assert call(api, model) == 200


def test_what_was_flushed_is_counted_before_the_first_call_after_a_crash(
    own: Server, provider: str
) -> None:
    with own.client_for(KEY) as api:
        model = add_model(api, provider)
        limit(api, "crash-cap", model, total=40)
        assert [call(api, model) for _ in range(4)] == [200, 200, 200, 429]
        tokens_of(api, model, 48)
    own.kill()
    own.start()
    with own.client_for(KEY) as api:
        assert call(api, model) == 429


def test_a_ratio_refuses_once_the_input_outweighs_the_output(api, provider: str) -> None:
    model = add_model(api, provider)
    limit(api, "balance", model, ratioInputOverOutput=3)
    assert [call(api, model) for _ in range(3)] == [200, 200, 200]
    body = api.get("/v0/policies/balance").json()
    body["spec"]["maxTokens"]["ratioInputOverOutput"] = 2
    assert api.put("/v0/policies/balance", json=body).is_success
    answer = api.post(f"/main/models/{model}/v1/chat/completions", json=ask("hello"))
    assert answer.status_code == 429
    error = answer.json()["error"]
    assert error["limit"] == {"tokens": "ratioInputOverOutput", "value": 2, "used": 3}
    assert "at most 2 input tokens per output token" in error["message"]


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        ({"granularity": "week", "total": 1}, "granularity"),
        ({"granularity": None, "total": 1}, "granularity"),
        ({"granularity": "day", "step": 0, "total": 1}, "step"),
        ({"granularity": "day"}, "input, output or total"),
        ({"granularity": "day", "total": -1}, "input, output or total"),
        ({"granularity": "day", "ratioInputOverOutput": -1}, "ratioInputOverOutput"),
    ],
)
def test_a_policy_without_sense_is_refused(api, limits: dict, field: str) -> None:
    spec = {"type": "maxToken", "maxTokens": limits}
    answer = api.post("/v0/policies", json={"metadata": {"name": "senseless"}, "spec": spec})
    assert answer.status_code == 400
    assert field in answer.text


def test_a_model_whose_policy_is_gone_says_so(api, provider: str) -> None:
    model = add_model(api, provider)
    limit(api, "short-lived", model, total=40)
    assert call(api, model) == 200
    assert api.delete("/v0/policies/short-lived").is_success
    answer = api.post(f"/main/models/{model}/v1/chat/completions", json=ask("hello"))
    assert answer.status_code == 503
    assert "short-lived" in answer.text
