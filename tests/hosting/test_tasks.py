"""Tasks of jobs in real boxes, over HTTP: what they are told, what they do, how they end."""

import itertools
import json
from typing import Any

import httpx
import pytest

from jobs_help import make, outcome, run, said, wait
from platform_server import today

numbers = itertools.count()


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return f"t-{next(numbers)}"


def printed(task: dict[str, Any]) -> list[str]:
    """The last lines of a task that failed."""
    return said(task).splitlines()[1:]


def test_a_task_knows_which_one_it_is(api: httpx.Client, name: str) -> None:
    script = "env | grep -E '^(BL_|TASK|MINE|SHARED)' | sort; exit 1"
    envs = [{"name": "MINE", "value": "job"}, {"name": "SHARED", "value": "job", "secret": True}]
    make(api, name, "sh", "-c", script, envs=envs)
    done = outcome(api, name, tasks=[{"a": 1}, {"a": 2}], env={"SHARED": "execution"})
    assert (done["status"], done["stats"]["failure"]) == ("failed", 2)
    told = dict(line.split("=", 1) for line in printed(done["tasks"][1]))
    assert told.pop("BL_EXECUTION_DATA_URL", "http://127.0.0.1:").startswith("http://127.0.0.1:")
    wanted = {
        "BL_TASK_INDEX": "1",
        "BL_TASK_KEY": "BL_TASK_INDEX",
        "BL_TASK_NAME": "task-1",
        "TASK_INDEX": "1",
        "MINE": "job",
        "SHARED": "execution",
        "BL_TYPE": "job",
        "BL_NAME": name,
        "BL_WORKSPACE": "main",
    }
    assert told.items() <= (wanted | told).items()
    assert {key: told[key] for key in ("MINE", "SHARED", "TASK_INDEX", "BL_TYPE")} == {
        key: wanted[key] for key in ("MINE", "SHARED", "TASK_INDEX", "BL_TYPE")
    }


def test_a_task_gets_its_parameters(api: httpx.Client, name: str) -> None:
    script = (
        "import json, os, sys, urllib.request as u\n"
        "data = json.load(u.urlopen(os.environ['BL_EXECUTION_DATA_URL']))\n"
        "print(json.dumps(data['tasks'][int(os.environ[os.environ['BL_TASK_KEY']])]))\n"
        "sys.exit(3)"
    )
    make(api, name, "python3", "-c", script)
    tasks = [{"who": "Ada"}, {"deep": {"er": [1, None, "ü"]}}]
    done = outcome(api, name, tasks=tasks)
    assert [json.loads(printed(task)[0]) for task in done["tasks"]] == tasks
    assert said(done["tasks"][0]).startswith("Attempt 1 ended with exit code 3.")
    assert done["tasks"][0]["conditions"][0]["severity"] == "ERROR"


def test_what_fails_is_tried_again(api: httpx.Client, name: str) -> None:
    script = 'echo "try $BL_TASK_ATTEMPT"; [ $BL_TASK_ATTEMPT -gt $LEAST ]'
    make(api, name, "sh", "-c", script, maxRetries=1, envs=[{"name": "LEAST", "value": "1"}])
    execution = run(api, name)
    between = wait(api, name, execution, "running", "succeeded")
    assert between["tasks"][0]["status"] in {"running", "reconciling", "pending", "succeeded"}
    done = wait(api, name, execution)
    assert (done["status"], done["stats"]["retried"]) == ("succeeded", 1)
    failed = outcome(api, name, env={"LEAST": "9"})
    assert (failed["status"], failed["stats"]["retried"]) == ("failed", 1)
    assert printed(failed["tasks"][0]) == ["try 2"]
    assert failed["tasks"][0]["conditions"][0]["reason"] == "FAILED"


def test_memory_may_be_lower_for_one_execution(api: httpx.Client, name: str) -> None:
    script = "x = bytearray(300 << 20); print('held', flush=True)"
    make(api, name, "python3", "-c", script, memory=512)
    assert outcome(api, name)["status"] == "succeeded"
    done = outcome(api, name, memory=128)
    assert (done["status"], done["spec"]["memoryOverride"]) == ("failed", 128)
    assert "signal" in said(done["tasks"][0]) or "exit code" in said(done["tasks"][0])


def test_no_more_run_at_the_same_time_than_may(api: httpx.Client, name: str) -> None:
    make(api, name, "sleep", "0.3", maxConcurrentTasks=2)
    execution = run(api, name, tasks=[{}] * 6)
    most = 0
    while (shown := wait(api, name, execution, "queued", "pending", "running", "succeeded"))[
        "status"
    ] != "succeeded":
        most = max(most, shown["stats"]["running"])
        assert shown["spec"]["parallelism"] == 2
    assert most <= 2
    starts = sorted(task["metadata"]["startedAt"] for task in shown["tasks"])
    ends = sorted(task["metadata"]["completedAt"] for task in shown["tasks"])
    assert all(end <= start for end, start in zip(ends, starts[2:], strict=False))


def test_nothing_of_a_task_runs_on(api: httpx.Client, name: str) -> None:
    """What one leaves running, however it hides, is gone before the next begins in its box."""
    count = "cat /proc/[0-9]*/comm 2>/dev/null | grep -c '^sleep$'"
    script = (
        "setsid nohup sleep 98765 >/dev/null 2>&1 & "
        f"until {count} >/dev/null; do :; done; {count} > /tmp/seen.$TASK_INDEX; "
        "[ $TASK_INDEX -lt 3 ] || { cat /tmp/seen.*; exit 1; }"
    )
    make(api, name, "sh", "-c", script, maxConcurrentTasks=1)
    done = outcome(api, name, tasks=[{}] * 4)
    assert printed(done["tasks"][3]) == ["1"] * 4, "in one box, each saw its own alone"


def test_who_is_told_to_end_may_do_so_in_its_own_way(api: httpx.Client, name: str) -> None:
    script = "trap 'echo saved; exit 5' TERM; echo up; while :; do sleep 0.05; done"
    make(api, name, "sh", "-c", script, timeout=600)
    execution = run(api, name)
    wait(api, name, execution, "running")
    api.delete(f"/v0/jobs/{name}/executions/{execution}")
    done = wait(api, name, execution)
    assert (done["status"], done["tasks"][0]["status"]) == ("cancelled", "cancelled")
    assert "as the execution was cancelled" in said(done["tasks"][0])


def test_scratch_space_is_there_and_gone(api: httpx.Client, name: str) -> None:
    volumes = [{"name": "v", "mountPath": "/scratch", "type": "ephemeral", "sizeMb": 64}]
    runtime = {
        "image": "blaxel/base-image:latest",
        "memory": 256,
        "command": ["sh", "-c", "ls /scratch; touch /scratch/x; df -Pm /scratch | tail -1; exit 1"],
    }
    body = {"metadata": {"name": name}, "spec": {"runtime": runtime, "volumes": volumes}}
    assert api.post("/v0/jobs", json=body).status_code == 200
    for _ in range(2):
        done = outcome(api, name)
        (space,) = [line for line in printed(done["tasks"][0]) if line != "lost+found"]
        assert int(space.split()[1]) <= 64


@pytest.mark.parametrize(
    ("runtime", "reason", "message"),
    [
        ({"image": "no/such-image:1"}, "CANNOT_START", "no/such-image"),
        ({"command": ["/no/such/program"]}, "FAILED", "exit code 127"),
        ({"command": []}, "", ""),
    ],
)
def test_what_cannot_run_says_why(
    api: httpx.Client, name: str, runtime: dict[str, Any], reason: str, message: str
) -> None:
    settings = {"image": "blaxel/base-image:latest", "memory": 128, "command": ["true"]} | runtime
    body = {"metadata": {"name": name}, "spec": {"runtime": settings}}
    answer = api.post("/v0/jobs", json=body)
    if not reason:
        assert answer.json()["message"].startswith("spec.runtime.command")
        return
    done = outcome(api, name, tasks=[{}, {}])
    assert (done["status"], done["stats"]["failure"]) == ("failed", 2)
    assert done["tasks"][1]["conditions"][0]["reason"] == reason
    assert message in said(done["tasks"][0])


def test_the_status_of_a_job_follows_its_image(api: httpx.Client, name: str) -> None:
    def status(wanted: str) -> dict[str, Any]:
        for _ in range(600):
            shown: dict[str, Any] = api.get(f"/v0/jobs/{name}").json()
            if shown["status"] == wanted:
                return shown
        raise AssertionError(shown)

    make(api, name, "true")
    status("DEPLOYED")
    other = {"spec": {"runtime": {"image": "no/such-image:1"}}, "metadata": {}}
    api.put(f"/v0/jobs/{name}", json=other)
    failed = status("FAILED")
    assert any("no/such-image" in event["message"] for event in failed["events"])
    api.put(f"/v0/jobs/{name}", json={"metadata": {}, "spec": {"enabled": False}})
    status("DEACTIVATED")


def test_an_execution_keeps_what_it_began_with(api: httpx.Client, name: str) -> None:
    """Later settings are for later executions."""
    make(api, name, "sh", "-c", "sleep 0.5; echo $V; exit 1", envs=[{"name": "V", "value": "1"}])
    first = run(api, name)
    settings = {"image": "blaxel/base-image:latest", "command": ["true"], "memory": 128}
    api.put(f"/v0/jobs/{name}", json={"metadata": {}, "spec": {"runtime": settings}})
    assert outcome(api, name)["status"] == "succeeded"
    assert printed(wait(api, name, first)["tasks"][0]) == ["1"]


def test_time_of_boxes_is_on_the_bill(api: httpx.Client, name: str) -> None:
    make(api, name, "sleep", "1.2", memory=512)
    assert outcome(api, name)["status"] == "succeeded"
    account = api.get("/v0/workspaces").json()[0]["accountId"]
    query = today(groupBy="billing_dimension", resourceName=name)
    answer = api.get(f"/v0/accounts/{account}/metrics", params=query)
    assert answer.status_code == 200, answer.text
    (row,) = answer.json()["data"]
    assert row["billingDimension"] == "job_compute_runtime_gbs"
    assert 0.6 <= row["summary"]["usage"] < 60
