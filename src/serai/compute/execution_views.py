"""Executions and their tasks as clients see them."""

from typing import Any

from serai.compute.execution_records import ExecutionRow, ExecutionSpec
from serai.compute.task_records import TaskRow
from serai.compute.task_states import Counts, shown_status
from serai.kernel.ids import new_uuid
from serai.wire.jobs import (
    CreatedJobExecution,
    JobExecution,
    JobExecutionMetadata,
    JobExecutionRequest,
    JobExecutionSpec,
    JobExecutionStats,
    JobExecutionTask,
    JobExecutionTaskCondition,
    JobExecutionTaskMetadata,
    JobExecutionTaskSpec,
)

MASK = "***"


def view(row: ExecutionRow, counts: Counts, tasks: list[TaskRow] | None = None) -> JobExecution:
    """An execution; with its tasks where they are given."""
    return JobExecution(
        execution_id=row.name,
        metadata=_metadata(row),
        spec=_spec(row.spec),
        status=row.status,
        stats=_stats(counts),
        tasks=[task_view(row, task) for task in tasks] if tasks is not None else None,
    )


def created(row: ExecutionRow, asked: JobExecutionRequest) -> CreatedJobExecution:
    """A new execution as the client that made it sees it.

    Tasks without parameters are not repeated: official SDKs cannot read an empty one.
    """
    tasks: list[dict[str, Any]] = asked.tasks or [{}]
    return CreatedJobExecution(
        execution_id=row.name,
        id=asked.id or new_uuid(),
        job_id=row.job,
        workspace_id=row.workspace,
        metadata=_metadata(row),
        spec=_spec(row.spec),
        status=row.status,
        stats=_stats(Counts(total=row.spec.total)),
        tasks=tasks if all(tasks) else None,
    )


def task_view(row: ExecutionRow, task: TaskRow) -> JobExecutionTask:
    """A task of an execution."""
    metadata = JobExecutionTaskMetadata(
        name=task.name,
        created_at=row.created_at,
        updated_at=task.updated_at,
        scheduled_at=task.scheduled_at,
        started_at=task.started_at,
        completed_at=task.ended_at,
    )
    spec = JobExecutionTaskSpec(max_retries=row.spec.max_retries, timeout=f"{row.spec.timeout}s")
    status = shown_status(task.phase, task.attempt)
    return JobExecutionTask(
        metadata=metadata, spec=spec, status=status, conditions=[_condition(row, task)]
    )


def _condition(row: ExecutionRow, task: TaskRow) -> JobExecutionTaskCondition:
    """Why it is where it is."""
    if task.phase == "pending" and not task.attempt:
        why = f"The task waits; {row.spec.parallelism} run at the same time."
        return JobExecutionTaskCondition(
            type="Scheduled", state="Unknown", reason="WAITING", message=why
        )
    if task.phase == "running":
        what = f"Attempt {task.attempt} runs until {task.deadline} at most."
        return JobExecutionTaskCondition(
            type="Started", state="True", reason="RUNNING", message=what
        )
    if task.phase == "pending":
        return JobExecutionTaskCondition(
            type="Completed",
            state="Unknown",
            reason=task.reason,
            message=task.message,
            severity="WARNING",
            execution_reason="RETRYING",
        )
    return JobExecutionTaskCondition(
        type="Completed",
        state="True" if task.phase == "succeeded" else "False",
        reason=task.reason or task.phase.upper(),
        message=task.message,
        severity="ERROR" if task.phase == "failed" else None,
    )


def _metadata(row: ExecutionRow) -> JobExecutionMetadata:
    return JobExecutionMetadata(
        id=row.name,
        job=row.job,
        workspace=row.workspace,
        created_at=row.created_at,
        updated_at=row.updated_at,
        started_at=row.started_at,
        completed_at=row.completed_at,
        expired_at=row.completed_at if row.status == "timeout" else None,
    )


def _spec(spec: ExecutionSpec) -> JobExecutionSpec:
    return JobExecutionSpec(
        parallelism=spec.parallelism,
        timeout=spec.timeout,
        memory_override=spec.memory,
        env_override=dict.fromkeys(spec.env, MASK) or None,
    )


def _stats(counts: Counts) -> JobExecutionStats:
    return JobExecutionStats(
        total=counts.total,
        running=counts.running,
        success=counts.succeeded,
        failure=counts.failed,
        cancelled=counts.cancelled,
        retried=counts.retried,
    )
