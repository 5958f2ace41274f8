"""Executions of jobs, versions of volume templates, what volumes start with, and signing keys.

Times are RFC 3339 text in UTC, sizes are bytes.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    text,
)

from serai.store.tables import metadata
from serai.store.tables.documents import documents

job_executions = Table(
    "job_executions",
    metadata,
    Column("id", String, primary_key=True),
    Column("workspace", String, nullable=False),
    Column("job", String, nullable=False),
    Column("name", String, nullable=False),
    Column("status", String, nullable=False),
    Column("created_at", String, nullable=False),
    Column("updated_at", String, nullable=False),
    Column("started_at", String),
    Column("completed_at", String),
    Column("deadline", String),
    Column("spec", Text, nullable=False),
    Column("tasks", Text, nullable=False),
    Column("secrets", LargeBinary),
    Column("counts", Text),
    Column("lease_until", String),
)
Index("job_executions_status", job_executions.c.status)
Index(
    "job_executions_name",
    job_executions.c.workspace,
    job_executions.c.job,
    job_executions.c.name,
    unique=True,
)
Index(
    "job_executions_created",
    job_executions.c.workspace,
    job_executions.c.job,
    job_executions.c.created_at,
    job_executions.c.id,
)

job_tasks = Table(
    "job_tasks",
    metadata,
    Column("execution_id", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("workspace", String, nullable=False),
    Column("phase", String, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("losses", Integer, nullable=False),
    Column("updated_at", String, nullable=False),
    Column("box_id", String),
    Column("run_at", String),
    Column("scheduled_at", String),
    Column("started_at", String),
    Column("ended_at", String),
    Column("deadline", String),
    Column("exit_code", Integer),
    Column("reason", String),
    Column("message", Text),
)
Index("job_tasks_phase", job_tasks.c.execution_id, job_tasks.c.phase, job_tasks.c.number)

job_boxes = Table(
    "job_boxes",
    metadata,
    Column("id", String, primary_key=True),
    Column("workspace", String, nullable=False),
    Column("execution_id", String, nullable=False, index=True),
    Column("job_id", String, nullable=False, index=True),
    Column("memory_mb", Integer, nullable=False),
    Column("created_at", String, nullable=False),
    Column("handle", Text),
)

job_cron = Table(
    "job_cron",
    metadata,
    Column("document_id", String, primary_key=True),
    Column("trigger_id", String, primary_key=True),
    Column("workspace", String, nullable=False),
    Column("job", String, nullable=False),
    Column("schedule", String, nullable=False),
    Column("next_run_at", String, nullable=False, index=True),
)

template_versions = Table(
    "template_versions",
    metadata,
    Column("id", String, primary_key=True),
    Column("workspace", String, nullable=False),
    Column("template", String, nullable=False),
    Column("name", String, nullable=False),
    Column("number", Integer, nullable=False),
    Column("status", String, nullable=False),
    Column("digest", String),
    Column("content_size", BigInteger),
    Column("unpacked_size", BigInteger),
    Column("created_at", String, nullable=False),
    Column("uploaded_at", String),
)
Index(
    "template_versions_name",
    template_versions.c.workspace,
    template_versions.c.template,
    template_versions.c.name,
    unique=True,
)
Index("template_versions_digest", template_versions.c.digest)

volume_contents = Table(
    "volume_contents",
    metadata,
    Column("volume_id", String, primary_key=True),
    Column("digest", String, nullable=False),
)
Index("volume_contents_digest", volume_contents.c.digest)

drive_keys = Table(
    "drive_keys",
    metadata,
    Column("kid", String, primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("public", Text, nullable=False),
    Column("created_at", String, nullable=False),
)

VOLUMES_OF_BODY = "json_extract(body, '$.spec.volumes')"

Index(
    "documents_volumes",
    documents.c.workspace,
    sqlite_where=text(f"{VOLUMES_OF_BODY} IS NOT NULL"),
)
