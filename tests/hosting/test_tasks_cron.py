"""Triggers of type cron: due moments make executions, once each, whatever was missed."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import httpx

from jobs_help import BASE, make, run, wait
from platform_server import Server

YEARLY = "0 3 1 1 *"


def cron(trigger: str, schedule: str = YEARLY, **more: Any) -> dict[str, Any]:
    """A trigger."""
    return {"id": trigger, "type": "cron", "configuration": {"schedule": schedule} | more}


def job(api: httpx.Client, name: str, *triggers: dict[str, Any], command: str = "true") -> None:
    """A job with triggers, made or replaced."""
    runtime = {"image": BASE, "memory": 128, "command": ["sh", "-c", command]}
    body = {"metadata": {"name": name}, "spec": {"runtime": runtime, "triggers": list(triggers)}}
    if api.get(f"/v0/jobs/{name}").status_code == 404:
        assert api.post("/v0/jobs", json=body).status_code == 200
    else:
        assert api.put(f"/v0/jobs/{name}", json=body).status_code == 200


def rows(server: Server) -> dict[str, str]:
    """When each trigger is due, by its id."""
    with closing(sqlite3.connect(server.data_dir / "serai.db")) as database:
        return dict(database.execute("SELECT trigger_id, next_run_at FROM job_cron"))


def until_rows(server: Server, *triggers: str) -> dict[str, str]:
    """The same, once there are these and no others."""
    deadline = time.monotonic() + 30
    while set(found := rows(server)) != set(triggers):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def pretend_due(server: Server, moment: str) -> None:
    """Say that everything has been due since then; while the server is down."""
    with closing(sqlite3.connect(server.data_dir / "serai.db")) as database, database:
        database.execute("UPDATE job_cron SET next_run_at = ?", (moment,))


def executions(api: httpx.Client, name: str) -> list[dict[str, Any]]:
    """All of a job."""
    found: list[dict[str, Any]] = api.get(f"/v0/jobs/{name}/executions").json()["data"]
    return found


def test_what_was_missed_makes_one_execution(new_server: Callable[..., Server]) -> None:
    server = new_server().start()
    api = server.client
    job(api, "nightly", cron("a", "0 * * * *", tasks=[{"n": 1}, {"n": 2}]), cron("b"))
    until_rows(server, "a", "b")
    server.stop()
    pretend_due(server, "2020-01-01T00:00:00.000Z")
    server.start()
    deadline = time.monotonic() + 30
    while len(found := executions(api, "nightly")) < 2:
        assert time.monotonic() < deadline, found
    done = [wait(api, "nightly", each["executionId"]) for each in found]
    assert sorted(each["stats"]["success"] for each in done) == [1, 2]
    assert min(rows(server).values()) > time.strftime("%Y-%m-%dT%H:%M", time.gmtime())
    server.stop()
    server.start()
    assert len(executions(api, "nightly")) == 2


def test_triggers_follow_the_settings(new_server: Callable[..., Server]) -> None:
    server = new_server().start()
    api = server.client
    job(api, "changing", cron("a"), cron("b"))
    before = until_rows(server, "a", "b")
    job(api, "changing", cron("a"), cron("c") | {"enabled": False}, {"id": "web", "type": "http"})
    assert until_rows(server, "a") == {"a": before["a"]}
    job(api, "changing", cron("a", "0 4 1 1 *"))
    deadline = time.monotonic() + 30
    while rows(server)["a"] == before["a"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    api.delete("/v0/jobs/changing")
    until_rows(server)


def test_what_cannot_run_is_told(new_server: Callable[..., Server]) -> None:
    server = new_server(SERAI_JOB_TASKS="1").start()
    api = server.client
    make(api, "busy", "sleep", "600")
    wait(api, "busy", run(api, "busy"), "running")
    job(api, "waiting", cron("a"))
    body = {"metadata": {"name": "empty"}, "spec": {"triggers": [cron("b")]}}
    assert api.post("/v0/jobs", json=body).status_code == 200
    until_rows(server, "a", "b")
    server.kill()
    pretend_due(server, "2020-01-01T00:00:00.000Z")
    server.start()
    deadline = time.monotonic() + 30
    while len(found := executions(api, "waiting")) < 1:
        assert time.monotonic() < deadline
    assert found[0]["status"] == "queued"
    events = api.get("/v0/jobs/empty").json()["events"]
    assert any("has no image yet" in each["message"] for each in events)
    server.kill()
    pretend_due(server, "2020-01-01T00:00:00.000Z")
    server.start()
    deadline = time.monotonic() + 30
    while not any(
        "has not begun yet" in each["message"]
        for each in api.get("/v0/jobs/waiting").json()["events"]
    ):
        assert time.monotonic() < deadline
    assert len(executions(api, "waiting")) == 1
