"""Job executions over HTTP: queued until they are cancelled or run out of time."""

import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from platform_server import Server

OLD = {"Blaxel-Version": "2026-04-16"}


@pytest.fixture
def job(api: httpx.Client, name: str) -> str:
    """A job of 1024 MiB."""
    spec = {"runtime": {"memory": 1024, "maxRetries": 2}}
    made = api.post("/v0/jobs", json={"metadata": {"name": name}, "spec": spec})
    assert made.status_code == 200
    return name


def run(api: httpx.Client, job: str, **body: Any) -> dict[str, Any]:
    """A new execution."""
    response = api.post(f"/v0/jobs/{job}/executions", json={"tasks": [{}]} | body)
    assert response.status_code == 200, response.text
    made: dict[str, Any] = response.json()
    return made


def test_a_new_execution(api: httpx.Client, job: str, server: Server) -> None:
    tasks = [{"name": "John"}, {"deep": {"er": [1, None]}}]
    env = {"TOKEN": "very-secret-value"}
    made = run(api, job, tasks=tasks, env=env, memory=512, id="message-1")
    name = made["executionId"]
    assert (made["jobId"], made["workspaceId"], made["id"]) == (job, "main", "message-1")
    assert (made["tasks"], made["status"]) == (tasks, "queued")
    shown = api.get(f"/v0/jobs/{job}/executions/{name}").json()
    assert shown["metadata"]["id"] == name
    assert (shown["metadata"]["job"], shown["metadata"]["workspace"]) == (job, "main")
    assert shown["spec"] == {
        "parallelism": 2,
        "timeout": 3600,
        "memoryOverride": 512,
        "envOverride": {"TOKEN": "***"},
    }
    counts = {"running": 0, "success": 0, "failure": 0, "cancelled": 0, "retried": 0}
    assert shown["stats"] == {"total": 2} | counts
    assert [task["status"] for task in shown["tasks"]] == ["pending", "pending"]
    assert shown["tasks"][1]["metadata"]["name"] == "task-1"
    assert shown["tasks"][0]["spec"] == {"maxRetries": 2, "timeout": "3600s"}
    assert shown["tasks"][0]["conditions"][0]["reason"] == "NO_RUNNER"
    files = list(server.data_dir.glob("serai.db*"))
    assert all(b"very-secret-value" not in file.read_bytes() for file in files)
    assert "very-secret-value" not in server.log.read_text()


def test_an_execution_without_tasks_has_one(api: httpx.Client, job: str) -> None:
    response = api.post(f"/v0/jobs/{job}/executions", json={})
    assert (response.json()["tasks"], response.json()["stats"]["total"]) == ([{}], 1)


def test_cancelling(api: httpx.Client, job: str) -> None:
    path = f"/v0/jobs/{job}/executions/{run(api, job)['executionId']}"
    cancelled = api.delete(path)
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert cancelled.json()["metadata"]["completedAt"]
    assert cancelled.json()["stats"]["cancelled"] == 1
    assert cancelled.json()["tasks"][0]["status"] == "cancelled"
    assert api.delete(path).json() == cancelled.json() == api.get(path).json()


def test_the_time_limit_counts(api: httpx.Client, name: str) -> None:
    spec = {"runtime": {"timeout": 1}}
    api.post("/v0/jobs", json={"metadata": {"name": name}, "spec": spec})
    path = f"/v0/jobs/{name}/executions/{run(api, name)['executionId']}"
    assert api.get(path).json()["status"] == "queued"
    deadline = time.monotonic() + 30
    while (shown := api.get(path).json())["status"] == "queued":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert (shown["status"], shown["stats"]["cancelled"]) == ("timeout", 1)
    assert shown["metadata"]["expiredAt"] == shown["metadata"]["completedAt"]
    assert shown["tasks"][0]["conditions"][0]["reason"] == "TIMEOUT"
    listed = api.get(f"/v0/jobs/{name}/executions").json()["data"]
    assert listed[0]["status"] == "timeout"
    refused = api.delete(path)
    assert (refused.status_code, refused.json()["error"]) == (400, "EXECUTION_ENDED")


def test_lists_are_pages_of_twenty(api: httpx.Client, job: str) -> None:
    names = [run(api, job, executionId=f"run-{number:02}")["executionId"] for number in range(23)]
    path = f"/v0/jobs/{job}/executions"
    first = api.get(path).json()
    assert [item["metadata"]["id"] for item in first["data"]] == names[:2:-1]
    assert (first["meta"]["total"], first["meta"]["hasMore"]) == (23, True)
    assert "tasks" not in first["data"][0]
    rest = api.get(path, params={"cursor": first["meta"]["nextCursor"]}).json()
    assert [item["metadata"]["id"] for item in rest["data"]] == names[2::-1]
    assert rest["meta"] == {"hasMore": False, "nextCursor": "", "total": 23}
    up = api.get(path, params={"sort": "createdAt:asc", "limit": 100, "q": "RUN-1"}).json()
    assert [item["metadata"]["id"] for item in up["data"]] == names[10:20]
    cursor = first["meta"]["nextCursor"]
    for params in ({"q": "run"}, {"sort": "createdAt:asc"}):
        assert api.get(path, params=params | {"cursor": cursor}).status_code == 400
    old = api.get(path, params={"limit": 5, "offset": 20}, headers=OLD).json()
    assert [item["metadata"]["id"] for item in old] == names[2::-1]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=00000000000000000000101", "limit"),
        ("limit=x", "limit"),
        ("sort=name:asc", "sort"),
        ("q=a", "q"),
        ("cursor=nonsense", "cursor"),
    ],
)
def test_list_parameters(api: httpx.Client, job: str, query: str, field: str) -> None:
    response = api.get(f"/v0/jobs/{job}/executions?{query}")
    assert response.status_code == 400
    assert response.json()["message"].startswith(field)
    if field == "limit":
        old = api.get(f"/v0/jobs/{job}/executions?offset=-1", headers=OLD)
        assert old.json()["message"].startswith("offset")


def test_tasks_are_pages(api: httpx.Client, job: str) -> None:
    made = run(api, job, tasks=[{"n": number} for number in range(120)])
    path = f"/v0/jobs/{job}/executions/{made['executionId']}/tasks"
    found: list[str] = []
    cursor = ""
    while True:
        page = api.get(path, params={"limit": 50} | ({"cursor": cursor} if cursor else {})).json()
        found += [task["metadata"]["name"] for task in page["data"]]
        cursor = page["meta"]["nextCursor"]
        assert (page["meta"]["total"], page["meta"]["hasMore"]) == (120, bool(cursor))
        if not cursor:
            break
    assert found == [f"task-{number}" for number in range(120)]
    last = api.get(path, params={"limit": 1, "sort": "name:desc"}).json()["data"]
    assert last[0]["metadata"]["name"] == "task-119"
    assert len(api.get(path, params={"q": "task-11"}).json()["data"]) == 11
    old = api.get(path, headers=OLD)
    assert (old.status_code, old.json()["code"]) == (404, 404)
    assert "2026-04-28" in old.json()["message"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"memory": 2048}, "memory"),
        ({"memory": 1}, "memory"),
        ({"memory": "much"}, "memory"),
        ({"env": {"A=B": "x"}}, "env"),
        ({"env": {"": "x"}}, "env"),
        ({"env": {"A": 1}}, "env"),
        ({"env": {f"A{n}": "x" for n in range(1001)}}, "env"),
        ({"executionId": "../x"}, "executionId"),
        ({"executionId": "x" * 129}, "executionId"),
        ({"jobId": "another"}, "jobId"),
        ({"tasks": ["x"]}, "tasks"),
        ({"tasks": {}}, "tasks"),
        ({"tasks": [{}] * 10_001}, "tasks"),
    ],
)
def test_rules_of_executions(api: httpx.Client, job: str, body: Any, field: str) -> None:
    response = api.post(f"/v0/jobs/{job}/executions", json=body)
    assert (response.status_code, response.json()["code"]) == (400, 400), response.text
    assert response.json()["message"].startswith(field)


def test_what_cannot_start(api: httpx.Client, job: str) -> None:
    path = f"/v0/jobs/{job}/executions"
    now_or_never = api.post(path, json={"tasks": [{}], "allowQueue": False})
    assert (now_or_never.status_code, now_or_never.json()["error"]) == (429, "NO_CAPACITY")
    assert now_or_never.headers["x-should-retry"] == "false"
    assert api.get(path).json()["data"] == []
    run(api, job, executionId="same", allowQueue=True)
    again = api.post(path, json={"executionId": "same"})
    assert (again.status_code, again.json()["error"]) == (409, "EXECUTION_ALREADY_EXISTS")
    api.put(f"/v0/jobs/{job}", json={"metadata": {}, "spec": {"enabled": False}})
    disabled = api.post(path, json={})
    assert (disabled.status_code, disabled.json()["error"]) == (400, "JOB_DISABLED")


def test_what_is_not_there(api: httpx.Client, job: str) -> None:
    for method, path in (
        ("GET", f"/v0/jobs/{job}/executions/none"),
        ("DELETE", f"/v0/jobs/{job}/executions/none"),
        ("GET", f"/v0/jobs/{job}/executions/none/tasks"),
        ("GET", "/v0/jobs/none/executions"),
        ("GET", "/v0/jobs/none/executions/x"),
        ("POST", "/v0/jobs/none/executions"),
    ):
        response = api.request(method, path, json={} if method == "POST" else None)
        assert (response.status_code, response.json()["code"]) == (404, 404), path


def test_deleting_a_job_cancels_what_waits(api: httpx.Client, job: str) -> None:
    name = run(api, job)["executionId"]
    api.delete(f"/v0/jobs/{job}")
    assert api.get(f"/v0/jobs/{job}/executions/{name}").status_code == 404
    api.post("/v0/jobs", json={"metadata": {"name": job}, "spec": {}})
    kept = api.get(f"/v0/jobs/{job}/executions/{name}").json()
    assert kept["status"] == "cancelled"


def test_executions_survive_a_crash(new_server: Callable[[], Server], name: str) -> None:
    server = new_server().start()
    server.client.post("/v0/jobs", json={"metadata": {"name": name}, "spec": {}})
    made = run(server.client, name, env={"A": "b"})
    path = f"/v0/jobs/{name}/executions/{made['executionId']}"
    before = server.client.get(path).json()
    server.kill()
    server.start()
    assert server.client.get(path).json() == before
