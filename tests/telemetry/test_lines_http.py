"""Logs over HTTP: bad questions, streams, whose they are, and what else becomes a line."""

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from platform_server import KEY, Server

from .calls import call, shown, until
from .provider import Provider
from .test_lines_otlp import request, text

PATH = "/v0/observability/logs"


def say(api: httpx.Client, name: str, *texts: str, kind: str = "agents", **more: Any) -> None:
    """Have a resource print lines."""
    lines = [{"timeUnixNano": str(time.time_ns()), "body": text(one), **more} for one in texts]
    answer = api.post("/v1/logs", json=request(*lines, workload__type=kind, workload__id=name))
    assert answer.status_code == 200, answer.text


def read(api: httpx.Client, name: str, kind: str = "agents", **params: Any) -> list[dict[str, Any]]:
    """The lines of a resource, the oldest first."""
    query = {"resourceType": kind, "workloadIds": name, "order": "asc"} | params
    answer = api.get(PATH, params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()[name]["logs"]
    return found


def messages(api: httpx.Client, name: str, kind: str = "agents", **params: Any) -> list[str]:
    return [each["message"] for each in read(api, name, kind, **params)]


def until_read(api: httpx.Client, name: str, last: str, kind: str = "agents") -> list[str]:
    """All lines, once the last one is as it should be."""
    return until(lambda: (found := messages(api, name, kind)) and found[-1] == last and found)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"resourceType": ""}, "resourceType"),
        ({"resourceType": "policies"}, "resourceType"),
        ({"start": "yesterday"}, "start"),
        ({"end": "1969-01-01"}, "end"),
        ({"start": "2026-01-02", "end": "2026-01-01"}, "start"),
        ({"type": "build,print"}, "type"),
        ({"severity": "LOUD"}, "severity"),
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"offset": "-1"}, "offset"),
        ({"order": "up"}, "order"),
        ({"search": "x" * 257}, "search"),
        ({"follow": "perhaps"}, "follow"),
        ({"cursor": "abc"}, "cursor"),
        ({"cursor": "abc", "workloadIds": "a,b"}, "cursor"),
        ({"workloadIds": ",".join(f"n{n}" for n in range(51))}, "workloadIds"),
    ],
)
def test_a_bad_question_is_named(api: httpx.Client, params: dict[str, str], said: str) -> None:
    answer = api.get(PATH, params={"resourceType": "agents", "workloadIds": "a"} | params)
    assert (answer.status_code, said in answer.json()["message"]) == (400, True), answer.text


def test_what_the_watcher_of_builds_asks(api: httpx.Client) -> None:
    """As release 0.1.108 of the CLI asks for it, parameters without a value and all."""
    query = {
        "start": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime())}",
        "end": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(time.time() + 3600))}",
        "resourceType": "agents",
        "workloadIds": "watched",
        "type": "all",
        "traceId": "",
        "limit": "1000",
        "offset": "0",
        "severity": "all,UNKNOWN,TRACE,DEBUG,INFO,WARNING,ERROR,FATAL",
        "search": "",
        "taskId": "",
        "executionId": "",
        "interval": "60",
        "workspace": "main",
    }
    assert api.get(PATH, params=query).json() == {"watched": {"logs": [], "totalCount": 0}}
    say(api, "watched", "step 1", "step 2")
    found = until(lambda: api.get(PATH, params=query).json()["watched"]["logs"])
    assert [each["message"] for each in found] == ["step 2", "step 1"]
    assert set(found[0]) >= {"timestamp", "message", "severity", "trace_id"}


@contextmanager
def following(client: httpx.Client, **params: str) -> Iterator["queue.Queue[str | None]"]:
    """Lines of a stream as they come, and ``None`` at its end."""
    got: queue.Queue[str | None] = queue.Queue()
    headers = {"Accept": params.pop("accept", "*/*")}

    def take(answer: httpx.Response) -> None:
        try:
            for each in answer.iter_lines():
                got.put(each)
        except httpx.HTTPError:
            pass
        got.put(None)

    query = {"resourceType": "agents", "follow": "true"} | params
    with client.stream("GET", PATH, params=query, headers=headers) as answer:
        assert answer.status_code == 200
        thread = threading.Thread(target=take, args=(answer,), daemon=True)
        thread.start()
        yield got


def next_lines(got: "queue.Queue[str | None]", count: int) -> list[str]:
    """The texts of the next lines, without pulses."""
    found: list[str] = []
    while len(found) < count:
        each = got.get(timeout=60)
        assert each is not None
        if each.strip(":"):
            found.append(json.loads(each.removeprefix("data: "))["message"])
    return found


@pytest.mark.parametrize("accept", ["*/*", "text/event-stream"])
def test_a_stream_goes_on(server: Server, api: httpx.Client, accept: str) -> None:
    name = f"goes-on-{len(accept)}"
    say(api, name, "one", "two", "three")
    until_read(api, name, "three")
    with (
        server.client_for(KEY) as reader,
        following(reader, workloadIds=name, limit="2", search="E", accept=accept) as got,
    ):
        assert next_lines(got, 2) == ["one", "three"]
        say(api, name, "not this", "here")
        say(api, f"{name}-other", "here too")
        say(api, name, "there")
        assert next_lines(got, 2) == ["here", "there"]


def test_a_stream_ends_with_its_credential(server: Server, api: httpx.Client) -> None:
    made = api.post("/v0/service_accounts", json={"name": "follower", "role": "member"}).json()
    path = f"/v0/service_accounts/{made['client_id']}/api_keys"
    key = api.post(path, json={"name": "k"}).json()
    with server.client_for(key["apiKey"]) as reader, following(reader) as got:
        assert api.delete(f"{path}/{key['id']}").is_success
        while got.get(timeout=60) is not None:
            pass


def test_streams_are_limited(server: Server, api: httpx.Client) -> None:
    with server.client_for(KEY) as reader:
        streams = [following(reader, workloadIds="many") for _ in range(50)]
        for each in streams:
            each.__enter__()
        try:
            query = {"resourceType": "agents", "follow": "true"}
            assert api.get(PATH, params=query).status_code == 429
        finally:
            for each in streams:
                each.__exit__(None, None, None)
        until(lambda: can_follow(reader))


def can_follow(client: httpx.Client) -> bool:
    with client.stream("GET", PATH, params={"resourceType": "agents", "follow": "true"}) as answer:
        return answer.status_code == 200


def test_workspaces_are_apart(new_server: Callable[..., Server]) -> None:
    server = new_server().start()
    main, two = {"X-Blaxel-Workspace": "main"}, {"X-Blaxel-Workspace": "two"}
    with server.client_for(KEY, **main) as api, server.client_for(KEY, **two) as other:
        assert api.post("/v0/workspaces", json={"name": "two"}).is_success
        say(api, "same", "of main")
        say(other, "same", "of the other")
        assert until_read(other, "same", "of the other") == ["of the other"]
        assert until_read(api, "same", "of main") == ["of main"]
        with following(other, limit="1") as got:
            assert next_lines(got, 1) == ["of the other"]
            say(api, "same", "again of main")
            say(other, "same", "again of the other")
            assert next_lines(got, 1) == ["again of the other"]
        say(other, "same", "the last")
        assert api.delete("/v0/workspaces/two").is_success
        assert api.post("/v0/workspaces", json={"name": "two"}).is_success
        until(lambda: messages(other, "same") == [])
        say(other, "same", "of a new one")
        assert until_read(other, "same", "of a new one") == ["of a new one"]
        assert messages(api, "same") == ["of main", "again of main"]


def test_calls_of_models_are_lines(server: Server, api: httpx.Client, provider: Provider) -> None:
    model = provider.model(api)
    answer = call(api, model)
    shown(api, answer)
    request_id = answer.headers["x-request-id"]
    [said] = read(api, model, "models")
    assert f"request={request_id}" in said["message"]
    assert said["message"].startswith("chat 200 in ")
    assert (said["type"], said["severity"], said["trace_id"]) == ("request", 9, "")
    failed = call(api, model, "fail")
    shown(api, failed)
    assert len(read(api, model, "models")) == 2
    [worse] = read(api, model, "models", severity="WARNING,ERROR")
    assert f" {failed.status_code} " in worse["message"]
    assert read(api, model, "models", search=request_id.upper()) == [said]
    assert read(api, model, "models", type="run") == []
    assert read(api, model, "models", traceId="0a" * 16) == []
    assert model in api.get(PATH, params={"resourceType": "models"}).json()
    first = api.get(PATH, params={"resourceType": "models", "workloadIds": model, "limit": 1})
    cursor = first.json()[model]["nextCursor"]
    rest = read(api, model, "models", order="", cursor=cursor)
    assert [*rest, *first.json()[model]["logs"]] == [said, worse]
    with (
        server.client_for(KEY) as reader,
        following(reader, resourceType="models", workloadIds=model) as got,
    ):
        assert next_lines(got, 2) == [said["message"], worse["message"]]
        later = call(api, model)
        assert later.headers["x-request-id"] in next_lines(got, 1)[0]


def secret_agent(name: str, value: str) -> dict[str, Any]:
    env = {"name": "TOKEN", "value": value, "secret": True}
    spec = {"runtime": {"image": "x", "memory": 512, "envs": [env]}}
    return {"metadata": {"name": name}, "spec": spec}


def test_secrets_of_a_resource_are_not_kept(server: Server, api: httpx.Client) -> None:
    made = api.post("/v0/agents", json=secret_agent("discreet", "first-secret-1"))
    assert made.status_code == 200, made.text
    record = {"attributes": [{"key": "token", "value": text("first-secret-1")}]}
    say(api, "discreet", "with first-secret-1", **record)
    [line] = until(lambda: read(api, "discreet", output="otlp"))  # the platform says more
    assert line["message"] == "with ***"
    assert line["attributes"] == {"token": "***"}
    made = api.put("/v0/agents/discreet", json=secret_agent("discreet", "second-secret-2"))
    assert made.status_code == 200, made.text
    say(api, "discreet", "second-secret-2, and of the old revision first-secret-1")
    both = "***, and of the old revision ***"
    until(lambda: messages(api, "discreet", output="otlp")[-1] == both)
    kept = b"".join(path.read_bytes() for path in server.data_dir.glob("logs.db*"))
    assert b"with ***" in kept
    assert b"secret-1" not in kept
    assert b"secret-2" not in kept


def test_a_crash_keeps_what_was_seen(new_server: Callable[..., Server]) -> None:
    server = new_server().start()
    with server.client_for(KEY) as api:
        say(api, "a", *(f"line {n}" for n in range(500)))
        until(lambda: len(read(api, "a", limit=1000)) == 500)
        say(api, "a", "perhaps")
    server.kill()
    server.start()
    with server.client_for(KEY) as api:
        found = messages(api, "a", limit=1000)
        assert found[:500] == [f"line {n}" for n in range(500)]
        assert found[500:] in ([], ["perhaps"])
        say(api, "a", "after")
        until(lambda: messages(api, "a", limit=1000)[-1] == "after")
    assert server.stop() == 0


def test_a_stop_keeps_everything_and_ends_streams(new_server: Callable[..., Server]) -> None:
    server = new_server().start()
    with (
        server.client_for(KEY) as api,
        server.client_for(KEY) as reader,
        following(reader) as got,
    ):
        say(api, "a", *(f"line {n}" for n in range(500)))
        assert server.stop() == 0
        while got.get(timeout=60) is not None:
            pass
    server.start()
    with server.client_for(KEY) as api:
        assert len(messages(api, "a", limit=1000)) == 500


@pytest.mark.sandbox
def test_the_life_of_a_sandbox_is_told(new_server: Callable[..., Server]) -> None:
    server = new_server(SERAI_STANDBY_SECONDS="1").start()
    with server.client_for(KEY) as api:
        body = {"metadata": {"name": "told"}, "spec": {"runtime": {"memory": 512}}}
        assert api.post("/v0/sandboxes", json=body).status_code == 200
        standby = "[serai] The sandbox is in standby."
        found = until_read(api, "told", standby, "sandboxes")
        assert found == ["[serai] The sandbox has started.", standby]
        assert api.get("/main/sandboxes/told/process").status_code == 200
        until(lambda: "[serai] The sandbox goes on." in messages(api, "told", "sandboxes"))
        assert api.delete("/v0/sandboxes/told").status_code == 200
        until_read(api, "told", "[serai] The sandbox has ended for good.", "sandboxes")
        [first, *_] = read(api, "told", "sandboxes")
        assert (first["type"], first["severity"], first.get("output")) == ("run", 9, None)
        bad = {"metadata": {"name": "bad"}, "spec": {"runtime": {"image": "no/such:image"}}}
        assert api.post("/v0/sandboxes", json=bad).status_code >= 400
