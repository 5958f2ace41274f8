"""Dry runs of policies over HTTP, against calls that were made."""

import sqlite3
import time
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from platform_server import Server

from .test_model_policies import call
from .test_models import add_model, provider

__all__ = ["provider"]


def window(**more) -> dict:
    end = datetime.now(UTC) + timedelta(minutes=1)
    start = end - timedelta(hours=1)
    return {"startTime": f"{start:%FT%TZ}", "endTime": f"{end:%FT%TZ}"} | more


def tried(api: httpx.Client, calls: int, **body) -> dict:
    """The dry run, once all calls are recorded."""
    deadline = time.monotonic() + 30
    while True:
        answer = api.post("/v0/policy-dry-runs", json=window(**body))
        assert answer.status_code == 200, answer.text
        if answer.json()["calls"] == calls:
            return answer.json()
        assert time.monotonic() < deadline
        time.sleep(0.1)


def tokens(**limits) -> dict:
    return {"type": "maxToken", "maxTokens": {"granularity": "month", "step": 1} | limits}


def test_which_calls_a_policy_would_have_refused(api: httpx.Client, provider: str) -> None:
    one, other = add_model(api, provider), add_model(api, provider)
    assert [call(api, model) for model in (one, one, one, one, other)] == [200] * 5
    found = tried(api, 5, spec=tokens(total=20), models=[one, other])
    assert (found["policy"], found["type"], found["reason"]) == ("spec", "maxToken", None)
    assert (found["tokens"], found["refused"], found["refusedTokens"]) == (80, 2, 32)
    assert found["unrecordedTokens"] == 0
    by_model = {each["model"]: each for each in found["models"]}
    assert (by_model[one]["calls"], by_model[one]["refused"]) == (4, 2)
    assert (by_model[other]["refused"], by_model[other]["firstRefusedAt"]) == (0, None)
    first, second = found["refusals"]
    assert first["time"] <= second["time"]
    assert (first["time"], second["time"]) == (
        by_model[one]["firstRefusedAt"], by_model[one]["lastRefusedAt"],
    )  # fmt: skip
    assert (first["model"], first["tokens"]) == (one, 16)
    assert first["limit"] == {"tokens": "total", "value": 20, "used": 32}
    assert first["resetAt"].endswith("-01T00:00:00.000Z")
    shown = api.get(f"/v0/model-requests/{first['requestId']}")
    assert shown.status_code == 200


def test_a_stored_policy_and_one_of_locations(api: httpx.Client, provider: str) -> None:
    model = add_model(api, provider)
    assert call(api, model) == 200
    body = {"metadata": {"name": "dry"}, "spec": tokens(total=1000)}
    assert api.post("/v0/policies", json=body).is_success
    found = tried(api, 1, policy="dry", models=[model])
    assert (found["policy"], found["refused"], found["refusals"]) == ("dry", 0, [])
    far = {"type": "location", "locations": [{"type": "country", "name": "us"}]}
    found = tried(api, 1, spec=far, models=[model])
    assert (found["refused"], "this machine is in local" in found["reason"]) == (1, True)
    assert found["refusals"][0]["limit"] is None
    assert api.delete("/v0/policies/dry").is_success


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({}, 400, "either policy"),
        ({"policy": "a", "spec": tokens(total=1)}, 400, "either policy"),
        ({"policy": "nobody-made-it"}, 404, "nobody-made-it"),
        ({"spec": tokens()}, 400, "limit above 0"),
        ({"spec": {"type": "flavor", "flavors": [{"name": "warp"}]}}, 400, "no known flavor"),
        ({"spec": tokens(total=1), "endTime": "1999-01-01T00:00:00Z"}, 400, "endTime"),
        ({"spec": tokens(total=1), "hours": 3}, 400, "hours"),
    ],
)
def test_a_dry_run_without_sense_is_refused(api, body: dict, status: int, words: str) -> None:
    answer = api.post("/v0/policy-dry-runs", json=window(**body))
    assert (answer.status_code, words in answer.text) == (status, True), answer.text


def test_calls_of_who_had_the_workspace_before_are_not_seen(
    server: Server, api: httpx.Client, provider: str
) -> None:
    model = add_model(api, provider)
    assert call(api, model) == 200
    tried(api, 1, spec=tokens(total=1), models=[model])
    former = (
        "UPDATE model_requests SET account_id = 'former' WHERE model = ?",
        "UPDATE usage_series SET account_id = 'former' WHERE model = ?",
    )
    with sqlite3.connect(server.data_dir / "usage.db") as usage:
        for statement in former:
            assert usage.execute(statement, [model]).rowcount > 0
    found = tried(api, 0, spec=tokens(total=1), models=[model])
    assert (found["models"], found["unrecordedTokens"]) == ([], 0)
