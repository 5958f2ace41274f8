"""Runs executions of jobs: takes those that nobody runs, and looks after them until they end."""

import asyncio
from contextlib import suppress
from datetime import timedelta

import structlog
from sqlalchemy import Connection

from serai.compute import execution_records as records
from serai.compute import task_records
from serai.compute.execution_records import ExecutionRow
from serai.compute.task_states import LIVE
from serai.hosting.tasks_boxes import JobSpans, TaskBoxes
from serai.hosting.tasks_execution import ExecutionRun
from serai.hosting.tasks_slots import Slots
from serai.kernel.clock import now, rfc3339

LOOK_SECONDS = 2.0
LEASE = timedelta(seconds=30)
RENEW_SECONDS = 10.0
HISTORY = timedelta(days=90)
"""How long executions are remembered after their end."""
FORGET_SECONDS = 3600.0
FORGET_AT_ONCE, FORGET_PAUSE = 20, 0.1
AT_ONCE = 64
"""Executions that are looked after at the same time; others wait in their rows."""
WAITED = "It waited for a free place for longer than executions may."
log = structlog.get_logger(__name__)


class TaskRunner:
    """Started once, when the runtime is there; stopped before it goes."""

    def __init__(self, boxes: TaskBoxes, slots: Slots, spans: JobSpans) -> None:
        self.slots = slots
        self._boxes = boxes
        self._db = boxes.db
        self._spans = spans
        self._runs: dict[str, ExecutionRun] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._loop: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Take over what an earlier run of the platform left, and begin."""
        await self._db.write(records.free_all)
        await self._tidy()
        loop = asyncio.get_running_loop()
        works = (self._keep(), self._renew(), self._forget())
        self._loop = [loop.create_task(work) for work in works]

    async def stop(self) -> None:
        """End everything; tasks that ran are begun again at the next start."""
        for task in [*self._loop, *self._running]:
            task.cancel()
        await asyncio.gather(*self._loop, *self._running, return_exceptions=True)

    def notify(self) -> None:
        """Executions may have been made or changed."""
        self._changed.set()
        for run in self._runs.values():
            run.notify()

    async def _tidy(self) -> None:
        """Remove boxes of executions that have ended, and meter the others as they are."""
        alive = []
        for box in await self._db.read(task_records.boxes):
            execution = await self._db.read(
                lambda conn, wanted=box.execution_id: records.get(conn, wanted)  # type: ignore[misc]
            )
            if execution is not None and execution.status in LIVE:
                alive.append(box.job_id)
            elif execution is not None:
                await self._boxes.remove(execution, box)
        await self._db.write(lambda conn: self._spans.recover(conn, alive))

    async def _keep(self) -> None:
        while True:
            self._changed.clear()
            try:
                await self._look()
            except Exception:
                log.exception("executions_failed")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), LOOK_SECONDS)

    async def _look(self) -> None:
        room = AT_ONCE - len(self._runs)
        moment = now()
        at, until = rfc3339(moment), rfc3339(moment + LEASE)
        if await self._db.read(lambda conn: records.overdue(conn, at)):
            await self._db.write(lambda conn: _expire(conn, at))
        if room <= 0 or not await self._db.read(lambda conn: records.waits(conn, at)):
            return
        for row in await self._db.write(lambda conn: records.lease(conn, at, until, room)):
            if row.id not in self._runs:
                self._begin(row)

    def _begin(self, row: ExecutionRow) -> None:
        run = self._runs[row.id] = ExecutionRun(row, self._boxes, self.slots)
        task = asyncio.get_running_loop().create_task(self._run(run))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _run(self, run: ExecutionRun) -> None:
        try:
            await run.run()
        except Exception:
            log.exception("execution_failed", execution=run.row.name, job=run.row.job)
            await asyncio.sleep(LOOK_SECONDS)
        finally:
            del self._runs[run.row.id]
            self._changed.set()
        log.info(
            "execution_over",
            workspace=run.row.workspace,
            job=run.row.job,
            execution=run.row.name,
            status=run.row.status,
        )

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            until = rfc3339(now() + LEASE)
            ids = list(self._runs)
            try:
                await self._db.write(lambda conn: records.renew(conn, ids, until))  # noqa: B023
            except Exception:
                log.exception("leases_not_renewed")

    async def _forget(self) -> None:
        """Drop what is too old to be asked for, a little at a time."""
        while True:
            before = rfc3339(now() - HISTORY)
            dropped = 0
            try:
                dropped = await self._db.write(
                    lambda conn: records.drop_old(conn, before, FORGET_AT_ONCE)  # noqa: B023
                )
            except Exception:
                log.exception("executions_not_forgotten")
            await asyncio.sleep(FORGET_PAUSE if dropped else FORGET_SECONDS)


def _expire(conn: Connection, at: str) -> None:
    for row in records.overdue(conn, at):
        task_records.end_pending(conn, row, "cancelled", at, "QUEUE_TIMEOUT", WAITED)
        counts = task_records.count(conn, row)
        ended = {"status": "timeout", "completed_at": at, "counts": counts}
        records.change(conn, row, updated_at=at, lease_until=None, **ended)
