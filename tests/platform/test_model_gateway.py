"""The extra settings of a model: what is kept, and what is refused in which words."""

from typing import Any

import pytest

from .test_models import Provider, add_model, ask, provider, tokens_of

__all__ = ["provider"]


def model(name: str, gateway: Any, **spec: Any) -> dict[str, Any]:
    runtime = {"type": "openai", "model": "m"}
    return {"metadata": {"name": name}, "spec": {"runtime": runtime, "gateway": gateway} | spec}


FULL = {
    "timeoutMs": 2000,
    "retries": {"attempts": 3, "backoffMs": 100, "maxBackoffMs": 2000, "on": [429, 503]},
    "balance": {"weights": {"one": 3, "two": 0}, "coolDownSeconds": 10, "failures": 2},
    "cache": {"ttlSeconds": 60, "maxEntryKb": 64},
}


def test_settings_are_kept_and_answered(api) -> None:
    connections = {"integrationConnections": ["one", "two"]}
    sent = model("settled", FULL, **connections)
    assert api.post("/v0/models", json=sent).json()["spec"]["gateway"] == FULL
    assert api.get("/v0/models/settled").json()["spec"]["gateway"] == FULL
    without = model("settled", None, **connections)
    del without["spec"]["gateway"]
    assert "gateway" not in api.put("/v0/models/settled", json=without).json()["spec"]


@pytest.mark.parametrize(
    ("gateway", "words"),
    [
        ("fast", "spec.gateway"),
        ({"retires": {"attempts": 1}}, "retires"),
        ({"timeoutMs": 0}, "spec.gateway.timeoutMs 0 is outside 1 to 3600000"),
        ({"timeoutMs": "1s"}, "spec.gateway.timeoutMs"),
        ({"timeoutMs": 10**7}, "spec.gateway.timeoutMs"),
        ({"retries": {}}, "spec.gateway.retries.attempts is missing"),
        ({"retries": {"attempts": 0}}, "spec.gateway.retries.attempts 0 is outside 1 to 10"),
        ({"retries": {"attempts": 11}}, "spec.gateway.retries.attempts 11"),
        ({"retries": {"attempts": 1, "backoffMs": 0}}, "spec.gateway.retries.backoffMs 0"),
        ({"retries": {"attempts": 1, "maxBackoffMs": -5}}, "spec.gateway.retries.maxBackoffMs -5"),
        (
            {"retries": {"attempts": 1, "backoffMs": 500, "maxBackoffMs": 100}},
            "backoffMs 500 is above spec.gateway.retries.maxBackoffMs 100",
        ),
        ({"retries": {"attempts": 1, "on": []}}, "spec.gateway.retries.on is empty"),
        ({"retries": {"attempts": 1, "on": [200]}}, "200, which is no error status"),
        ({"retries": {"attempts": 1, "on": ["5xx"]}}, "spec.gateway.retries.on"),
        ({"fallbacks": "other"}, "spec.gateway.fallbacks"),
        ({"fallbacks": ["senseless"]}, "the model 'senseless' itself"),
        ({"fallbacks": ["a", "a"]}, "'a' twice"),
        ({"fallbacks": ["Not A Name"]}, "spec.gateway.fallbacks"),
        ({"fallbacks": list("abcdef")}, "at most 5"),
        ({"balance": {"weights": {"nope": 1}}}, "'nope', which is not in"),
        ({"balance": {"weights": {"one": -1}}}, "spec.gateway.balance.weights.one -1"),
        ({"balance": {"weights": {"one": 1.5}}}, "spec.gateway.balance.weights"),
        ({"balance": {"weights": {"one": 0, "two": 0}}}, "are all 0"),
        ({"balance": {"coolDownSeconds": 0}}, "spec.gateway.balance.coolDownSeconds 0"),
        ({"balance": {"failures": 0}}, "spec.gateway.balance.failures 0"),
        ({"cache": {}}, "spec.gateway.cache.ttlSeconds is missing"),
        ({"cache": {"ttlSeconds": 0}}, "leave spec.gateway.cache out"),
        ({"cache": {"ttlSeconds": -1}}, "spec.gateway.cache.ttlSeconds -1"),
        ({"cache": {"ttlSeconds": 1, "maxEntryKb": 0}}, "spec.gateway.cache.maxEntryKb 0"),
    ],
)
def test_senseless_settings_are_refused_by_name(api, gateway: Any, words: str) -> None:
    sent = model("senseless", gateway, integrationConnections=["one", "two"])
    answer = api.post("/v0/models", json=sent)
    assert answer.status_code == 400
    assert words in answer.json()["message"]
    assert api.get("/v0/models/senseless").status_code == 404


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ({"per": "minute"}, "rateLimits[0] limits nothing"),
        ({"requests": 0, "per": "minute"}, "rateLimits[0].requests 0 is outside"),
        ({"tokens": -5, "per": "minute"}, "rateLimits[0].tokens -5 is outside"),
        ({"requests": 1}, "rateLimits[0].per is missing"),
        ({"requests": 1, "per": "day", "by": "moon"}, "by 'moon' is not one of model, workspace"),
        ({"requests": 1, "per": "day", "by": "label:team"}, "the label 'team', which the model"),
    ],
)
def test_a_rate_limit_without_sense_is_refused(api, limit: dict, words: str) -> None:
    spec = {"gateway": {"rateLimits": [limit]}}
    answer = api.post("/v0/models", json={"metadata": {"name": "senseless"}, "spec": spec})
    assert (answer.status_code, words in answer.json()["message"]) == (400, True), answer.text


def test_the_same_rate_limit_stands_once(api) -> None:
    limits = [{"requests": 1, "per": "day"}, {"tokens": 9, "per": "day", "by": "model"}]
    spec = {"gateway": {"rateLimits": limits}}
    answer = api.post("/v0/models", json={"metadata": {"name": "twice"}, "spec": spec})
    assert "rateLimits[1]: there is a limit per day by model already" in answer.json()["message"]


def connect(api, name: str, integration: str) -> str:
    spec = {"integration": integration, "secret": {"apiKey": "sk-of-this"}}
    if integration.startswith("azure"):
        spec["config"] = {"baseUrl": "https://x.openai.azure.com"}
    made = api.post("/v0/integrations/connections", json={"metadata": {"name": name}, "spec": spec})
    assert made.is_success, made.text
    return name


def test_fallbacks_must_be_there_when_they_are_named(api) -> None:
    sent = model("leaning", {"fallbacks": ["nobody"]}, integrationConnections=["any"])
    answer = api.post("/v0/models", json=sent)
    assert answer.status_code == 400
    assert "spec.gateway.fallbacks names the model 'nobody', which does not" in answer.text
    assert api.post("/v0/models", json=model("nobody", {})).is_success
    assert api.post("/v0/models", json=sent).is_success
    assert api.delete("/v0/models/nobody").is_success
    assert api.get("/v0/models/leaning").is_success


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        ("openai", "mistral", True),
        ("openai", "azure-openai-service", True),
        ("openai", "gemini", True),
        ("cohere", "gemini", True),
        ("openai", "anthropic", False),
        ("gemini", "anthropic", False),
    ],
)
def test_fallbacks_must_speak_an_api_of_the_model(
    api, first: str, second: str, shared: bool
) -> None:
    pair = f"{first[:5]}-{second[:5]}"
    names = [connect(api, f"c{n}-{pair}", kind) for n, kind in enumerate((first, second))]
    other, own = f"other-{pair}", f"own-{pair}"
    runtime = {"model": "m"}
    spec = {"integrationConnections": names[1:], "runtime": runtime}
    assert api.post("/v0/models", json={"metadata": {"name": other}, "spec": spec}).is_success
    spec = {"integrationConnections": names[:1], "runtime": runtime}
    spec["gateway"] = {"fallbacks": [other]}
    answer = api.post("/v0/models", json={"metadata": {"name": own}, "spec": spec})
    assert answer.is_success is shared, answer.text
    if not shared:
        assert "a model of the same API" in answer.json()["message"]


def test_connections_of_one_model_must_be_alike(api) -> None:
    names = [connect(api, f"one-of-{kind}", kind) for kind in ("openai", "groq", "anthropic")]
    assert api.post(
        "/v0/models", json=model("alike", {}, integrationConnections=names[:2])
    ).is_success
    answer = api.post("/v0/models", json=model("mixed", {}, integrationConnections=names))
    assert answer.status_code == 400
    assert "'one-of-openai' and 'one-of-anthropic'" in answer.json()["message"]


def extend(api, name: str, connections: list[str] | None = None, **gateway: Any) -> None:
    body = api.get(f"/v0/models/{name}").json()
    body["spec"]["gateway"] = gateway
    if connections:
        body["spec"]["integrationConnections"] = connections
    answer = api.put(f"/v0/models/{name}", json=body)
    assert answer.is_success, answer.text


def chat(api, name: str, prompt: str):
    return api.post(f"/main/models/{name}/v1/chat/completions", json=ask(prompt))


def test_a_model_that_is_down_falls_back_and_the_other_is_billed(api, provider: str) -> None:
    down, up = add_model(api, "http://127.0.0.1:9/v1"), add_model(api, provider)
    extend(api, down, fallbacks=[up], retries={"attempts": 1, "backoffMs": 1})
    answer = chat(api, down, "hello")
    assert answer.status_code == 200
    assert (answer.headers["x-serai-model"], answer.headers["x-serai-attempts"]) == (up, "3")
    tokens_of(api, up, 16)
    tokens_of(api, down, 0)


def test_fallbacks_answer_for_a_model_that_has_lost_its_connection(api, provider: str) -> None:
    lost, up = add_model(api, provider), add_model(api, provider)
    extend(api, lost, fallbacks=[up])
    place = f"/v0/integrations/connections/{lost}"
    assert api.delete(place).is_success
    assert chat(api, lost, "hello").headers["x-serai-model"] == up, "it is gone"
    spec = api.get(f"/v0/models/{lost}").json()
    spec["spec"]["enabled"] = False
    assert api.put(f"/v0/models/{lost}", json=spec).is_success
    answer = chat(api, lost, "hello")
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "MODEL_DISABLED")


def test_calls_spread_over_connections_as_they_are_written(api, provider: str) -> None:
    one, two = (add_model(api, provider, f"sk-of-{n}-longer") for n in "ab")
    extend(api, one, [one, two], balance={"weights": {one: 1, two: 0}})
    assert {chat(api, one, "x").headers["x-serai-connection"] for _ in range(10)} == {one}
    extend(api, one, [one, two], balance={"weights": {one: 0}})
    assert {chat(api, one, "x").headers["x-serai-connection"] for _ in range(10)} == {two}
    assert Provider.seen[-1][1]["authorization"] == "Bearer sk-of-b-longer"
    extend(api, one, [one, "not-there"])
    assert chat(api, one, "x").status_code == 200, "what is missing is left out"
    assert api.delete(f"/v0/integrations/connections/{one}").is_success
    answer = chat(api, one, "x")
    assert answer.status_code == 503
    assert f"'{one}', which does not exist" in answer.text


def test_answers_from_memory_are_no_tokens_on_the_bill(api, provider: str) -> None:
    name = add_model(api, provider)
    extend(api, name, cache={"ttlSeconds": 60})
    states = [chat(api, name, "the same").headers["x-serai-cache"] for _ in range(3)]
    assert states == ["miss", "hit", "hit"]
    tokens_of(api, name, 16)
