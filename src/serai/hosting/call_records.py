"""Rows of asynchronous calls and of cron triggers, as functions of a Connection.

``state`` of a call: ``queued``, ``running`` (``run_at`` is until when somebody has it), ``telling``
(its result is to be sent), and at last ``done``, ``unknown`` (nobody knows what came of it) or
``untold`` (its result could not be sent).
"""

from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from serai.store.dialect import insert_into
from serai.store.tables.hosting import hosted_calls as calls
from serai.store.tables.hosting import hosted_schedules as schedules

State = Literal["queued", "running", "telling", "done", "unknown", "untold"]
OVER = ("done", "unknown", "untold")


class CallRow(msgspec.Struct, frozen=True, kw_only=True):
    """One asynchronous call. Times are RFC 3339; ``outcome`` is JSON of an ``Answered``."""

    id: str
    workspace: str
    document_id: str
    kind: str
    name: str
    trigger: str
    state: State
    attempt: int
    run_at: str
    created_at: str
    request: bytes
    callback: bytes | None
    status_code: int | None
    outcome: str


FIELDS = CallRow.__struct_fields__
COLUMNS = [calls.c[name] for name in FIELDS]


def add(conn: Connection, row: CallRow) -> None:
    """Insert a call."""
    conn.execute(insert(calls).values({name: getattr(row, name) for name in FIELDS}))


def due(conn: Connection, moment: str, limit: int) -> list[CallRow]:
    """Calls to be made or told about now, the longest due first."""
    c = calls.c
    query = select(*COLUMNS).where(c.state.in_(("queued", "telling")), c.run_at <= moment)
    return _rows(conn, query.order_by(c.run_at, c.id).limit(limit))


def abandoned(conn: Connection, moment: str | None) -> list[CallRow]:
    """Calls that somebody began and nobody goes on with; without a moment all that were begun."""
    c = calls.c
    query = select(*COLUMNS).where(c.state == "running")
    if moment is not None:
        query = query.where(c.run_at <= moment)
    return _rows(conn, query)


def change(conn: Connection, call_id: str, **values: Any) -> None:
    """Set some columns of a call."""
    conn.execute(update(calls).where(calls.c.id == call_id).values(values))


def waiting(conn: Connection, document_id: str) -> int:
    """How many calls of a deployment are not over."""
    c = calls.c
    query = select(c.id).where(c.document_id == document_id, c.state.not_in(OVER))
    return len(conn.execute(query).all())


def drop_of(conn: Connection, document_id: str) -> None:
    """Forget the calls and schedules of a deployment."""
    conn.execute(delete(calls).where(calls.c.document_id == document_id))
    conn.execute(delete(schedules).where(schedules.c.document_id == document_id))


def drop_old(conn: Connection, before: str) -> None:
    """Forget calls that were over before a moment."""
    c = calls.c
    conn.execute(delete(calls).where(c.state.in_(OVER), c.run_at < before))


def scheduled(conn: Connection) -> dict[tuple[str, str], tuple[str, str]]:
    """Of every cron trigger, by document and trigger: its schedule and when it is due."""
    c = schedules.c
    query = select(c.document_id, c.trigger, c.schedule, c.next_at)
    return {(row[0], row[1]): (row[2], row[3]) for row in conn.execute(query)}


def schedule(
    conn: Connection, key: tuple[str, str], workspace: str, value: str, next_at: str
) -> None:
    """A cron trigger is due next at a moment."""
    statement = insert_into(conn, schedules).values(
        document_id=key[0], trigger=key[1], workspace=workspace, schedule=value, next_at=next_at
    )
    conn.execute(
        statement.on_conflict_do_update(
            index_elements=["document_id", "trigger"],
            set_={"schedule": value, "next_at": next_at},
        )
    )


def unschedule(conn: Connection, key: tuple[str, str]) -> None:
    """A cron trigger is gone."""
    c = schedules.c
    conn.execute(delete(schedules).where(c.document_id == key[0], c.trigger == key[1]))


def _rows(conn: Connection, query: Any) -> list[CallRow]:
    return [CallRow(**dict(zip(FIELDS, row, strict=True))) for row in conn.execute(query)]
