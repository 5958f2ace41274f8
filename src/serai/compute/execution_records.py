"""Rows of job executions, as functions of a Connection. Those of their tasks: ``task_records``."""

from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, or_, select, update

from serai.compute.task_states import LIVE, Counts
from serai.store.tables.storage import job_executions, job_tasks
from serai.wire.jobs import ExecutionStatus, JobVolume


class ExecutionSpec(msgspec.Struct, frozen=True):
    """What an execution was asked to do, and what its job said at that moment.

    Attributes:
        total: how many tasks.
        timeout: seconds that an attempt of a task may take.
        parallelism: how many tasks may run at the same time.
        max_retries: attempts after the first one.
        memory: an override of the job's, MiB.
        env: names of overridden variables; their values are in the row's secrets.
        memory_mb: of each task, MiB.
        image: what tasks run, as the job names it.
        command: words to run instead of the image's own.
        revision: of the job.
        job_id: internal id of the job's document.
        account_id: who pays.
        trigger: id of the trigger that made it; empty for a request.
        volumes: scratch space of the tasks.
    """

    total: int
    timeout: int
    parallelism: int
    max_retries: int | None
    memory: int | None
    env: list[str]
    memory_mb: int = 0
    image: str = ""
    command: list[str] = []
    revision: str = ""
    job_id: str = ""
    account_id: str = ""
    trigger: str = ""
    volumes: list[JobVolume] = []


class ExecutionRow(msgspec.Struct, frozen=True, kw_only=True):
    """One execution; ``name`` is the id that clients know. Times are RFC 3339 text.

    ``tasks`` is the JSON array of each task's parameters; ``deadline`` is until when it may wait
    for its first task to begin; ``secrets`` all variables of its tasks as a JSON object, sealed
    for ``execution/{id}``. ``counts`` says where its tasks are once it has ended. Until
    ``lease_until`` somebody runs it, who renews that.
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
    counts: Counts | None = None
    lease_until: str | None = None


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
    if values["counts"] is not None:
        values["counts"] = msgspec.json.decode(values["counts"], type=Counts)
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


def get(conn: Connection, execution_id: str) -> ExecutionRow | None:
    """The execution of an internal id."""
    row = conn.execute(select(*COLUMNS).where(job_executions.c.id == execution_id)).first()
    return _parse(row) if row is not None else None


def status_of(conn: Connection, row: ExecutionRow) -> ExecutionStatus:
    """Its status now: the row may be older. ``cancelled`` when it is gone."""
    c = job_executions.c
    query = select(c.status).where(c.id == row.id, c.workspace == row.workspace)
    found: ExecutionStatus | None = conn.execute(query).scalar()
    return found or "cancelled"


def overdue(conn: Connection, moment: str) -> list[ExecutionRow]:
    """Those that have waited too long for their first task to begin."""
    c = job_executions.c
    late = select(*COLUMNS).where(c.status == "queued", c.deadline <= moment)
    return [_parse(row) for row in conn.execute(late)]


def drop_old(conn: Connection, before: str, most: int) -> int:
    """Forget executions that ended before then, with their tasks; how many, ``most`` at a time."""
    c = job_executions.c
    query = select(c.id).where(c.status.not_in(LIVE), c.completed_at < before)
    ids = list(conn.execute(query.order_by(c.completed_at).limit(most)).scalars())
    conn.execute(delete(job_tasks).where(job_tasks.c.execution_id.in_(ids)))
    conn.execute(delete(job_executions).where(c.id.in_(ids)))
    return len(ids)


def living(conn: Connection, workspace: str, job: str) -> list[ExecutionRow]:
    """Those of a job that have not ended."""
    c = job_executions.c
    query = select(*COLUMNS).where(*_of(workspace, job), c.status.in_(LIVE))
    return [_parse(row) for row in conn.execute(query)]


def waiting_of(conn: Connection, workspace: str, job: str) -> list[ExecutionRow]:
    """Those of a job that wait for their first task to begin."""
    c = job_executions.c
    waiting = c.status.in_(["queued", "pending"])
    query = select(*COLUMNS).where(*_of(workspace, job), waiting)
    return [_parse(row) for row in conn.execute(query)]


def change(conn: Connection, row: ExecutionRow, **values: Any) -> None:
    """Set some columns of an execution."""
    if values.get("counts") is not None:
        values["counts"] = msgspec.json.encode(values["counts"]).decode()
    c = job_executions.c
    mine = update(job_executions).where(c.id == row.id, c.workspace == row.workspace)
    conn.execute(mine.values(values))


def waits(conn: Connection, moment: str) -> bool:
    """Whether there are any that nobody runs."""
    c = job_executions.c
    free = or_(c.lease_until.is_(None), c.lease_until <= moment)
    query = select(c.id).where(c.status.in_(LIVE), free).limit(1)
    return conn.execute(query).first() is not None


def lease(conn: Connection, moment: str, until: str, limit: int) -> list[ExecutionRow]:
    """Take executions that nobody runs, the oldest first, and keep others away until then."""
    c = job_executions.c
    free = or_(c.lease_until.is_(None), c.lease_until <= moment)
    query = select(*COLUMNS).where(c.status.in_(LIVE), free).order_by(c.created_at, c.id)
    found = [_parse(row) for row in conn.execute(query.limit(limit))]
    for row in found:
        change(conn, row, lease_until=until)
    return found


def renew(conn: Connection, ids: list[str], until: str) -> None:
    """Keep others away for longer."""
    c = job_executions.c
    conn.execute(update(job_executions).where(c.id.in_(ids)).values(lease_until=until))


def free_all(conn: Connection) -> None:
    """Forget who ran what: at the start of the one process that holds the data directory."""
    c = job_executions.c
    conn.execute(update(job_executions).where(c.lease_until.is_not(None)).values(lease_until=None))


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
