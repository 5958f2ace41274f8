"""What it costs to run a task of a job, beside the task itself."""

import json
import statistics
import time
import urllib.request
from typing import Any

from bench.platform import KEY, Platform, running
from bench.report import Row

TASKS = 1000
PARALLEL = 8
TASK_SECONDS = 0.01
GOAL_MS = 25.0
IMAGE = "blaxel/base-image:latest"
OVER = frozenset({"succeeded", "failed", "cancelled", "timeout"})
FRESH = 100
"""Tasks of the comparison, each in a box of its own: a box is not used again after a failure."""


def run(rounds: int) -> list[Row]:
    """The time on the clock of a thousand short tasks, spread over those that run at once."""
    shared, fresh, cpu = [], [], []
    with running() as platform:
        _job(platform, "shared", f"sleep {TASK_SECONDS}")
        _job(platform, "fresh", f"sleep {TASK_SECONDS}; exit 1")
        _overhead(platform, "shared", PARALLEL)  # not measured: files are read for the first time
        for _ in range(rounds):
            before = platform.cpu_seconds()
            shared.append(_overhead(platform, "shared", TASKS))
            cpu.append((platform.cpu_seconds() - before) / TASKS * 1000)
            fresh.append(_overhead(platform, "fresh", FRESH))
    overhead = statistics.median(shared)
    alone = ("a box for each task", statistics.median(fresh))
    return [
        Row(
            f"overhead of one of {TASKS:,} tasks, {PARALLEL} at once",
            overhead,
            "ms",
            alone,
            f"{GOAL_MS:g} ms",
            overhead <= GOAL_MS,
        ),
        Row("CPU of one, platform alone", statistics.median(cpu), "ms"),
    ]


def _job(platform: Platform, name: str, script: str) -> None:
    settings = {
        "image": IMAGE,
        "memory": 256,
        "command": ["sh", "-c", script],
        "maxConcurrentTasks": PARALLEL,
    }
    platform.post("/v0/jobs", name, {"runtime": settings})


def _ask(platform: Platform, path: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {KEY}", "Blaxel-Version": "2026-09-22"}
    request = urllib.request.Request(platform.url + path, data, headers)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def _overhead(platform: Platform, job: str, tasks: int) -> float:
    """Milliseconds for each task, beside those that it runs."""
    path = f"/v0/jobs/{job}/executions"
    begin = time.perf_counter()
    made = _ask(platform, path, {"tasks": [{}] * tasks})["executionId"]
    while True:
        newest = _ask(platform, f"{path}?limit=1")["data"][0]
        if newest["executionId"] == made and newest["status"] in OVER:
            break
        time.sleep(0.1)
    taken = time.perf_counter() - begin
    return (taken * PARALLEL / tasks - TASK_SECONDS) * 1000
