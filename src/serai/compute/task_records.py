"""Rows of tasks and of the boxes that run them, as functions of a Connection.

The rows are written before anything happens: a task is ``running`` in a box before its program is
started there, and a box has a row before it is opened.
"""

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, case, delete, func, insert, or_, select, update

from serai.compute import execution_records as executions
from serai.compute.execution_records import ExecutionRow
from serai.compute.task_states import Counts, Ended, TaskPhase, Verdict, next_status
from serai.kernel.clock import rfc3339
from serai.runtime.port import SandboxHandle
from serai.store.reach import unbounded
from serai.store.tables.storage import job_boxes, job_executions, job_tasks

CHUNK = 500
"""Rows of one INSERT."""


class TaskRow(msgspec.Struct, frozen=True, kw_only=True):
    """One task. Times are RFC 3339 text.

    Attributes:
        execution_id: internal id of its execution.
        number: which of its tasks, from 0.
        phase: see ``task_states``.
        attempt: how often it was started.
        losses: how many attempts were lost with their box.
        box_id: where it runs, or ran last.
        run_at: not before then.
        scheduled_at: when it was given to a box first.
        started_at: when its last attempt began.
        ended_at: when it ended for good.
        deadline: when its attempt is ended.
        exit_code: of its last attempt; -1 for a signal.
        reason, message: of what happened last, for programs and people.
    """

    execution_id: str
    number: int
    workspace: str
    phase: TaskPhase = "pending"
    attempt: int = 0
    losses: int = 0
    updated_at: str
    box_id: str | None = None
    run_at: str | None = None
    scheduled_at: str | None = None
    started_at: str | None = None
    ended_at: str | None = None
    deadline: str | None = None
    exit_code: int | None = None
    reason: str | None = None
    message: str | None = None

    @property
    def name(self) -> str:
        """What clients call it."""
        return f"task-{self.number}"


class BoxRow(msgspec.Struct, frozen=True, kw_only=True):
    """A box of an execution; without a handle nobody knows whether it was opened."""

    id: str
    workspace: str
    execution_id: str
    job_id: str
    memory_mb: int
    created_at: str
    handle: SandboxHandle | None = None


FIELDS = TaskRow.__struct_fields__
COLUMNS = [job_tasks.c[name] for name in FIELDS]
BOX_FIELDS = BoxRow.__struct_fields__
BOX_COLUMNS = [job_boxes.c[name] for name in BOX_FIELDS]


def _parse(row: Any) -> TaskRow:
    return TaskRow(**dict(zip(FIELDS, row, strict=True)))


def _mine(execution: ExecutionRow) -> list[Any]:
    c = job_tasks.c
    return [c.execution_id == execution.id, c.workspace == execution.workspace]


def add_all(conn: Connection, execution: ExecutionRow) -> None:
    """Insert every task of a new execution."""
    at = execution.created_at
    for start in range(0, execution.spec.total, CHUNK):
        rows = [
            {
                "execution_id": execution.id,
                "number": number,
                "workspace": execution.workspace,
                "phase": "pending",
                "attempt": 0,
                "losses": 0,
                "updated_at": at,
            }
            for number in range(start, min(start + CHUNK, execution.spec.total))
        ]
        conn.execute(insert(job_tasks), rows)


def every(conn: Connection, execution: ExecutionRow) -> list[TaskRow]:
    """All tasks of an execution, in order."""
    query = select(*COLUMNS).where(*_mine(execution)).order_by(job_tasks.c.number)
    return [_parse(row) for row in conn.execute(query)]


def running(conn: Connection, execution: ExecutionRow) -> list[TaskRow]:
    """Those that run, or that a crash left as running."""
    query = select(*COLUMNS).where(*_mine(execution), job_tasks.c.phase == "running")
    return [_parse(row) for row in conn.execute(query.order_by(job_tasks.c.number))]


def count(conn: Connection, execution: ExecutionRow) -> Counts:
    """How many tasks are where."""
    if execution.counts is not None:
        return execution.counts
    c = job_tasks.c
    retried = func.sum(case((c.attempt > 1, c.attempt - 1), else_=0))
    late = func.sum(case((c.reason == "TIMEOUT", 1), else_=0))
    query = select(c.phase, func.count(), retried, late).where(*_mine(execution)).group_by(c.phase)
    counts = Counts(total=execution.spec.total)
    for phase, number, again, limited in conn.execute(query):
        setattr(counts, phase, number)
        counts.retried += int(again)
        if phase == "failed":
            counts.late = int(limited)
    return counts


def unfinished(conn: Connection, execution: ExecutionRow) -> bool:
    """Whether any task waits or runs."""
    live = job_tasks.c.phase.in_(["pending", "running"])
    query = select(job_tasks.c.number).where(*_mine(execution), live).limit(1)
    return conn.execute(query).first() is not None


def ready(conn: Connection, execution: ExecutionRow, at: str, most: int) -> int:
    """How many tasks could be started now; counts no further than ``most``."""
    c = job_tasks.c
    due = or_(c.run_at.is_(None), c.run_at <= at)
    some = select(c.number).where(*_mine(execution), c.phase == "pending", due).limit(most)
    return int(conn.execute(select(func.count()).select_from(some.subquery())).scalar_one())


def next_run(conn: Connection, execution: ExecutionRow) -> str | None:
    """When the first of the tasks that wait until some moment may run."""
    c = job_tasks.c
    waiting = select(func.min(c.run_at)).where(*_mine(execution), c.phase == "pending")
    found: str | None = conn.execute(waiting).scalar()
    return found


def claim(
    conn: Connection, execution: ExecutionRow, box_id: str, moment: datetime, deadline: datetime
) -> TaskRow | None:
    """Give the next task that may run now to a box; None when there is none."""
    c, at = job_tasks.c, rfc3339(moment)
    due = or_(c.run_at.is_(None), c.run_at <= at)
    query = select(*COLUMNS).where(*_mine(execution), c.phase == "pending", due)
    found = conn.execute(query.order_by(c.number).limit(1)).first()
    if found is None:
        return None
    task = _parse(found)
    changed: dict[str, Any] = {
        "phase": "running",
        "attempt": task.attempt + 1,
        "updated_at": at,
        "box_id": box_id,
        "run_at": None,
        "scheduled_at": task.scheduled_at or at,
        "started_at": at,
        "deadline": rfc3339(deadline),
    }
    mine = update(job_tasks).where(*_mine(execution), c.number == task.number)
    conn.execute(mine.values(changed))
    return msgspec.structs.replace(task, **changed)


def finish(
    conn: Connection, task: TaskRow, ended: Ended, verdict: Verdict, moment: datetime, message: str
) -> bool:
    """Write how an attempt ended; False when that is written already."""
    c, at = job_tasks.c, rfc3339(moment)
    waits = verdict.phase == "pending"
    values = {
        "phase": verdict.phase,
        "losses": verdict.losses,
        "updated_at": at,
        "run_at": rfc3339(moment + verdict.wait) if waits else None,
        "ended_at": None if waits else at,
        "deadline": None,
        "exit_code": ended.code,
        "reason": verdict.reason,
        "message": message,
    }
    mine = update(job_tasks).where(
        c.execution_id == task.execution_id,
        c.workspace == task.workspace,
        c.number == task.number,
        c.phase == "running",
        c.attempt == task.attempt,
    )
    return conn.execute(mine.values(values)).rowcount == 1


def end_pending(
    conn: Connection,
    execution: ExecutionRow,
    phase: TaskPhase,
    at: str,
    reason: str,
    message: str,
) -> None:
    """End every task that waits, for good."""
    c = job_tasks.c
    values = {"phase": phase, "updated_at": at, "ended_at": at, "run_at": None}
    waiting = update(job_tasks).where(*_mine(execution), c.phase == "pending")
    conn.execute(waiting.values(values | {"reason": reason, "message": message}))


def settle(conn: Connection, execution: ExecutionRow, at: str) -> ExecutionRow:
    """The execution with the status that its tasks give it, written if it is another one."""
    if execution.status == "running" and unfinished(conn, execution):
        return execution
    counts = count(conn, execution)
    begun = execution.started_at is not None
    status = next_status(execution.status, counts, begun=begun)
    if status == execution.status:
        return execution
    changed: dict[str, Any] = {"status": status, "updated_at": at}
    if not counts.pending and not counts.running:
        changed |= {"completed_at": at, "counts": counts, "lease_until": None}
    executions.change(conn, execution, **changed)
    return msgspec.structs.replace(execution, **changed)


# -- boxes
def has_box(conn: Connection, box_id: str) -> bool:
    """Whether something in the runtime, by its id, is a box of ours."""
    query = select(job_boxes.c.id).where(job_boxes.c.id == box_id)
    return conn.execute(query).first() is not None


def add_box(conn: Connection, box: BoxRow) -> None:
    """Insert a row."""
    values = {name: getattr(box, name) for name in BOX_FIELDS if name != "handle"}
    conn.execute(insert(job_boxes).values(values))


def opened(conn: Connection, box_id: str, handle: SandboxHandle) -> None:
    """The box runs: how it is found again."""
    text = msgspec.json.encode(handle).decode()
    conn.execute(update(job_boxes).where(job_boxes.c.id == box_id).values(handle=text))


def drop_box(conn: Connection, box_id: str) -> None:
    """The box is gone."""
    conn.execute(delete(job_boxes).where(job_boxes.c.id == box_id))


def boxes(conn: Connection, execution_id: str | None = None) -> list[BoxRow]:
    """The boxes of an execution, or all."""
    query = select(*BOX_COLUMNS)
    if execution_id is not None:
        query = query.where(job_boxes.c.execution_id == execution_id)
    found = []
    for row in conn.execute(query):
        values = dict(zip(BOX_FIELDS, row, strict=True))
        if values["handle"] is not None:
            values["handle"] = msgspec.json.decode(values["handle"], type=SandboxHandle)
        found.append(BoxRow(**values))
    return found


@unbounded("the places of this machine are shared by all; only a number is told")
def places_taken(conn: Connection) -> int:
    """How many boxes there are or will be at once, in all workspaces."""
    e = job_executions.c
    boxes_now = conn.execute(select(func.count()).select_from(job_boxes)).scalar_one()
    queued = select(func.count()).where(e.status == "queued")
    return int(boxes_now) + int(conn.execute(queued).scalar_one())


def memory_of(conn: Connection, workspace: str, job_id: str) -> int:
    """MiB of the boxes of one job, by the id of its document: what it is charged for."""
    c = job_boxes.c
    query = select(func.coalesce(func.sum(c.memory_mb), 0))
    mine = query.where(c.workspace == workspace, c.job_id == job_id)
    return int(conn.execute(mine).scalar_one())
