"""Tasks of executions, the boxes that run them, and when triggers of jobs are due."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Create the tables; executions of a time when nothing ran any end, with their tasks."""
    op.add_column("job_executions", sa.Column("counts", sa.Text))
    op.add_column("job_executions", sa.Column("lease_until", sa.String))
    op.create_index("job_executions_status", "job_executions", ["status"])
    _tasks()
    _boxes()
    _cron()
    _end_waiting()


def _end_waiting() -> None:
    conn = op.get_bind()
    now = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"
    if conn.dialect.name == "postgresql":
        now = "to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"
    live = "status IN ('queued', 'pending', 'running', 'cancelling')"
    for status, at, which in (
        ("timeout", "deadline", f"deadline <= {now}"),
        ("cancelled", now, "1 = 1"),
    ):
        conn.exec_driver_sql(
            f"UPDATE job_executions SET status = '{status}', updated_at = {at},"  # noqa: S608
            f" completed_at = {at} WHERE {live} AND {which}"
        )
    found = conn.exec_driver_sql("SELECT id, workspace, spec, updated_at FROM job_executions")
    for execution_id, workspace, spec, at in found.all():
        total = json.loads(spec)["total"]
        counts = json.dumps({"total": total, "cancelled": total})
        rows = [
            {"execution_id": execution_id, "number": number, "workspace": workspace}
            | {"phase": "cancelled", "attempt": 0, "losses": 0, "updated_at": at, "ended_at": at}
            for number in range(total)
        ]
        table = sa.table("job_tasks", *(sa.column(name) for name in rows[0])) if rows else None
        if table is not None:
            op.bulk_insert(table, rows)
        executions = sa.table("job_executions", sa.column("id"), sa.column("counts"))
        mine = executions.c.id == execution_id
        conn.execute(sa.update(executions).where(mine).values(counts=counts))


def _tasks() -> None:
    op.create_table(
        "job_tasks",
        sa.Column("execution_id", sa.String, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("workspace", sa.String, nullable=False),
        sa.Column("phase", sa.String, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("losses", sa.Integer, nullable=False),
        sa.Column("updated_at", sa.String, nullable=False),
        sa.Column("box_id", sa.String),
        sa.Column("run_at", sa.String),
        sa.Column("scheduled_at", sa.String),
        sa.Column("started_at", sa.String),
        sa.Column("ended_at", sa.String),
        sa.Column("deadline", sa.String),
        sa.Column("exit_code", sa.Integer),
        sa.Column("reason", sa.String),
        sa.Column("message", sa.Text),
    )
    op.create_index("job_tasks_phase", "job_tasks", ["execution_id", "phase", "number"])


def _boxes() -> None:
    op.create_table(
        "job_boxes",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("workspace", sa.String, nullable=False),
        sa.Column("execution_id", sa.String, nullable=False),
        sa.Column("job_id", sa.String, nullable=False),
        sa.Column("memory_mb", sa.Integer, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("handle", sa.Text),
    )
    op.create_index("ix_job_boxes_execution_id", "job_boxes", ["execution_id"])
    op.create_index("ix_job_boxes_job_id", "job_boxes", ["job_id"])


def _cron() -> None:
    op.create_table(
        "job_cron",
        sa.Column("document_id", sa.String, primary_key=True),
        sa.Column("trigger_id", sa.String, primary_key=True),
        sa.Column("workspace", sa.String, nullable=False),
        sa.Column("job", sa.String, nullable=False),
        sa.Column("schedule", sa.String, nullable=False),
        sa.Column("next_run_at", sa.String, nullable=False),
    )
    op.create_index("ix_job_cron_next_run_at", "job_cron", ["next_run_at"])
