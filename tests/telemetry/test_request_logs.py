"""What is kept of the content of calls: nothing, shapes, or redacted text under encryption."""

import sqlite3
from collections.abc import Callable

import httpx
import pytest

from platform_server import KEY, Server

from .calls import call, shown, until
from .provider import Provider

MAIL = "jane@example.com"
ON = {"gateway": {"requestLog": {"enabled": True}}}
FULL = {"gateway": {"requestLog": {"enabled": True, "content": True, "retentionDays": 2}}}
PROMPT = f"remember {MAIL} and 4111 1111 1111 1111 please"


def test_nothing_is_kept_unless_it_is_asked_for(api: httpx.Client, provider: Provider) -> None:
    model = provider.model(api)
    answer = call(api, model, PROMPT)
    shown(api, answer)
    found = api.get(f"/v0/model-requests/{answer.headers['x-request-id']}/log")
    assert (found.status_code, "requestLog" in found.text) == (404, True)
    off = provider.model(api, gateway={"requestLog": {"enabled": False, "content": True}})
    answer = call(api, off, PROMPT)
    shown(api, answer)
    assert api.get(f"/v0/model-requests/{answer.headers['x-request-id']}/log").status_code == 404


@pytest.mark.parametrize("stream", [False, True])
def test_shapes_tell_without_content(api: httpx.Client, provider: Provider, stream: bool) -> None:
    answer = call(api, provider.model(api, **ON), PROMPT, stream=stream, temperature=0.5)
    assert answer.status_code == 200
    kept = shown(api, answer, "/log")
    asked, told = kept["shape"]["request"], kept["shape"]["answer"]
    assert (asked["messages"], asked["roles"], asked["lengths"]) == (1, ["user"], [len(PROMPT)])
    assert asked["parameters"]["temperature"] == 0.5
    assert told["text"] == len(PROMPT) + (0 if stream else len("You said: "))
    assert told["bytes"] > told["text"]
    assert "request" not in kept
    assert "remember" not in str(kept)


@pytest.mark.parametrize("stream", [False, True])
def test_content_is_kept_without_personal_data(
    api: httpx.Client, provider: Provider, stream: bool
) -> None:
    answer = call(api, provider.model(api, **FULL), PROMPT, stream=stream)
    assert MAIL in answer.text.replace('"}}]}\n\ndata: {"choices": [{"delta": {"content": "', "")
    kept = shown(api, answer, "/log")
    assert "remember [email] and [card] please" in kept["request"]
    assert "remember [email] and [card] please" in kept["answer"]
    assert MAIL not in str(kept)
    assert kept["redactions"] == {"email": 2, "card": 2}


def test_failures_are_kept_too(api: httpx.Client, provider: Provider) -> None:
    kept = shown(api, call(api, provider.model(api, **FULL), "fail"), "/log")
    assert "slow down" in kept["answer"]


def test_the_providers_key_is_not_kept(api: httpx.Client, provider: Provider) -> None:
    """Also one that looks like no key, in an answer that is no error."""
    model = provider.model(api, key="plain words of nobody", **FULL)
    kept = shown(api, call(api, model, "leak"), "/log")
    assert '"asked":"Bearer [redacted]"' in kept["answer"]


def test_long_content_is_cut(api: httpx.Client, provider: Provider) -> None:
    kept = shown(api, call(api, provider.model(api, **FULL), "x" * 300_000), "/log")
    assert kept["truncated"]
    assert max(len(kept["request"]), len(kept["answer"])) <= 64 * 1024
    assert kept["shape"]["request"]["lengths"] == [300_000]


def test_only_admins_read_it(server: Server, api: httpx.Client, provider: Provider) -> None:
    answer = call(api, provider.model(api, **FULL), PROMPT)
    shown(api, answer, "/log")
    made = api.post("/v0/service_accounts", json={"name": "reader", "role": "member"}).json()
    path = f"/v0/service_accounts/{made['client_id']}/api_keys"
    key = api.post(path, json={"name": "k"}).json()["apiKey"]
    with server.client_for(key) as member:
        request = f"/v0/model-requests/{answer.headers['x-request-id']}"
        assert member.get(request).status_code == 200
        assert member.get(f"{request}/log").status_code == 403


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"content": True}, "enabled"),
        ({"enabled": True, "retentionDays": 0}, "retentionDays"),
        ({"enabled": True, "retentionDays": 366}, "retentionDays"),
        ({"enabled": "yes"}, "enabled"),
        ({"enabled": True, "contents": True}, "contents"),
    ],
)
def test_settings_without_sense_are_named(api: httpx.Client, wanted: dict, field: str) -> None:
    spec = {"runtime": {"type": "openai"}, "gateway": {"requestLog": wanted}}
    answer = api.post("/v0/models", json={"metadata": {"name": "senseless"}, "spec": spec})
    assert (answer.status_code, field in answer.text) == (400, True), answer.text


def test_on_the_disk_it_is_sealed_and_goes_with_its_model(
    new_server: Callable[..., Server], provider: Provider
) -> None:
    server = new_server().start()
    with server.client_for(KEY) as api:
        model, other = provider.model(api, **FULL), provider.model(api, **FULL)
        answer, kept = call(api, model, PROMPT), call(api, other, PROMPT)
        shown(api, answer, "/log")
        shown(api, kept, "/log")
        with sqlite3.connect(server.data_dir / "usage.db") as db:
            rows = db.execute("SELECT * FROM model_request_logs").fetchall()
        assert len(rows) == 2
        assert "remember" not in str(rows)
        assert api.delete(f"/v0/models/{model}").is_success
        path = f"/v0/model-requests/{answer.headers['x-request-id']}"
        until(lambda: api.get(f"{path}/log").status_code == 404)
        assert api.get(path).status_code == 200
        shown(api, kept, "/log")


def test_a_model_that_went_unnoticed_leaves_nothing_after_the_next_start(
    new_server: Callable[..., Server], provider: Provider
) -> None:
    server = new_server().start()
    with server.client_for(KEY) as api:
        answer = call(api, provider.model(api, **FULL), PROMPT)
        shown(api, answer, "/log")
    server.stop()
    with sqlite3.connect(server.data_dir / "usage.db") as db:
        db.execute("UPDATE model_request_logs SET resource_id = 'gone'")
    server.start()
    with server.client_for(KEY) as api:
        path = f"/v0/model-requests/{answer.headers['x-request-id']}"
        until(lambda: api.get(f"{path}/log").status_code == 404)
        assert api.get(path).status_code == 200
