"""Every call of a model can be seen: one by one, in pages, by filters, and by nobody else."""

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from platform_server import KEY, Server

from .calls import call, listed, shown, until
from .provider import Provider


def test_a_call_is_seen_with_all_there_is_to_know(api: httpx.Client, provider: Provider) -> None:
    model = provider.model(api)
    before = datetime.now(UTC) - timedelta(seconds=1)
    answer = call(api, model)
    assert answer.headers["server-timing"].startswith("gw;dur=")
    seen = shown(api, answer)
    assert before < datetime.fromisoformat(seen.pop("time")) < datetime.now(UTC)
    assert 0 < seen.pop("firstByteMs") <= seen.pop("durationMs")
    assert seen.pop("credentialId")
    assert seen.pop("subject")
    assert seen == {
        "requestId": answer.headers["x-request-id"],
        "workspace": "main",
        "model": model,
        "provider": "openai",
        "providerModel": "gpt-real",
        "answeredBy": "gpt-real-2026",
        "operation": "chat",
        "status": 200,
        "tokens": {"input": 11, "output": 5, "cached": 4, "reasoning": 2},
        "attempts": 1,
        "labels": {"team": "blue"},
    }


def test_the_cost_is_that_of_the_bills_prices(api: httpx.Client, provider: Provider) -> None:
    model = provider.model(api)
    account = api.get("/v0/accounts").json()[0]["id"]
    prices = [
        {"billingDimension": "model_input_tokens_count", "perMillion": "2.5", "model": model},
        {"billingDimension": "model_output_tokens_count", "perMillion": "10", "model": model},
    ]
    path = f"/v0/accounts/{account}/prices"
    assert api.put(path, json={"currency": "EUR", "prices": prices}).is_success
    try:
        seen = shown(api, call(api, model))
        assert (seen["cost"], seen["currency"]) == ("0.0000775", "EUR")
        free = shown(api, call(api, provider.model(api)))
        assert "cost" not in free
    finally:
        assert api.delete(path).is_success


def test_a_stream_is_seen_when_it_has_ended(api: httpx.Client, provider: Provider) -> None:
    seen = shown(api, call(api, provider.model(api), "wait 0.2", stream=True))
    assert (seen["streamed"], seen["tokens"]["output"]) == (True, 5)
    assert 200 <= seen["firstByteMs"] <= seen["durationMs"]


def test_failures_and_refusals_are_seen_with_their_cause(
    api: httpx.Client, provider: Provider
) -> None:
    model = provider.model(api)
    failed = shown(api, call(api, model, "fail"))
    assert failed["error"] == {"code": "slow_down", "origin": "provider"}
    assert (failed["status"], "tokens" in failed) == (429, False)
    body = api.get(f"/v0/models/{model}").json()
    body["spec"]["enabled"] = False
    assert api.put(f"/v0/models/{model}", json=body).is_success
    refused = shown(api, call(api, model))
    assert refused["error"] == {"code": "MODEL_DISABLED", "origin": "platform"}
    assert (refused["status"], refused["attempts"]) == (403, 0)


def test_calls_are_paged_newest_first_without_gaps(api: httpx.Client, provider: Provider) -> None:
    model = provider.model(api)
    ids = [call(api, model).headers["x-request-id"] for _ in range(7)]
    until(lambda: len(listed(api, model=model)) == 7)
    found, cursor = [], ""
    for _ in range(4):
        params = {"model": model, "limit": 2} | ({"cursor": cursor} if cursor else {})
        page = api.get("/v0/model-requests", params=params).json()
        assert page["meta"]["total"] == 7
        found += [each["requestId"] for each in page["data"]]
        cursor = page["meta"]["nextCursor"]
    assert found == ids[::-1]
    assert cursor == ""
    stolen = api.get("/v0/model-requests", params={"model": "other", "cursor": "x"})
    assert (stolen.status_code, "cursor" in stolen.text) == (400, True)


def test_filters_leave_out_what_does_not_fit(api: httpx.Client, provider: Provider) -> None:
    model = provider.model(api)
    good, slow, bad = call(api, model), call(api, model, "wait 0.3"), call(api, model, "fail")
    ids = {name: each.headers["x-request-id"] for name, each in
           {"good": good, "slow": slow, "bad": bad}.items()}  # fmt: skip
    until(lambda: len(listed(api, model=model)) == 3)
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    key = listed(api, model=model)[0]["credentialId"]
    for params, names in (
        ({"status": "error"}, ["bad"]),
        ({"status": "4xx"}, ["bad"]),
        ({"status": "429"}, ["bad"]),
        ({"status": "2xx"}, ["slow", "good"]),
        ({"status": "5xx"}, []),
        ({"minLatencyMs": 250}, ["slow"]),
        ({"error": "slow_down"}, ["bad"]),
        ({"startTime": later}, []),
        ({"endTime": later}, ["bad", "slow", "good"]),
        ({"apiKey": key, "provider": "openai"}, ["bad", "slow", "good"]),
        ({"apiKey": "another"}, []),
        ({"operation": "embeddings"}, []),
    ):
        found = [each["requestId"] for each in listed(api, model=model, **params)]
        assert found == [ids[name] for name in names], params


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status", "bad"), ("status", "99"), ("status", "6xx"), ("startTime", "yesterday"),
        ("endTime", "1812-01-01T00:00:00Z"), ("minLatencyMs", "-1"), ("minLatencyMs", "1.5"),
        ("limit", "0"), ("cursor", "~"),
    ],
)  # fmt: skip
def test_a_filter_without_sense_is_named(api: httpx.Client, name: str, value: str) -> None:
    answer = api.get("/v0/model-requests", params={name: value})
    assert answer.status_code == 400
    assert name in answer.text


def test_nobody_sees_calls_of_other_workspaces(
    server: Server, api: httpx.Client, provider: Provider
) -> None:
    model = provider.model(api)
    answer = call(api, model)
    shown(api, answer)
    made = server.run("accounts", "create", "Others", "--email", "x@y.zz", "--workspace", "others")
    key = next(word for word in made.stdout.split() if word.startswith("bl_"))
    path = f"/v0/model-requests/{answer.headers['x-request-id']}"
    with server.client_for(key) as stranger:
        assert listed(stranger) == []
        assert stranger.get(path).status_code == 404
        elsewhere = {"X-Blaxel-Workspace": "main"}
        assert stranger.get(path, headers=elsewhere).status_code == 403
        assert stranger.get("/v0/model-requests", headers=elsewhere).status_code == 403
    assert httpx.get(server.url + path, trust_env=False).status_code == 401


def test_more_calls_than_the_rate_allows_leave_the_failures(
    new_server: Callable[..., Server], provider: Provider
) -> None:
    server = new_server(SERAI_MODEL_REQUEST_RATE="1").start()
    with server.client_for(KEY) as api:
        model = provider.model(api)
        for _ in range(40):
            call(api, model)

        def value(name: str) -> int:
            lines = api.get("/metrics").text.splitlines()
            found = [line.split()[-1] for line in lines if line.startswith(name)]
            return round(sum(map(float, found)))

        until(lambda: value("serai_model_requests_total{") == 40)
        skipped = value('serai_model_request_rows_skipped_total{reason="rate"}')
        assert skipped > 0
        until(lambda: len(listed(api, model=model, limit=100)) == 40 - skipped)


def test_calls_of_the_last_moment_are_there_after_a_stop(
    new_server: Callable[..., Server], provider: Provider
) -> None:
    server = new_server().start()
    with server.client_for(KEY) as api:
        model = provider.model(api)
        ids = [call(api, model).headers["x-request-id"] for _ in range(3)]
    assert server.stop() == 0
    server.start()
    with server.client_for(KEY) as api:
        assert [each["requestId"] for each in listed(api, model=model)] == ids[::-1]


def test_all_but_the_last_second_outlives_a_crash(
    new_server: Callable[..., Server], provider: Provider
) -> None:
    server = new_server().start()
    with server.client_for(KEY) as api:
        model = provider.model(api)
        kept = call(api, model)
        shown(api, kept)
        for _ in itertools.repeat(None, 3):
            call(api, model)
    server.kill()
    server.start()
    with server.client_for(KEY) as api:
        found = {each["requestId"] for each in listed(api, model=model)}
        assert kept.headers["x-request-id"] in found
        shown(api, call(api, model))


def test_attempts_stand_ins_and_the_cache_are_seen(api: httpx.Client, provider: Provider) -> None:
    other = provider.model(api)
    gateway = {
        "retries": {"attempts": 1, "backoffMs": 1},
        "fallbacks": [other],
        "cache": {"ttlSeconds": 60},
    }
    model = provider.model(api, gateway=gateway)
    seen = shown(api, call(api, model, "once"))
    assert (seen["attempts"], seen["cache"], "standIn" in seen) == (1, "miss", False)
    seen = shown(api, call(api, model, "once"))
    assert (seen["attempts"], seen["cache"], seen["status"]) == (0, "hit", 200)
    failed = shown(api, call(api, model, "fail"))
    assert (failed["attempts"], failed["standIn"]) == (3, other)
    assert (failed["model"], failed["error"]["code"]) == (model, "slow_down")
    assert len(listed(api, model=model)) == 3
    assert [each["cache"] for each in listed(api, model=model, cache="hit")] == ["hit"]


def test_what_a_provider_claims_may_be_nonsense(api: httpx.Client, provider: Provider) -> None:
    model = provider.model(api)
    seen = shown(api, call(api, model, "lie"))
    assert seen["answeredBy"] == "mn"
    assert seen["tokens"] == {"input": 10**9, "output": 0}
    shown(api, call(api, model))
    assert api.get("/metrics").status_code == 200
