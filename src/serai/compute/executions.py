"""Executions of jobs: making, showing and cancelling them.

Nothing runs them yet: an execution waits as ``queued`` until it is cancelled or its time limit,
which counts from its creation, ends it as ``timeout``. That status is derived on reading, so it
needs no clock of its own and survives restarts.
"""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection

from serai.compute import execution_records as records
from serai.compute.execution_records import LIVE, ExecutionRow, ExecutionSpec
from serai.compute.jobs import JOBS, TIMEOUT_DEFAULT
from serai.kernel.clock import parse_rfc3339, rfc3339
from serai.kernel.errors import BadRequest, Conflict, NotFound, RateLimited
from serai.kernel.ids import new_uuid, token
from serai.resources.documents import Document
from serai.resources.kind import Body
from serai.resources.store import DocumentStore
from serai.store.secrets import Vault
from serai.wire.jobs import (
    CreatedJobExecution,
    ExecutionStatus,
    JobExecution,
    JobExecutionMetadata,
    JobExecutionRequest,
    JobExecutionSpec,
    JobExecutionStats,
    JobExecutionTask,
    JobExecutionTaskCondition,
    JobExecutionTaskMetadata,
    JobExecutionTaskSpec,
    TaskStatus,
)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}\Z")
TASKS_MAX = 10_000
ENV_MAX = 1000
MEMORY_MIN = 128
MASK = "***"
WAITING = (
    "This version of Serai stores executions but has no runner for them yet; the task waits until "
    "the execution is cancelled or reaches its time limit."
)
TASK_STATES: dict[str, tuple[TaskStatus, str, str]] = {
    "queued": ("pending", "NO_RUNNER", WAITING),
    "timeout": ("cancelled", "TIMEOUT", "The execution reached its time limit."),
    "cancelled": ("cancelled", "CANCELLED", "The execution was cancelled."),
}


class Executions:
    """What can be done with executions. Methods run inside the caller's transaction."""

    def __init__(self, store: DocumentStore, vault: Vault) -> None:
        self._store = store
        self._vault = vault

    def create(
        self,
        conn: Connection,
        workspace: str,
        job: str,
        asked: JobExecutionRequest,
        now: datetime,
    ) -> ExecutionRow:
        """Store a new execution of a job.

        Raises:
            NotFound: there is no such job.
            BadRequest: a rule is broken, or the job is disabled.
            Forbidden: a policy of the job does not let it run here.
            Conflict: the execution id is taken.
            RateLimited: the client does not want to wait.
        """
        document = self._store.need(conn, JOBS, workspace, job)
        self._store.ask_rules(conn, JOBS, document)
        spec = _checked(document, asked)
        name = asked.execution_id or new_uuid()
        if records.find(conn, workspace, job, name) is not None:
            raise Conflict(
                f"executionId {name!r} exists already for this job; leave it out to get a new one.",
                code="EXECUTION_ALREADY_EXISTS",
            )
        row_id, moment = token(16), rfc3339(now)
        sealed = None
        if asked.env:
            sealed = self._vault.seal(msgspec.json.encode(asked.env), f"execution/{row_id}")
        row = ExecutionRow(
            id=row_id,
            workspace=workspace,
            job=job,
            name=name,
            status="queued",
            created_at=moment,
            updated_at=moment,
            started_at=None,
            completed_at=None,
            deadline=rfc3339(now + timedelta(seconds=spec.timeout)),
            spec=spec,
            tasks=msgspec.json.encode(asked.tasks or [{}]).decode(),
            secrets=sealed,
        )
        records.add(conn, row)
        return row

    def need(self, conn: Connection, workspace: str, job: str, name: str) -> ExecutionRow:
        """The execution of an existing job.

        Raises:
            NotFound: there is no such job, or no such execution of it.
        """
        self._store.need(conn, JOBS, workspace, job)
        row = records.find(conn, workspace, job, name)
        if row is None:
            raise NotFound(
                f"There is no execution {name[:80]!r} of job {job!r}.", code="EXECUTION_NOT_FOUND"
            )
        return row

    def cancel(
        self, conn: Connection, workspace: str, job: str, name: str, now: datetime
    ) -> ExecutionRow:
        """End an execution that has not ended; one that was cancelled before stays as it is.

        Raises:
            NotFound: see ``need``.
            BadRequest: it has ended in another way.
        """
        row = self.need(conn, workspace, job, name)
        status, _ = state_of(row, now)
        if status == "cancelled":
            return row
        if status not in LIVE:
            raise BadRequest(
                f"Execution {name!r} has ended as {status}; it cannot be cancelled any more.",
                code="EXECUTION_ENDED",
            )
        records.end(conn, row, "cancelled", rfc3339(now))
        return self.need(conn, workspace, job, name)


def _checked(document: Document, asked: JobExecutionRequest) -> ExecutionSpec:
    body: Body = msgspec.json.decode(document.body)
    runtime = body["spec"].get("runtime") or {}
    if body["spec"].get("enabled") is False:
        raise BadRequest(
            f"Job {document.name!r} is disabled; set spec.enabled to true to run it.",
            code="JOB_DISABLED",
        )
    _check_names(document.name, asked)
    _check_overrides(asked, runtime.get("memory"))
    total = len(asked.tasks or [{}])
    if total > TASKS_MAX:
        raise BadRequest(f"tasks has {total} entries; at most {TASKS_MAX}.")
    if asked.allow_queue is False:
        raise RateLimited(
            "The execution cannot start now: this version of Serai has no runner for jobs yet. "
            "Leave allowQueue out to queue it.",
            code="NO_CAPACITY",
            headers={"x-should-retry": "false"},
        )
    return ExecutionSpec(
        total=total,
        timeout=runtime.get("timeout", TIMEOUT_DEFAULT),
        parallelism=min(total, runtime.get("maxConcurrentTasks") or total),
        max_retries=runtime.get("maxRetries"),
        memory=asked.memory,
        env=list(asked.env or {}),
    )


def _check_names(job: str, asked: JobExecutionRequest) -> None:
    if asked.job_id not in {None, "", job}:
        raise BadRequest(
            f"jobId {str(asked.job_id)[:80]!r} differs from the job in the path, {job!r}."
        )
    if asked.execution_id and not NAME.match(asked.execution_id):
        raise BadRequest(
            f"executionId {asked.execution_id[:80]!r} is not valid: use 1 to 128 letters, digits, "
            "'-', '_' and '.', the first a letter or digit."
        )


def _check_overrides(asked: JobExecutionRequest, memory: int | None) -> None:
    if asked.memory is not None and asked.memory < MEMORY_MIN:
        raise BadRequest(f"memory {asked.memory} is below {MEMORY_MIN} (MiB).")
    if asked.memory is not None and memory is not None and asked.memory > memory:
        raise BadRequest(
            f"memory {asked.memory} is above the job's spec.runtime.memory {memory}; an override "
            "may only be lower."
        )
    env = asked.env or {}
    if len(env) > ENV_MAX:
        raise BadRequest(f"env has {len(env)} entries; at most {ENV_MAX}.")
    for name, value in env.items():
        if not name or "=" in name or "\0" in name + value:
            raise BadRequest(f"env {name[:80]!r} is empty, or contains '=' or a null character.")


def state_of(row: ExecutionRow, now: datetime) -> tuple[ExecutionStatus, str | None]:
    """The status of an execution at a moment, and when it ended."""
    if row.status in LIVE and row.deadline is not None and parse_rfc3339(row.deadline) <= now:
        return "timeout", row.deadline
    return row.status, row.completed_at


def view(row: ExecutionRow, now: datetime, *, tasks: bool = False) -> JobExecution:
    """An execution as clients see it; with its tasks if asked."""
    status, completed_at = state_of(row, now)
    return JobExecution(
        execution_id=row.name,
        metadata=_metadata(row, status, completed_at),
        spec=_spec(row.spec),
        status=status,
        stats=_stats(row.spec.total, status),
        tasks=list(task_views(row, now)) if tasks else None,
    )


def created(row: ExecutionRow, asked: JobExecutionRequest, now: datetime) -> CreatedJobExecution:
    """A new execution as the client that made it sees it."""
    tasks: list[dict[str, Any]] = asked.tasks or [{}]
    return CreatedJobExecution(
        execution_id=row.name,
        id=asked.id or new_uuid(),
        job_id=row.job,
        workspace_id=row.workspace,
        metadata=_metadata(row, row.status, None),
        spec=_spec(row.spec),
        status=row.status,
        stats=_stats(row.spec.total, row.status),
        tasks=tasks,
    )


def task_views(row: ExecutionRow, now: datetime) -> Iterator[JobExecutionTask]:
    """Every task of an execution, in order."""
    status, completed_at = state_of(row, now)
    task_status, reason, message = TASK_STATES[status]
    condition = JobExecutionTaskCondition(
        type="Scheduled", state="False", reason=reason, message=message
    )
    spec = JobExecutionTaskSpec(max_retries=row.spec.max_retries, timeout=f"{row.spec.timeout}s")
    for number in range(row.spec.total):
        metadata = JobExecutionTaskMetadata(
            name=f"task-{number}",
            created_at=row.created_at,
            updated_at=completed_at or row.updated_at,
            completed_at=completed_at,
        )
        yield JobExecutionTask(
            metadata=metadata, spec=spec, status=task_status, conditions=[condition]
        )


def _metadata(
    row: ExecutionRow, status: ExecutionStatus, completed_at: str | None
) -> JobExecutionMetadata:
    return JobExecutionMetadata(
        id=row.name,
        job=row.job,
        workspace=row.workspace,
        created_at=row.created_at,
        updated_at=completed_at or row.updated_at,
        started_at=row.started_at,
        completed_at=completed_at,
        expired_at=completed_at if status == "timeout" else None,
    )


def _spec(spec: ExecutionSpec) -> JobExecutionSpec:
    return JobExecutionSpec(
        parallelism=spec.parallelism,
        timeout=spec.timeout,
        memory_override=spec.memory,
        env_override=dict.fromkeys(spec.env, MASK) or None,
    )


def _stats(total: int, status: ExecutionStatus) -> JobExecutionStats:
    """Nothing runs, so tasks either wait or were cancelled with their execution."""
    ended = status in {"cancelled", "timeout"}
    return JobExecutionStats(total=total, cancelled=total if ended else 0)
