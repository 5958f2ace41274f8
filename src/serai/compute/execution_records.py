"""Rows of job executions, as functions of a Connection."""

from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, func, insert, or_, select, update

from serai.store.tables.storage import job_executions
from serai.wire.jobs import ExecutionStatus

LIVE = ("queued", "pending", "running", "cancelling")
"""Statuses that an execution may still leave."""


class ExecutionSpec(msgspec.Struct, frozen=True):
    """What an execution was asked to do.

    ``env`` holds the names of overridden variables only; their values are in the row's secrets.
    ``timeout`` is in seconds, ``memory`` in MiB, ``total`` counts the tasks.
    """

    total: int
    timeout: int
    parallelism: int
    max_retries: int | None
    memory: int | None
    env: list[str]


class ExecutionRow(msgspec.Struct, frozen=True, kw_only=True):
    """One execution; ``name`` is the id that clients know. Times are RFC 3339 text.

    ``tasks`` is the JSON array of each task's parameters; ``deadline`` is when the execution ends
    as ``timeout``; ``secrets`` the values of overridden variables as a JSON object, sealed for
    ``execution/{id}``.
    """

    id: str
    workspace: str
    job: str
    name: str
    status: ExecutionStatus
    created_at: str
    updated_at: str
    started_at: str | None
    completed_at: str | None
    deadline: str | None
    spec: ExecutionSpec
    tasks: str
    secrets: bytes | None


class Position(msgspec.Struct, frozen=True):
    """Where a page begins: after an execution, or after so many; at most ``limit`` long."""

    limit: int
    after: list[str] | None = None
    offset: int = 0


FIELDS = ExecutionRow.__struct_fields__
COLUMNS = [job_executions.c[name] for name in FIELDS]


def _parse(row: Any) -> ExecutionRow:
    values = dict(zip(FIELDS, row, strict=True))
    values["spec"] = msgspec.json.decode(values["spec"], type=ExecutionSpec)
    return ExecutionRow(**values)


def _of(workspace: str, job: str) -> list[ColumnElement[bool]]:
    return [job_executions.c.workspace == workspace, job_executions.c.job == job]


def add(conn: Connection, row: ExecutionRow) -> None:
    """Insert a row."""
    values = {name: getattr(row, name) for name in FIELDS}
    values["spec"] = msgspec.json.encode(row.spec).decode()
    conn.execute(insert(job_executions).values(values))


def find(conn: Connection, workspace: str, job: str, name: str) -> ExecutionRow | None:
    """The execution that clients know by that id."""
    c = job_executions.c
    row = conn.execute(select(*COLUMNS).where(*_of(workspace, job), c.name == name)).first()
    return _parse(row) if row is not None else None


def end(conn: Connection, row: ExecutionRow, status: ExecutionStatus, at: str) -> None:
    """Write the final status of an execution."""
    c = job_executions.c
    values = {"status": status, "updated_at": at, "completed_at": at}
    conn.execute(
        update(job_executions).where(c.id == row.id, c.workspace == row.workspace).values(values)
    )


def cancel_all(conn: Connection, workspace: str, job: str, at: str) -> None:
    """End everything of a job that has not ended, because the job is deleted.

    What had run out of time before keeps its deadline as the moment of its end.
    """
    c = job_executions.c
    live = (*_of(workspace, job), c.status.in_(LIVE))
    late = update(job_executions).where(*live, c.deadline <= at)
    conn.execute(
        late.values({"status": "timeout", "updated_at": c.deadline, "completed_at": c.deadline})
    )
    values = {"status": "cancelled", "updated_at": at, "completed_at": at}
    conn.execute(update(job_executions).where(*live).values(values))


def page(
    conn: Connection, workspace: str, job: str, at: Position, *, descending: bool, q: str | None
) -> list[ExecutionRow]:
    """Executions in order of creation, one more than the limit if there are more."""
    c = job_executions.c
    conditions = _of(workspace, job)
    if q is not None:
        conditions.append(func.lower(c.name).contains(q, autoescape=True))
    if at.after is not None:
        conditions.append(_beyond(at.after, descending))
    order = (c.created_at.desc(), c.id.desc()) if descending else (c.created_at, c.id)
    query = select(*COLUMNS).where(*conditions).order_by(*order)
    return [_parse(row) for row in conn.execute(query.limit(at.limit + 1).offset(at.offset))]


def _beyond(after: list[str], descending: bool) -> ColumnElement[bool]:
    c = job_executions.c
    created, row_id = after
    if descending:
        return or_(c.created_at < created, and_(c.created_at == created, c.id < row_id))
    return or_(c.created_at > created, and_(c.created_at == created, c.id > row_id))


def count(conn: Connection, workspace: str, job: str) -> int:
    """How many executions a job has."""
    query = select(func.count()).where(*_of(workspace, job))
    return int(conn.execute(query).scalar_one())
