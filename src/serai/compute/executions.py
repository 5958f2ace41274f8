"""Executions of jobs: making and cancelling them. What runs them is told when there is news."""

import re
from datetime import datetime, timedelta
from typing import Protocol

import msgspec
from sqlalchemy import Connection

from serai.compute import execution_records as records
from serai.compute import task_records
from serai.compute.execution_records import ExecutionRow, ExecutionSpec
from serai.compute.jobs import JOBS, TIMEOUT_DEFAULT
from serai.compute.task_states import CANCELLED, LIVE
from serai.kernel.clock import rfc3339
from serai.kernel.errors import BadRequest, Conflict, NotFound, RateLimited, UsageLimitExceeded
from serai.kernel.ids import new_uuid, token
from serai.resources import quotas, revisions
from serai.resources.documents import Document
from serai.resources.kind import Body
from serai.resources.store import DocumentStore
from serai.resources.tenants import need_tenant
from serai.store.secrets import Vault
from serai.wire.jobs import JobExecutionRequest, JobVolume

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}\Z")
TASKS_MAX = 10_000
ENV_MAX = 1000
MEMORY_MIN = 128
MEMORY_DEFAULT = 2048
QUEUE_TIME = timedelta(hours=24)
"""How long an execution may wait for its first task to begin."""


class Places(Protocol):
    """What runs tasks on this machine."""

    def is_full(self, conn: Connection) -> bool:
        """Whether a new execution would have to wait for others."""


class Executions:
    """What can be done with executions. Methods run inside the caller's transaction."""

    def __init__(self, store: DocumentStore, vault: Vault, places: Places) -> None:
        self._store = store
        self._vault = vault
        self._places = places

    def create(
        self,
        conn: Connection,
        workspace: str,
        job: str,
        asked: JobExecutionRequest,
        now: datetime,
        trigger: str = "",
    ) -> ExecutionRow:
        """Store a new execution of a job, with its tasks.

        Raises:
            NotFound: there is no such job.
            BadRequest: a rule is broken, or the job is disabled or has no image.
            Forbidden: a policy of the job does not let it run here.
            Conflict: the execution id is taken.
            RateLimited: the client does not want to wait.
        """
        document = self._store.need(conn, JOBS, workspace, job)
        self._store.ask_rules(conn, JOBS, document)
        body = self.active(conn, document)
        spec = _checked(document, body, asked)
        spec = msgspec.structs.replace(
            spec, account_id=need_tenant(conn, workspace).account_id, trigger=trigger
        )
        name = asked.execution_id or new_uuid()
        if records.find(conn, workspace, job, name) is not None:
            raise Conflict(
                f"executionId {name!r} exists already for this job; leave it out to get a new one.",
                code="EXECUTION_ALREADY_EXISTS",
            )
        self._check_capacity(conn, workspace, spec, queued=asked.allow_queue is not False)
        row_id, moment = token(16), rfc3339(now)
        environment = msgspec.json.encode(_environment(body) | (asked.env or {}))
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
            deadline=rfc3339(now + QUEUE_TIME),
            spec=spec,
            tasks=msgspec.json.encode(asked.tasks or [{}]).decode(),
            secrets=self._vault.seal(environment, f"execution/{row_id}"),
        )
        records.add(conn, row)
        task_records.add_all(conn, row)
        return row

    def active(self, conn: Connection, document: Document) -> Body:
        """The settings that the job's executions begin with, secrets in clear."""
        body = self._store.reveal(JOBS, document)
        route = body["spec"].get("revision") or {}
        kept = revisions.of_document(conn, document.id)
        chosen = next((one for one in kept if one.id == route.get("active")), None)
        if chosen is None:
            return body
        found = self._store.history.revisions.reveal(JOBS, document.id, chosen)
        found["spec"]["revision"] = route
        return found

    def _check_capacity(
        self, conn: Connection, workspace: str, spec: ExecutionSpec, *, queued: bool
    ) -> None:
        most = quotas.job_memory_limit(conn, workspace)
        if most is not None and spec.memory_mb > most:
            raise BadRequest(
                f"A task needs {spec.memory_mb} MiB and all tasks of this workspace may have "
                f"{most} together: it could never start. Send a smaller memory, or ask an account "
                "admin to raise the limit.",
                code="QUOTA_TOO_SMALL",
            )
        if queued:
            return
        why = "all places for tasks are taken"
        try:
            quotas.check_job_memory(conn, workspace, spec.memory_mb)
            full = self._places.is_full(conn)
        except UsageLimitExceeded as problem:
            full, why = True, problem.message
        if full:
            raise RateLimited(
                f"The execution cannot start now: {why} Leave allowQueue out to queue it.",
                code="NO_CAPACITY",
                headers={"x-should-retry": "false"},
            )

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
        if row.status in {"cancelled", "cancelling"}:
            return row
        if row.status not in LIVE:
            raise BadRequest(
                f"Execution {name!r} has ended as {row.status}; it cannot be cancelled any more.",
                code="EXECUTION_ENDED",
            )
        return begin_cancel(conn, row, rfc3339(now))


def begin_cancel(conn: Connection, row: ExecutionRow, at: str) -> ExecutionRow:
    """End what waits of an execution; what runs is ended by whoever runs it."""
    records.change(conn, row, status="cancelling", updated_at=at)
    cancelling = msgspec.structs.replace(row, status="cancelling", updated_at=at)
    task_records.end_pending(conn, row, "cancelled", at, "CANCELLED", CANCELLED)
    return task_records.settle(conn, cancelling, at)


def cancel_all(conn: Connection, workspace: str, job: str, at: str) -> None:
    """Cancel everything of a job that has not ended, because the job is deleted."""
    for row in records.living(conn, workspace, job):
        begin_cancel(conn, row, at)


def _checked(document: Document, body: Body, asked: JobExecutionRequest) -> ExecutionSpec:
    spec = body["spec"]
    runtime = spec.get("runtime") or {}
    if msgspec.json.decode(document.body)["spec"].get("enabled") is False:
        raise BadRequest(
            f"Job {document.name!r} is disabled; set spec.enabled to true to run it.",
            code="JOB_DISABLED",
        )
    if not runtime.get("image"):
        raise BadRequest(
            f"Job {document.name!r} has no image yet: deploy it (bl deploy), or set "
            "spec.runtime.image.",
            code="JOB_NOT_DEPLOYED",
        )
    _check_names(document.name, asked)
    _check_overrides(asked, runtime.get("memory"))
    total = len(asked.tasks or [{}])
    if total > TASKS_MAX:
        raise BadRequest(f"tasks has {total} entries; at most {TASKS_MAX}.")
    return ExecutionSpec(
        total=total,
        timeout=runtime.get("timeout", TIMEOUT_DEFAULT),
        parallelism=min(total, runtime.get("maxConcurrentTasks") or total),
        max_retries=runtime.get("maxRetries"),
        memory=asked.memory,
        env=list(asked.env or {}),
        memory_mb=asked.memory or runtime.get("memory") or MEMORY_DEFAULT,
        image=runtime["image"],
        command=runtime.get("command") or [],
        revision=(spec.get("revision") or {}).get("active") or "",
        job_id=document.id,
        volumes=msgspec.convert(spec.get("volumes") or [], list[JobVolume]),
    )


def _environment(body: Body) -> dict[str, str]:
    runtime = body["spec"].get("runtime") or {}
    return {env["name"]: env.get("value", "") for env in runtime.get("envs") or []}


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
