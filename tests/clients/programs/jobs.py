"""The Python SDK: running a job that is there, looking at executions, waiting, cancelling."""

import asyncio
import sys
import time

from blaxel.core.client.models.create_job_execution_request import CreateJobExecutionRequest
from blaxel.core.client.models.create_job_execution_request_env import (
    CreateJobExecutionRequestEnv,
)
from blaxel.core.jobs import bl_job

QUICK, LONG = sys.argv[1:]


def main() -> None:
    job = bl_job(QUICK)
    name = job.run([{"name": "Ada"}, {"name": "Grace"}])
    done = job.wait_for_execution(name, max_wait=90, interval=1)
    assert (done.status, done.stats.success, done.stats.total) == ("succeeded", 2, 2), done
    assert [task.status for task in done.tasks] == ["succeeded", "succeeded"]
    assert job.get_execution_status(name) == "succeeded"
    env = CreateJobExecutionRequestEnv()
    env["FAIL"] = "yes"
    request = CreateJobExecutionRequest(tasks=[{}], env=env, memory=128)
    failed = job.wait_for_execution(job.create_execution(request), max_wait=90, interval=1)
    assert (failed.status, failed.spec.memory_override) == ("failed", 128), failed
    assert "failing as told" in failed.tasks[0].conditions[0].message
    listed = list(job.list_executions(limit=1).auto_paging_iter())
    assert {name, failed.metadata.id} <= {each.metadata.id for each in listed}
    cancelled()
    asyncio.run(asynchronous())
    print("done")


def cancelled() -> None:
    job = bl_job(LONG)
    name = job.run([{}], execution_id=f"chosen-{time.time_ns()}")
    assert name.startswith("chosen-")
    deadline = time.monotonic() + 60
    while job.get_execution_status(name) != "running":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    job.cancel_execution(name)
    assert job.wait_for_execution(name, max_wait=60, interval=1).status == "cancelled"


async def asynchronous() -> None:
    job = bl_job(QUICK)
    name = await job.arun([{"n": number} for number in range(5)])
    done = await job.await_for_execution(name, max_wait=90, interval=1)
    assert (done.status, done.stats.success) == ("succeeded", 5)


main()
