"""Sandboxes over HTTP: create, reach, replace, expire, delete."""

import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from platform_server import KEY, Server

pytestmark = pytest.mark.sandbox
numbers = itertools.count()


def create(api: httpx.Client, name: str, **runtime: Any) -> dict[str, Any]:
    """A new sandbox."""
    body = {"metadata": {"name": name}, "spec": {"runtime": {"memory": 512} | runtime}}
    response = api.post("/v0/sandboxes", json=body)
    assert response.status_code == 200, response.text
    made: dict[str, Any] = response.json()
    return made


def run(api: httpx.Client, sandbox: str, command: str) -> dict[str, Any]:
    """Run a command to its end."""
    body = {"command": command, "waitForCompletion": True}
    response = api.post(f"/main/sandboxes/{sandbox}/process", json=body)
    assert response.status_code == 200, response.text
    done: dict[str, Any] = response.json()
    return done


def until(true: Callable[[], bool]) -> None:
    """Wait for something that must become true."""
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.05)


@pytest.fixture
def name(api: httpx.Client) -> Iterator[str]:
    """A fresh name whose sandbox goes away with the test."""
    fresh = f"box-{next(numbers)}"
    yield fresh
    api.delete(f"/v0/sandboxes/{fresh}")


def test_a_sandbox_runs_what_it_is_told(api: httpx.Client, name: str, server: Server) -> None:
    made = create(api, name, envs=[{"name": "GREETING", "value": "hello", "secret": True}])
    assert (made["status"], made["state"]) == ("DEPLOYED", "RUNNING")
    assert made["metadata"]["url"] == f"{server.url}/main/sandboxes/{name}"
    assert made["spec"]["runtime"]["image"] == "blaxel/base-image:latest"
    assert "hello" not in str(made)
    done = run(api, name, "echo $GREETING from $(hostname); exit 3")
    assert (done["stdout"], done["exitCode"]) == (f"hello from {name}\n", 3)
    for prefix in ("", "/run"):
        assert api.get(f"{prefix}/main/sandboxes/{name}/health").json()["status"] == "ok"


def test_the_server_names_unnamed_sandboxes(api: httpx.Client) -> None:
    made = api.post("/v0/sandboxes", json={"metadata": {}, "spec": {}}).json()
    assert made["spec"]["runtime"]["memory"] == 4096
    gone = api.delete(f"/v0/sandboxes/{made['metadata']['name']}")
    assert gone.status_code == 200


def test_a_taken_name_is_a_conflict(api: httpx.Client, name: str) -> None:
    first = create(api, name)
    again = api.post("/v0/sandboxes", json=first)
    body = again.json()
    assert (again.status_code, body["code"], body["status_code"]) == (
        409,
        "SANDBOX_ALREADY_EXISTS",
        409,
    )
    assert again.headers["x-should-retry"] == "false"
    kept = api.post("/v0/sandboxes?createIfNotExist=true", json=first)
    assert (kept.status_code, kept.json()["metadata"]) == (200, first["metadata"])


def test_create_if_not_exist_is_atomic(server: Server, api: httpx.Client, name: str) -> None:
    def attempt(_: int) -> tuple[int, str]:
        with server.client_for(KEY) as client:
            body = {"metadata": {"name": name}, "spec": {"runtime": {"memory": 512}}}
            answer = client.post("/v0/sandboxes?createIfNotExist=true", json=body)
            return answer.status_code, answer.json()["metadata"]["createdAt"]

    with ThreadPoolExecutor(20) as pool:
        answers = set(pool.map(attempt, range(20)))
    assert len(answers) == 1
    assert answers.pop()[0] == 200


def test_a_replace_keeps_what_runs(api: httpx.Client, name: str) -> None:
    made = create(api, name, extraArgs={"tun": "enabled"})
    run(api, name, "echo kept > /tmp/file")
    process = api.post(f"/main/sandboxes/{name}/process", json={"command": "sleep 100"}).json()
    made["metadata"]["labels"] = {"a": "b"}
    made["spec"]["runtime"] |= {"ttl": "1h", "extraArgs": {}}
    changed = api.put(f"/v0/sandboxes/{name}", json=made | {"events": [], "errors": []}).json()
    assert changed["metadata"]["labels"] == {"a": "b"}
    assert changed["spec"]["runtime"]["ttl"] == "1h"
    assert changed["spec"]["runtime"]["extraArgs"] == {"tun": "enabled"}
    assert changed["state"] == "RUNNING"
    assert run(api, name, "cat /tmp/file")["stdout"] == "kept\n"
    running = api.get(f"/main/sandboxes/{name}/process/{process['pid']}").json()
    assert running["status"] == "running"
    changed["spec"]["runtime"]["ttl"] = None
    assert "ttl" not in api.put(f"/v0/sandboxes/{name}", json=changed).json()["spec"]["runtime"]
    for field, value in (("memory", 1024), ("image", "other/image")):
        spec = {"runtime": changed["spec"]["runtime"] | {field: value}}
        refused = api.put(f"/v0/sandboxes/{name}", json={"metadata": {}, "spec": spec})
        assert (refused.status_code, refused.json()["code"]) == (400, 400)
        assert f"spec.runtime.{field}" in refused.json()["message"]


def test_new_variables_start_a_sandbox_anew(api: httpx.Client, name: str) -> None:
    envs = [{"name": "A", "value": "old"}, {"name": "KEY", "value": "s3cret", "secret": True}]
    made = create(api, name, envs=envs)
    run(api, name, "echo gone > /tmp/file")
    kept = api.put(f"/v0/sandboxes/{name}", json=made).json()
    assert "s3cret" not in str(kept)
    assert run(api, name, "cat /tmp/file")["stdout"] == "gone\n", "the mask means unchanged"

    kept["spec"]["runtime"]["envs"][0]["value"] = "new"
    changed = api.put(f"/v0/sandboxes/{name}", json=kept).json()
    assert (changed["status"], changed["state"]) == ("DEPLOYED", "RUNNING")
    assert run(api, name, "echo $A $KEY")["stdout"] == "new s3cret\n"
    assert run(api, name, "ls /tmp/file")["exitCode"] != 0
    assert changed["metadata"]["createdAt"] == made["metadata"]["createdAt"]


def test_a_deleted_sandbox_is_gone_but_readable_for_a_while(api: httpx.Client, name: str) -> None:
    create(api, name)
    run(api, name, "echo secret > /tmp/left")
    deleted = api.delete(f"/v0/sandboxes/{name}")
    assert (deleted.status_code, deleted.json()["status"]) == (200, "TERMINATED")
    assert api.get(f"/v0/sandboxes/{name}").json()["status"] == "TERMINATED"
    names = [item["metadata"]["name"] for item in api.get("/v0/sandboxes?limit=200").json()["data"]]
    assert name not in names
    shown = api.get("/v0/sandboxes?limit=200&showTerminated=true").json()["data"]
    assert name in [item["metadata"]["name"] for item in shown]
    assert api.get(f"/main/sandboxes/{name}/health").status_code == 404
    assert api.put(f"/v0/sandboxes/{name}", json=deleted.json()).status_code == 409
    create(api, name)
    assert run(api, name, "ls /tmp/left")["exitCode"] != 0


@pytest.mark.parametrize(
    "limits",
    [
        {"runtime": {"ttl": "1s"}},
        {"lifecycle": {"expirationPolicies": [{"type": "ttl-idle", "value": "1s"}]}},
        {"lifecycle": {"expirationPolicies": [{"type": "ttl-max-age", "value": "1s"}]}},
    ],
)
def test_sandboxes_expire(api: httpx.Client, name: str, limits: dict[str, Any]) -> None:
    body = {"metadata": {"name": name}, "spec": limits}
    assert api.post("/v0/sandboxes", json=body).status_code == 200
    until(lambda: api.get(f"/v0/sandboxes/{name}").json()["status"] == "TERMINATED")
    assert api.post("/v0/sandboxes", json=body).status_code == 200


def test_activity_keeps_an_idle_ttl_alive(api: httpx.Client, name: str) -> None:
    policies = [{"type": "ttl-idle", "value": "3s", "action": "delete"}]
    body = {"metadata": {"name": name}, "spec": {"lifecycle": {"expirationPolicies": policies}}}
    api.post("/v0/sandboxes", json=body)
    for _ in range(8):
        time.sleep(0.45)
        assert api.get(f"/main/sandboxes/{name}/health").status_code == 200


@pytest.mark.parametrize(
    ("spec", "code", "word"),
    [
        ({"runtime": {"image": "no/such:image"}}, "INVALID_IMAGE", "spec.runtime.image"),
        ({"runtime": {"image": "blaxel/base-image:no"}}, "INVALID_IMAGE", "spec.runtime.image"),
        ({"runtime": {"memory": 7}}, "BAD_REQUEST", "spec.runtime.memory"),
        ({"runtime": {"ttl": "soon"}}, "BAD_REQUEST", "spec.runtime.ttl"),
        ({"runtime": {"ttl": "99999999w"}}, "BAD_REQUEST", "spec.runtime.ttl"),
        ({"runtime": {"expires": "tomorrow"}}, "BAD_REQUEST", "spec.runtime.expires"),
        ({"runtime": {"extraArgs": {"nvme": "enabled"}}}, "INVALID_EXTRA_ARGS", "nvme"),
        ({"volumes": [{"name": "v", "mountPath": "/v"}]}, "VOLUME_NOT_FOUND", "v"),
        ({"lifecycle": {"expirationPolicies": [{"type": "never", "value": "1s"}]}}, "", "type"),
        ({"lifecycle": {"terminatedRetention": "x"}}, "BAD_REQUEST", "terminatedRetention"),
    ],
)
def test_what_cannot_be_is_refused(
    api: httpx.Client, name: str, spec: dict[str, Any], code: str, word: str
) -> None:
    response = api.post("/v0/sandboxes", json={"metadata": {"name": name}, "spec": spec})
    body = response.json()
    assert (response.status_code, body["status_code"]) == (400, 400)
    assert body["code"] == (code or "VALIDATION_ERROR")
    assert word in body["message"]
    assert api.get(f"/v0/sandboxes/{name}").status_code == 404


def test_an_external_id_finds_its_sandbox(api: httpx.Client, name: str) -> None:
    body = {"metadata": {"name": name, "externalId": f"ext-{name}"}, "spec": {}}
    api.post("/v0/sandboxes", json=body)
    assert api.get(f"/v0/sandboxes/by-external-id/ext-{name}").json()["metadata"]["name"] == name
    assert len(api.get(f"/v0/sandboxes?externalId=ext-{name}").json()["data"]) == 1
    missing = api.get("/v0/sandboxes/by-external-id/nothing")
    assert (missing.status_code, missing.json()["code"]) == (404, 404)
    api.delete(f"/v0/sandboxes/{name}")
    assert api.get(f"/v0/sandboxes/by-external-id/ext-{name}").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/filesystem//proc/1/environ",
        "/filesystem/..%2F..%2F..%2Froot%2F.bashrc",
        "/filesystem/../../../../etc/shadow",
        "/filesystem/%2Fetc%2Fshadow",
    ],
)
def test_paths_cannot_leave_the_sandbox(
    api: httpx.Client, name: str, path: str, server: Server
) -> None:
    create(api, name)
    request = api.build_request("GET", f"/main/sandboxes/{name}/x")
    request.url = request.url.copy_with(raw_path=f"/main/sandboxes/{name}{path}".encode())
    text = api.send(request).text
    assert KEY not in text
    assert str(server.data_dir) not in text
    assert "root:$" not in text


def test_a_sandbox_sees_neither_the_host_nor_its_siblings(
    api: httpx.Client, name: str, server: Server
) -> None:
    create(api, name)
    create(api, f"{name}-sibling")
    try:
        run(api, f"{name}-sibling", "echo sibling-data > /tmp/mine")
        seen = run(
            api,
            name,
            f"ls {server.data_dir}; cat /tmp/mine; "
            f"curl -s -m 2 http://127.0.0.1:{server.port}/health && echo REACHED; "
            "cat /proc/1/cmdline /proc/1/environ | tr '\\0' ' '; ls /proc | grep -c '^[0-9]'",
        )["logs"]
    finally:
        api.delete(f"/v0/sandboxes/{name}-sibling")
    assert "serai.db" not in seen
    assert "sibling-data" not in seen
    assert "REACHED" not in seen
    assert KEY not in seen
    assert str(server.data_dir) not in seen.replace(f"'{server.data_dir}'", "")
