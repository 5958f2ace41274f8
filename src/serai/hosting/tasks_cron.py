"""Triggers of type cron: executions of jobs by the clock.

When a trigger is due is a row, changed in the transaction that makes its execution: each moment
makes one at most. Moments that passed while nothing ran, however many, make one execution at the
next start. A trigger whose last execution has not begun to run yet makes no other.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection, delete, insert, select, update

from serai.compute import execution_records as records
from serai.compute.executions import Executions
from serai.compute.jobs import JOBS
from serai.compute.schedule_rules import next_run
from serai.kernel.clock import now, parse_rfc3339, rfc3339
from serai.kernel.errors import SeraiError
from serai.resources import documents, events
from serai.resources.documents import Document
from serai.resources.kind import Body
from serai.store.database import Database
from serai.store.tables.storage import job_cron
from serai.wire.jobs import JobExecutionRequest

LOOK_SECONDS = 15.0
"""The longest wait between two looks: clocks are set, machines sleep."""
RETRY_SECONDS = 1.0
log = structlog.get_logger(__name__)


class CronTriggers:
    """Follows the jobs' settings, and makes what is due.

    Args:
        db: the database.
        executions: makes them.
        news: called after some were made.
    """

    def __init__(self, db: Database, executions: Executions, news: Callable[[], None]) -> None:
        self._db = db
        self._executions = executions
        self._news = news
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """A job was written or deleted."""
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        stale = True
        while True:
            self._changed.clear()
            try:
                if stale:
                    await self._db.write(lambda conn: self._follow(conn, now()))
                    stale = False
                wait = await self._look(now())
            except Exception:
                log.exception("triggers_failed")
                wait = RETRY_SECONDS
            try:
                await asyncio.wait_for(self._changed.wait(), wait)
                stale = True
            except TimeoutError:
                pass

    # -- following the settings
    def _follow(self, conn: Connection, moment: datetime) -> None:
        """Rows for the triggers that there are; one that stays as it was keeps its moment."""
        wanted = {
            (document.id, trigger["id"]): (document, trigger["configuration"]["schedule"])
            for document in documents.every(conn, JOBS.name)
            for trigger in self._triggers(conn, document)
        }
        known = {(row.document_id, row.trigger_id): row for row in conn.execute(select(job_cron))}
        for key in known.keys() - wanted.keys():
            conn.execute(delete(job_cron).where(*_is(key)))
        for key, (document, schedule) in wanted.items():
            if key in known and known[key].schedule == schedule:
                continue
            due = _next(schedule, moment)
            if key in known:
                conn.execute(delete(job_cron).where(*_is(key)))
            if due is None:
                continue
            values = {
                "document_id": key[0],
                "trigger_id": key[1],
                "workspace": document.workspace,
                "job": document.name,
                "schedule": schedule,
                "next_run_at": rfc3339(due),
            }
            conn.execute(insert(job_cron).values(values))

    def _triggers(self, conn: Connection, document: Document) -> list[Body]:
        """Those of its active settings that are enabled, if the job itself is."""
        if msgspec.json.decode(document.body)["spec"].get("enabled") is False:
            return []
        spec = self._executions.active(conn, document)["spec"]
        return [
            trigger
            for trigger in spec.get("triggers") or []
            if trigger.get("type") == "cron" and trigger.get("enabled") is not False
        ]

    # -- what is due
    async def _look(self, moment: datetime) -> float:
        """Make what is due; answers how long nothing else will be."""
        c = job_cron.c
        first = select(c.next_run_at).order_by(c.next_run_at).limit(1)
        following = await self._db.read(lambda conn: conn.execute(first).scalar())
        if following is None:
            return LOOK_SECONDS
        seconds = (parse_rfc3339(following) - moment).total_seconds()
        if seconds > 0:
            return min(seconds, LOOK_SECONDS)
        await self._db.write(lambda conn: self._make_due(conn, moment))
        self._news()
        return 0.0

    def _make_due(self, conn: Connection, moment: datetime) -> None:
        c = job_cron.c
        due = select(job_cron).where(c.next_run_at <= rfc3339(moment)).order_by(c.next_run_at)
        for row in conn.execute(due.limit(100)).all():
            key = (row.document_id, row.trigger_id)
            later = _next(row.schedule, moment)
            if later is None:
                conn.execute(delete(job_cron).where(*_is(key)))
            else:
                mine = update(job_cron).where(*_is(key))
                conn.execute(mine.values(next_run_at=rfc3339(later)))
            self._make(conn, row, moment)

    def _make(self, conn: Connection, row: Any, moment: datetime) -> None:
        document = documents.find(conn, row.workspace, JOBS.name, row.job)
        if document is None or document.id != row.document_id:
            return
        found = [one for one in self._triggers(conn, document) if one["id"] == row.trigger_id]
        if not found:
            return
        waiting = records.waiting_of(conn, row.workspace, row.job)
        if any(one.spec.trigger == row.trigger_id for one in waiting):
            said = f"Trigger {row.trigger_id!r} is due; its last execution has not begun yet."
            events.append(conn, document, "trigger", said)
            return
        asked = JobExecutionRequest(tasks=found[0]["configuration"].get("tasks"))
        try:
            self._executions.create(
                conn, row.workspace, row.job, asked, moment, trigger=row.trigger_id
            )
        except SeraiError as problem:
            said = f"Trigger {row.trigger_id!r} is due and nothing was run: {problem.message}"
            events.append(conn, document, "trigger", said)
            log.warning("trigger_failed", workspace=row.workspace, job=row.job, reason=str(problem))


def _is(key: tuple[str, str]) -> tuple[Any, Any]:
    return job_cron.c.document_id == key[0], job_cron.c.trigger_id == key[1]


def _next(schedule: str, moment: datetime) -> datetime | None:
    """When a schedule comes true next; None for never."""
    try:
        return next_run("cron", schedule, moment)
    except SeraiError:
        return None
