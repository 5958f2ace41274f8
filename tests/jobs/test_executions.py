"""Job executions over HTTP: made, shown, listed, cancelled; what runs them is for other tests."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import httpx
import pytest

from jobs_help import BASE, make, outcome, show, wait
from jobs_help import run as run_job
from platform_server import Server

OLD = {"Blaxel-Version": "2026-04-16"}


@pytest.fixture
def job(api: httpx.Client, name: str) -> str:
    """A job of 1024 MiB whose tasks take a while."""
    runtime = {"image": BASE, "command": ["sleep", "100"], "memory": 1024, "maxRetries": 2}
    body = {"metadata": {"name": name}, "spec": {"runtime": runtime}}
    assert api.post("/v0/jobs", json=body).status_code == 200
    return name


@pytest.fixture
def quick(api: httpx.Client, name: str) -> str:
    """A job whose tasks do nothing."""
    runtime = {"image": BASE, "command": ["true"], "memory": 128}
    body = {"metadata": {"name": name}, "spec": {"runtime": runtime}}
    assert api.post("/v0/jobs", json=body).status_code == 200
    return name


@pytest.fixture(autouse=True)
def _nothing_runs_on(api: httpx.Client) -> Iterator[None]:
    """Cancel what a test began."""
    yield
    for job in api.get("/v0/jobs", params={"limit": 200}).json()["data"]:
        name = job["metadata"]["name"]
        for one in api.get(f"/v0/jobs/{name}/executions", params={"limit": 100}).json()["data"]:
            if one["status"] in {"queued", "pending", "running"}:
                api.delete(f"/v0/jobs/{name}/executions/{one['executionId']}")


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
    shown = wait(api, job, name, "running")
    assert shown["metadata"]["id"] == name
    assert (shown["metadata"]["job"], shown["metadata"]["workspace"]) == (job, "main")
    assert shown["metadata"]["startedAt"] >= shown["metadata"]["createdAt"]
    assert shown["spec"] == {
        "parallelism": 2,
        "timeout": 3600,
        "memoryOverride": 512,
        "envOverride": {"TOKEN": "***"},
    }
    counts = {"success": 0, "failure": 0, "cancelled": 0, "retried": 0}
    assert shown["stats"]["running"] in {1, 2}
    assert shown["stats"] == {"total": 2, "running": shown["stats"]["running"]} | counts
    assert {task["status"] for task in shown["tasks"]} <= {"pending", "running"}
    assert shown["tasks"][1]["metadata"]["name"] == "task-1"
    assert shown["tasks"][0]["spec"] == {"maxRetries": 2, "timeout": "3600s"}
    assert shown["tasks"][0]["conditions"][0]["reason"] in {"WAITING", "RUNNING"}
    files = list(server.data_dir.glob("serai.db*"))
    assert all(b"very-secret-value" not in file.read_bytes() for file in files)
    assert "very-secret-value" not in server.log.read_text()


def test_an_execution_without_tasks_has_one(api: httpx.Client, job: str) -> None:
    response = api.post(f"/v0/jobs/{job}/executions", json={})
    assert response.json()["stats"]["total"] == 1
    assert "tasks" not in response.json(), "the Python SDK fails on a task without parameters"


def test_cancelling_ends_what_runs(api: httpx.Client, job: str) -> None:
    name = run_job(api, job)
    path = f"/v0/jobs/{job}/executions/{name}"
    wait(api, job, name, "running")
    answer = api.delete(path)
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelling")
    cancelled = wait(api, job, name)
    assert (cancelled["status"], cancelled["stats"]["cancelled"]) == ("cancelled", 1)
    assert cancelled["metadata"]["completedAt"]
    assert cancelled["tasks"][0]["status"] == "cancelled"
    assert api.delete(path).json() == cancelled == api.get(path).json()


def test_what_has_ended_cannot_be_cancelled(api: httpx.Client, quick: str) -> None:
    done = outcome(api, quick)
    assert (done["status"], done["stats"]["success"]) == ("succeeded", 1)
    refused = api.delete(f"/v0/jobs/{quick}/executions/{done['executionId']}")
    assert (refused.status_code, refused.json()["error"]) == (400, "EXECUTION_ENDED")


def test_the_time_limit_counts_for_each_attempt(api: httpx.Client, name: str) -> None:
    runtime = {"image": BASE, "command": ["sleep", "60"], "timeout": 1, "memory": 128}
    api.post("/v0/jobs", json={"metadata": {"name": name}, "spec": {"runtime": runtime}})
    shown = outcome(api, name)
    assert (shown["status"], shown["stats"]["failure"]) == ("timeout", 1)
    assert shown["metadata"]["expiredAt"] == shown["metadata"]["completedAt"]
    assert shown["tasks"][0]["conditions"][0]["reason"] == "TIMEOUT"
    listed = api.get(f"/v0/jobs/{name}/executions").json()["data"]
    assert listed[0]["status"] == "timeout"


def test_lists_are_pages_of_twenty(api: httpx.Client, quick: str) -> None:
    job = quick
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
    run(api, job, executionId="same", allowQueue=True)
    again = api.post(path, json={"executionId": "same"})
    assert (again.status_code, again.json()["error"]) == (409, "EXECUTION_ALREADY_EXISTS")
    api.put(f"/v0/jobs/{job}", json={"metadata": {}, "spec": {"enabled": False}})
    disabled = api.post(path, json={})
    assert (disabled.status_code, disabled.json()["error"]) == (400, "JOB_DISABLED")
    api.put(f"/v0/jobs/{job}", json={"metadata": {}, "spec": {"enabled": True}})
    empty = api.post(path, json={})
    assert (empty.status_code, empty.json()["error"]) == (400, "JOB_NOT_DEPLOYED")


def test_who_does_not_want_to_wait_is_refused(new_server: Callable[..., Server]) -> None:
    server = new_server(SERAI_JOB_TASKS="1").start()
    api = server.client
    runtime = {"image": BASE, "command": ["sleep", "100"], "memory": 256}
    api.post("/v0/jobs", json={"metadata": {"name": "long"}, "spec": {"runtime": runtime}})
    first = run_job(api, "long", allowQueue=False)
    wait(api, "long", first, "running")
    path = "/v0/jobs/long/executions"
    refused = api.post(path, json={"allowQueue": False})
    assert (refused.status_code, refused.json()["error"]) == (429, "NO_CAPACITY")
    assert refused.headers["x-should-retry"] == "false"
    waiting = run_job(api, "long")
    assert len(api.get(path).json()["data"]) == 2
    assert show(api, "long", waiting)["status"] == "queued"
    api.delete(f"{path}/{first}")
    wait(api, "long", waiting, "running")


def test_a_quota_holds_tasks_back(new_server: Callable[..., Server]) -> None:
    server = new_server().start()
    api = server.client
    account = api.get("/v0/workspaces").json()[0]["accountId"]
    limit = [{"resourceType": "job_memory", "value": 300, "workspace": "main"}]
    assert api.put(f"/v0/quotas/account/{account}", json=limit).status_code == 200
    runtime = {"image": BASE, "command": ["sleep", "100"], "memory": 256}
    api.post("/v0/jobs", json={"metadata": {"name": "long"}, "spec": {"runtime": runtime}})
    first = run_job(api, "long", tasks=[{}, {}])
    shown = wait(api, "long", first, "running")
    assert shown["stats"]["running"] == 1
    path = "/v0/jobs/long/executions"
    refused = api.post(path, json={"allowQueue": False})
    assert (refused.status_code, refused.json()["error"]) == (429, "NO_CAPACITY")
    assert "300 MiB" in refused.json()["message"]
    waiting = run_job(api, "long", memory=128)
    assert show(api, "long", waiting)["status"] == "queued"
    api.put("/v0/jobs/long", json={"metadata": {}, "spec": {"runtime": runtime | {"memory": 512}}})
    for more in ({}, {"allowQueue": False}):
        never = api.post(path, json=more)
        assert (never.status_code, never.json()["error"]) == (400, "QUOTA_TOO_SMALL")
    api.delete(f"{path}/{first}")
    wait(api, "long", waiting, "running")
    listed = api.get(f"/v0/quotas/account/{account}").json()
    assert [one["used"] for one in listed if one["resourceType"] == "job_memory"] == [128]


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


def test_deleting_a_job_ends_what_runs(api: httpx.Client, job: str) -> None:
    name = run_job(api, job)
    wait(api, job, name, "running")
    api.delete(f"/v0/jobs/{job}")
    assert api.get(f"/v0/jobs/{job}/executions/{name}").status_code == 404
    api.post("/v0/jobs", json={"metadata": {"name": job}, "spec": {}})
    assert wait(api, job, name)["status"] == "cancelled"


def test_one_place_is_shared_by_executions(new_server: Callable[..., Server]) -> None:
    server = new_server(SERAI_JOB_TASKS="2").start()
    api = server.client
    runtime = {"image": BASE, "command": ["sleep", "0.2"], "memory": 128}
    api.post("/v0/jobs", json={"metadata": {"name": "many"}, "spec": {"runtime": runtime}})
    big = run_job(api, "many", tasks=[{}] * 60)
    wait(api, "many", big, "running")
    small = wait(api, "many", run_job(api, "many", tasks=[{}] * 2))
    assert small["status"] == "succeeded"
    assert show(api, "many", big)["status"] == "running"
    assert wait(api, "many", big)["stats"]["success"] == 60


def test_old_executions_are_forgotten(new_server: Callable[..., Server]) -> None:
    server = new_server().start()
    make(server.client, "old", "true", memory=128)
    for name in ("ancient", "recent"):
        assert outcome(server.client, "old", executionId=name)["status"] == "succeeded"
    server.stop()
    with closing(sqlite3.connect(server.data_dir / "serai.db")) as database, database:
        long_ago = ("2020-01-01T00:00:00.000Z",)
        database.execute(
            "UPDATE job_executions SET completed_at = ? WHERE name = 'ancient'", long_ago
        )
    server.start()
    deadline = time.monotonic() + 30
    while server.client.get("/v0/jobs/old/executions/ancient").status_code != 404:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert show(server.client, "old", "recent")["status"] == "succeeded"
    with closing(sqlite3.connect(server.data_dir / "serai.db")) as database:
        assert database.execute("SELECT count(*) FROM job_tasks").fetchone() == (1,)


def test_nothing_waits_for_ever(new_server: Callable[..., Server]) -> None:
    server = new_server(SERAI_JOB_TASKS="1").start()
    api = server.client
    make(api, "busy", "sleep", "600")
    wait(api, "busy", run_job(api, "busy"), "running")
    waiting = run_job(api, "busy", tasks=[{}, {}])
    with closing(sqlite3.connect(server.data_dir / "serai.db")) as database, database:
        change = "UPDATE job_executions SET deadline = ? WHERE name = ?"
        database.execute(change, ("2020-01-01T00:00:00.000Z", waiting))
    ended = wait(api, "busy", waiting)
    assert (ended["status"], ended["stats"]["cancelled"]) == ("timeout", 2)
    assert ended["metadata"]["expiredAt"] == ended["metadata"]["completedAt"]
    assert ended["tasks"][0]["conditions"][0]["reason"] == "QUEUE_TIMEOUT"
