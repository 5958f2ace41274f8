"""Batch jobs, their executions and the tasks of those."""

from typing import Any, Literal

from serai.wire.common import CoreEvent, Env, Metadata, PageMeta, Port, Status, Wire
from serai.wire.workloads import RevisionConfiguration, Trigger

ExecutionStatus = Literal[
    "queued", "pending", "running", "cancelling", "cancelled", "failed", "succeeded", "timeout"
]
TaskStatus = Literal[
    "unspecified", "pending", "reconciling", "failed", "succeeded", "running", "cancelled"
]


class JobRuntime(Wire):
    """How tasks run. ``memory`` is in MiB, ``timeout`` in seconds, ``max_retries`` per task.

    ``command`` is ours: words to run instead of what the image names.
    """

    image: str | None = None
    memory: int | None = None
    timeout: int | None = None
    max_retries: int | None = None
    max_concurrent_tasks: int | None = None
    disk_percent: int | None = None
    generation: Literal["mk2", "mk3"] | None = None
    command: list[str] | None = None
    envs: list[Env] | None = None
    ports: list[Port] | None = None


class JobVolume(Wire):
    """Scratch space that lives as long as a task. ``size_mb`` is in MiB."""

    name: str
    mount_path: str
    type: Literal["ephemeral"]
    size_mb: int
    read_only: bool | None = None


class GithubRunner(Wire):
    """Repositories (``owner/name``) whose workflow jobs this job runs."""

    repositories: list[str] | None = None


class JobSpec(Wire):
    """What a client wants of a job."""

    enabled: bool | None = None
    region: str | None = None
    policies: list[str] | None = None
    runtime: JobRuntime | None = None
    triggers: list[Trigger] | None = None
    revision: RevisionConfiguration | None = None
    volumes: list[JobVolume] | None = None
    github_runner: GithubRunner | None = None


class Job(Wire):
    """A batch job: a program that runs once per task of an execution."""

    metadata: Metadata
    spec: JobSpec
    status: Status | None = None
    events: list[CoreEvent] | None = None


class JobExecutionRequest(Wire):
    """What a client asks of a new execution.

    ``execution_id`` and ``id`` are made by the platform when absent. ``memory`` (MiB) may only be
    lower than the job's. With ``allow_queue`` false the execution starts at once or not at all.
    """

    tasks: list[dict[str, Any]] | None = None
    env: dict[str, str] | None = None
    memory: int | None = None
    execution_id: str | None = None
    id: str | None = None
    job_id: str | None = None
    workspace_id: str | None = None
    allow_queue: bool | None = None


class JobExecutionMetadata(Wire):
    """Which execution this is, and when it was what. Times are RFC 3339."""

    id: str
    job: str
    workspace: str
    created_at: str
    updated_at: str
    started_at: str | None = None
    completed_at: str | None = None
    expired_at: str | None = None


class JobExecutionTaskMetadata(Wire):
    """A task's name and times."""

    name: str
    created_at: str
    updated_at: str
    scheduled_at: str | None = None
    started_at: str | None = None
    completed_at: str | None = None


class JobExecutionTaskSpec(Wire):
    """Limits of a task; ``timeout`` is a duration such as ``3600s``."""

    max_retries: int | None = None
    timeout: str | None = None


class JobExecutionTaskCondition(Wire):
    """Why a task is in its state."""

    type: str | None = None
    state: str | None = None
    reason: str | None = None
    message: str | None = None
    severity: str | None = None
    execution_reason: str | None = None


class JobExecutionTask(Wire):
    """One run of the job's program."""

    metadata: JobExecutionTaskMetadata
    spec: JobExecutionTaskSpec | None = None
    status: TaskStatus | None = None
    conditions: list[JobExecutionTaskCondition] | None = None


class JobExecutionTaskList(Wire):
    """A page of tasks."""

    data: list[JobExecutionTask]
    meta: PageMeta


class JobExecutionSpec(Wire):
    """What was asked of an execution; values of ``env_override`` are masked.

    ``timeout`` is in seconds, ``memory_override`` in MiB.
    """

    parallelism: int
    timeout: int | None = None
    memory_override: int | None = None
    env_override: dict[str, str] | None = None


class JobExecutionStats(Wire, omit_defaults=False):
    """How many tasks are in which state."""

    total: int
    running: int = 0
    success: int = 0
    failure: int = 0
    cancelled: int = 0
    retried: int = 0


class JobExecution(Wire):
    """One execution of a job. ``execution_id`` repeats ``metadata.id``: clients read either."""

    execution_id: str
    metadata: JobExecutionMetadata
    spec: JobExecutionSpec
    status: ExecutionStatus
    stats: JobExecutionStats
    tasks: list[JobExecutionTask] | None = None


class JobExecutionList(Wire):
    """A page of executions."""

    data: list[JobExecution]
    meta: PageMeta


class CreatedJobExecution(Wire):
    """The answer to a new execution: the execution itself, and what clients named it by.

    ``tasks`` are the parameters that were sent, where each task has some; ``id`` is that of the
    request.
    """

    execution_id: str
    id: str
    job_id: str
    workspace_id: str
    metadata: JobExecutionMetadata
    spec: JobExecutionSpec
    status: ExecutionStatus
    stats: JobExecutionStats
    tasks: list[dict[str, Any]] | None = None
