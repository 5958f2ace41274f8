"""Jobs through the official clients: the SDKs run them, and their programs are told what to do."""

import itertools
import json
import time
from pathlib import Path

import pytest

from jobs_help import make, said, wait
from platform_server import KEY, Server

from .blaxel_cli import Cli, is_built
from .conftest import Run

pytestmark = [pytest.mark.clients, pytest.mark.sandbox]
SCRIPT = 'if [ "$FAIL" ]; then echo failing as told; exit 1; fi; echo "task $BL_TASK_INDEX"'
numbers = itertools.count()


@pytest.fixture
def jobs(server: Server) -> tuple[str, str]:
    """A job that is done at once, and one that takes long."""
    mark = next(numbers)
    quick = make(server.client, f"quick-{mark}", "sh", "-c", SCRIPT)
    long = make(server.client, f"long-{mark}", "sleep", "600")
    return quick, long


def test_jobs_with_the_python_sdk(python: Run, jobs: tuple[str, str]) -> None:
    assert "done" in python("jobs.py", *jobs)


def test_jobs_with_the_typescript_sdk(node: Run, jobs: tuple[str, str]) -> None:
    assert "done" in node("jobs.mjs", *jobs)


@pytest.mark.skipif(not is_built(), reason="needs the real CLI: run `make clients`")
def test_jobs_with_the_cli(server: Server, tmp_path: Path, jobs: tuple[str, str]) -> None:
    bl, api, job = Cli(tmp_path / "home", server), server.client, jobs[0]
    bl("login", "main", BL_API_KEY=KEY)
    data = {"tasks": [{"name": "Ada"}, {"name": "Grace"}]}
    bl("run", "job", job, "--data", json.dumps(data))
    (tmp_path / "batch.json").write_text(json.dumps(data))
    bl("run", "job", job, "--file", str(tmp_path / "batch.json"))
    listed = api.get(f"/v0/jobs/{job}/executions").json()["data"]
    assert len(listed) == 2
    for one in listed:
        assert wait(api, job, one["executionId"])["stats"]["success"] == 2
    shown = json.loads(bl("get", "job", job, "executions", "-o", "json"))
    assert {each["status"] for each in shown} == {"succeeded"}
    name = listed[0]["executionId"]
    (one,) = json.loads(bl("get", "job", job, "executions", name, "-o", "json"))
    assert one["status"] == "succeeded"
    for which in ((), (name,), (name[:8],)):
        deadline = time.monotonic() + 60
        while "task 1" not in (printed := bl("logs", "job", job, *which)):  # they show a bit later
            assert time.monotonic() < deadline, printed
            time.sleep(0.2)
    assert said(wait(api, job, name)["tasks"][0]) == "Attempt 1 ended with exit code 0."
