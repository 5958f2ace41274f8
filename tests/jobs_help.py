"""Jobs in tests: made of the base image and a command, run, and waited for."""

import time
from typing import Any

import httpx

BASE = "blaxel/base-image:latest"
ENDED = frozenset({"succeeded", "failed", "cancelled", "timeout"})


def make(api: httpx.Client, name: str, *command: str, **runtime: Any) -> str:
    """A job that runs a command."""
    settings = {"image": BASE, "memory": 256, "command": list(command)} | runtime
    body = {"metadata": {"name": name}, "spec": {"runtime": settings}}
    made = api.post("/v0/jobs", json=body)
    assert made.status_code == 200, made.text
    return name


def run(api: httpx.Client, job: str, **body: Any) -> str:
    """The id of a new execution."""
    response = api.post(f"/v0/jobs/{job}/executions", json={"tasks": [{}]} | body)
    assert response.status_code == 200, response.text
    name: str = response.json()["executionId"]
    return name


def show(api: httpx.Client, job: str, execution: str) -> dict[str, Any]:
    """An execution as it is."""
    response = api.get(f"/v0/jobs/{job}/executions/{execution}")
    assert response.status_code == 200, response.text
    shown: dict[str, Any] = response.json()
    return shown


def wait(
    api: httpx.Client, job: str, execution: str, *statuses: str, seconds: float = 120
) -> dict[str, Any]:
    """The execution, once it has one of these statuses, or has ended."""
    deadline = time.monotonic() + seconds
    while (shown := show(api, job, execution))["status"] not in (statuses or ENDED):
        assert time.monotonic() < deadline, shown
        assert shown["status"] not in ENDED, shown
        time.sleep(0.05)
    return shown


def outcome(api: httpx.Client, job: str, **body: Any) -> dict[str, Any]:
    """An execution that is over."""
    return wait(api, job, run(api, job, **body))


def said(task: dict[str, Any]) -> str:
    """The message of a task."""
    message: str = task["conditions"][0]["message"]
    return message
