"""Rows of schedules and their executions, as functions of a Connection.

An execution exists from the moment its time has come; until ``executed_at`` is set it is still to
run, and ``job`` is what to run. Times are RFC 3339 text in UTC with milliseconds, so that they
compare as text.
"""

from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update

from serai.store.tables.schedules import schedule_executions, schedules


class ScheduleRow(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule. ``body`` is its public JSON with secrets masked."""

    workspace: str
    sandbox: str
    id: str
    type: str
    value: str
    max_executions: int
    created_at: str
    next_run_at: str
    search: str
    body: str
    secrets: bytes | None


class ExecutionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A run, done or still to do."""

    workspace: str
    sandbox: str
    schedule_id: str
    max_executions: int
    process_name: str
    timeout: int
    created_at: str
    seq: int | None = None
    executed_at: str | None = None
    status: str | None = None
    status_code: int | None = None
    error: str | None = None
    job: bytes | None = None


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """Part of a list: ``after`` is the position of the last item of the page before."""

    column: str
    descending: bool
    after: list[str] | None
    size: int


Condition = ColumnElement[bool]
FIELDS = ScheduleRow.__struct_fields__
COLUMNS = [schedules.c[name] for name in FIELDS]
RUN_FIELDS = ExecutionRow.__struct_fields__
RUN_COLUMNS = [schedule_executions.c[name] for name in RUN_FIELDS]


def _schedule(row: Any) -> ScheduleRow:
    return ScheduleRow(**dict(zip(FIELDS, row, strict=True)))


def _execution(row: Any) -> ExecutionRow:
    return ExecutionRow(**dict(zip(RUN_FIELDS, row, strict=True)))


def _is(row: ScheduleRow) -> Condition:
    c = schedules.c
    return (c.workspace == row.workspace) & (c.sandbox == row.sandbox) & (c.id == row.id)


# -- schedules
def find(conn: Connection, workspace: str, sandbox: str, schedule_id: str) -> ScheduleRow | None:
    """The schedule of that id."""
    c = schedules.c
    query = select(*COLUMNS).where(
        c.workspace == workspace, c.sandbox == sandbox, c.id == schedule_id
    )
    row = conn.execute(query).first()
    return _schedule(row) if row is not None else None


def save(conn: Connection, row: ScheduleRow, *, new: bool) -> None:
    """Insert or overwrite."""
    values = msgspec.structs.asdict(row)
    statement = insert(schedules) if new else update(schedules).where(_is(row))
    conn.execute(statement.values(values))


def drop(conn: Connection, row: ScheduleRow) -> None:
    """Delete a schedule; its executions stay."""
    conn.execute(delete(schedules).where(_is(row)))


def drop_sandbox(conn: Connection, workspace: str, sandbox: str) -> None:
    """Delete all of a sandbox's schedules and executions."""
    for table in (schedules, schedule_executions):
        c = table.c
        conn.execute(delete(table).where(c.workspace == workspace, c.sandbox == sandbox))


def count(conn: Connection, workspace: str, sandbox: str | None = None) -> int:
    """How many schedules a sandbox, or the whole workspace, has."""
    c = schedules.c
    query = select(func.count()).select_from(schedules).where(c.workspace == workspace)
    if sandbox is not None:
        query = query.where(c.sandbox == sandbox)
    return int(conn.execute(query).scalar_one())


def due(conn: Connection, moment: str) -> list[ScheduleRow]:
    """Schedules whose time has come, the oldest first."""
    c = schedules.c
    query = select(*COLUMNS).where(c.next_run_at <= moment).order_by(c.next_run_at).limit(100)
    return [_schedule(row) for row in conn.execute(query)]


def next_due(conn: Connection) -> str | None:
    """When the next schedule's time comes."""
    moment: str | None = conn.execute(select(func.min(schedules.c.next_run_at))).scalar()
    return moment


def conditions(workspace: str, **wanted: str | None) -> list[Condition]:
    """Which schedules: by exact ``sandbox``, ``type``, and text ``q``; ``None`` for any."""
    c = schedules.c
    found = [c.workspace == workspace]
    found += [c[name] == wanted[name] for name in ("sandbox", "type") if wanted.get(name)]
    if wanted.get("q"):
        found.append(c.search.contains(wanted["q"], autoescape=True))
    return found


def page(
    conn: Connection, within: list[Condition], span: Span
) -> tuple[list[ScheduleRow], list[str], int]:
    """Some schedules, where the next page goes on (empty: nowhere), and how many there are."""
    c = schedules.c
    keys = [c[span.column], c.sandbox, c.id]
    query = select(*COLUMNS).where(*within)
    if span.after is not None:
        query = query.where(_beyond(keys, span.after, span.descending))
    order = [key.desc() if span.descending else key.asc() for key in keys]
    rows = [_schedule(row) for row in conn.execute(query.order_by(*order).limit(span.size + 1))]
    total = conn.execute(select(func.count()).select_from(schedules).where(*within)).scalar_one()
    more, rows = len(rows) > span.size, rows[: span.size]
    last = [getattr(rows[-1], span.column), rows[-1].sandbox, rows[-1].id] if more else []
    return rows, last, int(total)


def _beyond(keys: list[Any], after: list[str], descending: bool) -> Condition:
    found: Condition | None = None
    for key, value in reversed(list(zip(keys, after, strict=True))):
        past = key < value if descending else key > value
        found = past if found is None else past | ((key == value) & found)
    assert found is not None
    return found


# -- executions
def enqueue(conn: Connection, row: ExecutionRow) -> int:
    """A run that is still to do; returns its number."""
    values = msgspec.structs.asdict(row)
    del values["seq"]
    made = conn.execute(insert(schedule_executions).values(values))
    return int(made.inserted_primary_key[0])  # type: ignore[index]


def name_process(conn: Connection, seq: int, name: str, job: bytes) -> None:
    """Set what only the run's number decides."""
    c = schedule_executions.c
    conn.execute(update(schedule_executions).where(c.seq == seq).values(process_name=name, job=job))


def unfinished(conn: Connection) -> list[ExecutionRow]:
    """Runs still to do, the oldest first."""
    c = schedule_executions.c
    query = select(*RUN_COLUMNS).where(c.executed_at.is_(None)).order_by(c.seq)
    return [_execution(row) for row in conn.execute(query)]


def waits(conn: Connection, row: ExecutionRow) -> bool:
    """Whether a run is still to do: it goes away with its sandbox."""
    c = schedule_executions.c
    query = select(c.seq).where(c.seq == row.seq, c.executed_at.is_(None))
    return conn.execute(query).first() is not None


def finish(
    conn: Connection, row: ExecutionRow, moment: str, status_code: int, error: str | None
) -> None:
    """Record the outcome of a run and keep no more than its schedule wants."""
    c = schedule_executions.c
    status = "succeeded" if 200 <= status_code < 400 else "failed"
    conn.execute(
        update(schedule_executions)
        .where(c.seq == row.seq)
        .values(executed_at=moment, status=status, status_code=status_code, error=error, job=None)
    )
    mine = [
        c.workspace == row.workspace,
        c.sandbox == row.sandbox,
        c.schedule_id == row.schedule_id,
        c.executed_at.is_not(None),
    ]
    keep = select(c.seq).where(*mine).order_by(c.seq.desc()).limit(row.max_executions)
    conn.execute(delete(schedule_executions).where(*mine, c.seq.not_in(keep)))


def run_conditions(workspace: str, **wanted: str | None) -> list[Condition]:
    """Which finished runs: by ``sandbox``, ``schedule``, ``status``, text ``q``, and time.

    ``since`` is included, ``until`` is not; ``None`` for any.
    """
    c = schedule_executions.c
    found = [c.workspace == workspace, c.executed_at.is_not(None)]
    named = {"sandbox": c.sandbox, "schedule": c.schedule_id, "status": c.status}
    found += [column == wanted[name] for name, column in named.items() if wanted.get(name)]
    if wanted.get("since"):
        found.append(c.executed_at >= wanted["since"])
    if wanted.get("until"):
        found.append(c.executed_at < wanted["until"])
    if text := wanted.get("q"):
        places = (c.schedule_id, c.process_name, c.sandbox, c.error)
        matches = [func.lower(place).contains(text, autoescape=True) for place in places]
        found.append(matches[0] | matches[1] | matches[2] | func.coalesce(matches[3], False))
    return found


def run_page(
    conn: Connection, within: list[Condition], span: Span
) -> tuple[list[ExecutionRow], list[str], int]:
    """Some finished runs by number, where the next page goes on, and how many there are."""
    c = schedule_executions.c
    query = select(*RUN_COLUMNS).where(*within)
    if span.after is not None:
        number = int(span.after[0])
        query = query.where(c.seq < number if span.descending else c.seq > number)
    order = c.seq.desc() if span.descending else c.seq.asc()
    rows = [_execution(row) for row in conn.execute(query.order_by(order).limit(span.size + 1))]
    total = conn.execute(
        select(func.count()).select_from(schedule_executions).where(*within)
    ).scalar_one()
    more, rows = len(rows) > span.size, rows[: span.size]
    return rows, [str(rows[-1].seq)] if more else [], int(total)


def run_counts(conn: Connection, within: list[Condition]) -> dict[str, int]:
    """Finished runs by status."""
    c = schedule_executions.c
    query = select(c.status, func.count()).where(*within).group_by(c.status)
    return {str(status): int(number) for status, number in conn.execute(query)}
