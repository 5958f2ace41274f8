"""Schedules of sandboxes and what came of them.

``body`` is the public entry as JSON with secrets masked, ``secrets`` their encrypted map. An
execution exists from the moment its time has come: until ``executed_at`` is set it is still to
run, with ``job``, the sealed process request, as all it needs.
"""

from sqlalchemy import Column, Index, Integer, LargeBinary, String, Table, Text

from serai.store.tables import metadata

schedules = Table(
    "sandbox_schedules",
    metadata,
    Column("workspace", String, primary_key=True),
    Column("sandbox", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("type", String, nullable=False),
    Column("value", String, nullable=False),
    Column("max_executions", Integer, nullable=False),
    Column("created_at", String, nullable=False),
    Column("next_run_at", String, nullable=False, index=True),
    Column("search", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("secrets", LargeBinary),
)

schedule_executions = Table(
    "sandbox_schedule_executions",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("workspace", String, nullable=False),
    Column("sandbox", String, nullable=False),
    Column("schedule_id", String, nullable=False),
    Column("max_executions", Integer, nullable=False),
    Column("process_name", String, nullable=False),
    Column("timeout", Integer, nullable=False),
    Column("created_at", String, nullable=False),
    Column("executed_at", String, index=True),
    Column("status", String),
    Column("status_code", Integer),
    Column("error", Text),
    Column("job", LargeBinary),
    sqlite_autoincrement=True,
)
Index(
    "sandbox_schedule_executions_place",
    schedule_executions.c.workspace,
    schedule_executions.c.sandbox,
    schedule_executions.c.schedule_id,
    schedule_executions.c.seq,
)
