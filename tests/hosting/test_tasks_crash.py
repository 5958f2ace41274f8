"""The platform dies in the middle of an execution, or is stopped: no task is lost or told twice."""

import json
import os
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing

import httpx

from jobs_help import make, run, said, show, wait
from platform_server import Server

TASKS = 200
CRASHES = 3


def crash_when(server: Server, api: httpx.Client, job: str, execution: str, done: int) -> None:
    """Kill the platform once so many tasks have ended."""
    deadline = time.monotonic() + 120
    while True:
        shown = api.get(f"/v0/jobs/{job}/executions").json()["data"][0]
        if shown["stats"]["success"] >= done:
            break
        assert time.monotonic() < deadline, shown
    server.kill()


def test_no_task_is_lost_or_told_twice(new_server: Callable[..., Server]) -> None:
    server = new_server().start()
    make(server.client, "many", "sh", "-c", "sleep 0.05; echo $TASK_INDEX", maxConcurrentTasks=4)
    execution = run(server.client, "many", tasks=[{"n": number} for number in range(TASKS)])
    for crash in range(1, CRASHES + 1):
        crash_when(server, server.client, "many", execution, crash * TASKS // 5)
        server.start()
    done = wait(server.client, "many", execution)
    assert (done["status"], done["stats"]["success"]) == ("succeeded", TASKS)
    assert done["stats"]["retried"] == 0, "every task was started once"
    assert {said(task) for task in done["tasks"]} == {"Attempt 1 ended with exit code 0."}
    ends = [event for event in server.events() if event["event"] == "task_end_known"]
    assert ends == []


def test_a_task_that_outlives_the_platform_is_adopted(new_server: Callable[..., Server]) -> None:
    server = new_server().start()
    api = server.client
    make(api, "long", "sh", "-c", "sleep 4; echo finished; exit 3")
    execution = run(api, "long")
    wait(api, "long", execution, "running")
    server.kill()
    server.start()
    assert show(api, "long", execution)["status"] == "running"
    done = wait(api, "long", execution)
    assert said(done["tasks"][0]) == "Attempt 1 ended with exit code 3.\nfinished"
    assert server.logged(event="task_adopted")["task"] == "task-0"


def test_an_end_that_nobody_watched_is_known(new_server: Callable[..., Server]) -> None:
    server = new_server().start()
    api = server.client
    make(api, "short", "sh", "-c", "sleep 1; echo alone; exit 4")
    execution = run(api, "short")
    wait(api, "short", execution, "running")
    server.kill()
    time.sleep(2)  # it ends while there is no platform
    server.start()
    done = wait(api, "short", execution)
    assert said(done["tasks"][0]) == "Attempt 1 ended with exit code 4.\nalone"


def test_limits_and_cancels_hold_over_a_crash(new_server: Callable[..., Server]) -> None:
    server = new_server().start()
    api = server.client
    make(api, "limited", "sleep", "100", timeout=2)
    make(api, "cancelled", "sh", "-c", "trap 'sleep 2; exit 1' TERM; while :; do sleep 0.1; done")
    limited, cancelled = run(api, "limited"), run(api, "cancelled")
    for job, execution in (("limited", limited), ("cancelled", cancelled)):
        wait(api, job, execution, "running")
    api.delete(f"/v0/jobs/cancelled/executions/{cancelled}")
    server.kill()
    server.start()
    assert wait(api, "cancelled", cancelled)["status"] == "cancelled"
    assert wait(api, "limited", limited)["status"] == "timeout"


def test_a_stop_begins_tasks_again_at_the_next_start(new_server: Callable[..., Server]) -> None:
    server = new_server().start()
    api = server.client
    make(api, "again", "sh", "-c", "[ $BL_TASK_ATTEMPT = 2 ] || sleep 100")
    execution = run(api, "again")
    wait(api, "again", execution, "running")
    assert server.stop() == 0
    server.start()
    done = wait(api, "again", execution)
    assert (done["status"], done["stats"]["retried"]) == ("succeeded", 1)


def test_a_task_whose_box_is_lost_begins_again(new_server: Callable[..., Server]) -> None:
    server = new_server().start()
    api = server.client
    make(
        api, "torn", "sh", "-c", "echo try $BL_TASK_ATTEMPT; [ $BL_TASK_ATTEMPT = 2 ] || sleep 600"
    )
    execution = run(api, "torn")
    wait(api, "torn", execution, "running")
    server.kill()
    with closing(sqlite3.connect(server.data_dir / "serai.db")) as database:
        (handle,) = database.execute("SELECT handle FROM job_boxes").fetchone()
    os.kill(json.loads(json.loads(handle)["state"])["pid"], signal.SIGKILL)
    server.start()
    done = wait(api, "torn", execution)
    assert (done["status"], done["stats"]["retried"]) == ("succeeded", 1)
    assert said(show(api, "torn", execution)["tasks"][0]) == "Attempt 2 ended with exit code 0."
