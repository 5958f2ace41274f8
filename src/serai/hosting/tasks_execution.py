"""One execution on its way to its end: as many boxes as it may have, each with a task at a time.

All that matters is in rows. A step is written before it is taken (a task runs in a box) and after
(it has ended, and the next one runs there: one transaction), so that whoever takes over after a
crash knows where to look: in the box, which goes on without us.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

import msgspec
import structlog
from sqlalchemy import Connection

from serai.compute import execution_records as records
from serai.compute import task_records
from serai.compute.execution_records import ExecutionRow
from serai.compute.task_records import TaskRow
from serai.compute.task_states import CANCELLED, LIVE, Ended, Verdict, judge
from serai.hosting.tasks_boxes import GRACE_SECONDS, CannotStart, Prepared, TaskBox, TaskBoxes
from serai.hosting.tasks_calls import TaskCall
from serai.hosting.tasks_slots import Slots
from serai.hosting.tasks_words import told
from serai.kernel.background import surely
from serai.kernel.clock import now, parse_rfc3339, rfc3339
from serai.kernel.errors import ServiceUnavailable, UsageLimitExceeded

LOOK_SECONDS = 5.0
"""The longest wait between two looks at the rows."""
STOP_AGAIN_SECONDS = 1.0
DENIED_SECONDS = 1.0
"""How long we wait when a quota is used up."""
OVERRUN_SECONDS = 60.0
"""After so long beyond its limit a box is given up that does not end its task."""
WRITE_AGAIN_SECONDS = 1.0
MAY_START = frozenset({"queued", "pending", "running"})
T = TypeVar("T")
log = structlog.get_logger(__name__)


class ExecutionRun:
    """Drives an execution that is leased to us."""

    def __init__(self, row: ExecutionRow, boxes: TaskBoxes, slots: Slots) -> None:
        self.row = row
        self._db = boxes.db
        self._boxes = boxes
        self._slots = slots
        self._changed = asyncio.Event()
        self._calls: dict[int, TaskCall] = {}
        self._workers: set[asyncio.Task[None]] = set()
        self._idle = 0

    def notify(self) -> None:
        """Its row may have changed."""
        self._changed.set()

    async def run(self) -> None:
        """Until it has ended; cut off, it leaves no boxes, and its tasks are begun again later."""
        try:
            prepared = await self._prepare()
            await self._adopt(prepared)
            while await self._is_live():
                if prepared is not None:
                    await self._look(prepared)
                await self._wait()
        finally:
            await surely(self._over())

    async def _over(self) -> None:
        """End whoever still waits or works; all boxes are gone then."""
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    # -- beginning
    async def _prepare(self) -> Prepared | None:
        try:
            return await self._boxes.prepare(self.row)
        except CannotStart as problem:
            reason = str(problem)
        except Exception as problem:
            log.exception("execution_failed", execution=self.row.name, job=self.row.job)
            reason = f"It could not be prepared: {problem}"

        def fail(conn: Connection) -> None:
            for task in task_records.running(conn, self.row):
                self._lose(conn, task)
            at = rfc3339(now())
            task_records.end_pending(conn, self.row, "failed", at, "CANNOT_START", reason)
            self._settle(conn, at)

        await self._write(fail)
        return None

    async def _adopt(self, prepared: Prepared | None) -> None:
        """Go on with what an earlier run of the platform began."""
        rows = await self._db.read(lambda conn: task_records.boxes(conn, self.row.id))
        tasks = await self._db.read(lambda conn: task_records.running(conn, self.row))
        places = {task.box_id: task for task in tasks}
        for row in rows:
            task, box = places.get(row.id), None
            if task is not None and prepared is not None:
                box = await self._boxes.adopt(self.row, prepared, row)
            if box is None or task is None:
                await self._boxes.remove(self.row, row)
                continue
            del places[row.id]
            self._slots.occupy(self.row.id)
            self._begin(self._serve_in(box, task))
            log.info("task_adopted", execution=self.row.name, task=task.name)
        if places:
            await self._write(partial(self._lose_all, list(places.values())))

    def _lose_all(self, tasks: list[TaskRow], conn: Connection) -> None:
        for task in tasks:
            self._lose(conn, task)
        self._settle(conn, rfc3339(now()))

    def _lose(self, conn: Connection, task: TaskRow) -> None:
        self._write_end(conn, task, Ended(outcome="lost"), now())

    # -- looking
    async def _is_live(self) -> bool:
        self._changed.clear()
        status = await self._db.read(lambda conn: records.status_of(conn, self.row))
        self.row = msgspec.structs.replace(self.row, status=status)
        return status in LIVE

    async def _look(self, prepared: Prepared) -> None:
        if self.row.status == "cancelling":
            await asyncio.gather(*(call.stop() for call in list(self._calls.values())))
            await self._write(self._end_cancelled)
            return
        most = min(self.row.spec.parallelism, self._slots.most)
        at = rfc3339(now())
        ready = await self._db.read(
            lambda conn: task_records.ready(conn, self.row, at, most + self._idle)
        )
        for _ in range(min(most - len(self._workers), ready - self._idle)):
            self._idle += 1
            self._begin(self._work(prepared))

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        worker = asyncio.get_running_loop().create_task(work)
        self._workers.add(worker)
        worker.add_done_callback(self._done)

    def _done(self, worker: "asyncio.Task[None]") -> None:
        self._workers.discard(worker)
        self._changed.set()
        if not worker.cancelled() and (problem := worker.exception()) is not None:
            log.error("task_worker_failed", execution=self.row.name, exc_info=problem)

    async def _wait(self) -> None:
        seconds = STOP_AGAIN_SECONDS if self.row.status == "cancelling" else LOOK_SECONDS
        following = await self._db.read(lambda conn: task_records.next_run(conn, self.row))
        if following is not None:
            until = (parse_rfc3339(following) - now()).total_seconds()
            seconds = min(seconds, max(until, 0.01))
        try:
            await asyncio.wait_for(self._changed.wait(), seconds)
        except TimeoutError:
            pass

    def _end_cancelled(self, conn: Connection) -> None:
        at = rfc3339(now())
        task_records.end_pending(conn, self.row, "cancelled", at, "CANCELLED", CANCELLED)
        self._settle(conn, at)

    # -- working
    async def _work(self, prepared: Prepared) -> None:
        """Take a place, open a box there, and run tasks in it while there are any."""
        claimed, pause = False, 0.0
        try:
            await self._slots.take(self.row.id)
            try:
                async with self._boxed(await self._boxes.open(self.row, prepared)) as box:
                    task = await self._first(box)
                    claimed, self._idle = True, self._idle - 1
                    await self._serve(box, task)
            except (UsageLimitExceeded, ServiceUnavailable):
                pause = DENIED_SECONDS
            except CannotStart as problem:
                await self._write(partial(self._fail_one, str(problem)))
            finally:
                self._slots.give_back(self.row.id)
            await asyncio.sleep(pause)
        finally:
            if not claimed:
                self._idle -= 1

    def _fail_one(self, cause: str, conn: Connection) -> None:
        """The next task takes the blame for a box that could not be opened."""
        task = self._claim(conn, "")
        if task is not None:
            self._write_end(conn, task, Ended(outcome="unstartable", detail=cause), now())
        self._settle(conn, rfc3339(now()))

    async def _first(self, box: TaskBox) -> TaskRow | None:
        return await self._write(lambda conn: self._claim(conn, box.row.id))

    async def _serve_in(self, box: TaskBox, task: TaskRow) -> None:
        """Go on with a task that runs in a box already."""
        try:
            async with self._boxed(box):
                await self._serve(box, task, again=True)
        finally:
            self._slots.give_back(self.row.id)

    @staticmethod
    @asynccontextmanager
    async def _boxed(box: TaskBox) -> AsyncIterator[TaskBox]:
        """A box that is gone afterwards, whatever happens."""
        try:
            yield box
        finally:
            await surely(box.remove())

    async def _serve(self, box: TaskBox, task: TaskRow | None, *, again: bool = False) -> None:
        """Run tasks in a box as long as they succeed."""
        try:
            while task is not None:
                ended = await self._one(box, task, again)
                again = False
                goes_on = ended.succeeded and not self._slots.should_yield(self.row.id)
                task = await self._write(
                    partial(self._step, task, ended, box.row.id if goes_on else None)
                )
        except asyncio.CancelledError:
            if task is not None:
                await self._write(partial(self._interrupt, task))
            raise

    async def _one(self, box: TaskBox, task: TaskRow, again: bool) -> Ended:
        call = box.call(task)
        self._calls[task.number] = call
        if self.row.status == "cancelling":
            self._changed.set()
        try:
            async with asyncio.timeout(self.row.spec.timeout + GRACE_SECONDS + OVERRUN_SECONDS):
                return await call.run(again=again)
        except TimeoutError:
            return Ended(outcome="timeout", detail="It did not end when it was killed.")
        finally:
            del self._calls[task.number]

    # -- writing
    def _claim(self, conn: Connection, box_id: str) -> TaskRow | None:
        status = records.status_of(conn, self.row)
        if status not in MAY_START:
            return None
        moment = now()
        deadline = moment + timedelta(seconds=self.row.spec.timeout)
        task = task_records.claim(conn, self.row, box_id, moment, deadline)
        if task is not None and status != "running":
            at = rfc3339(moment)
            begun = {"started_at": self.row.started_at or at, "status": "running"}
            records.change(conn, self.row, updated_at=at, **begun)
            self.row = msgspec.structs.replace(self.row, **begun)
        return task

    def _step(
        self, task: TaskRow, ended: Ended, box_id: str | None, conn: Connection
    ) -> TaskRow | None:
        """Write how a task ended, and that its box runs the next one, if there is one."""
        moment = now()
        self._write_end(conn, task, ended, moment)
        following = self._claim(conn, box_id) if box_id is not None else None
        if following is None:
            self._settle(conn, rfc3339(moment))
        return following

    def _write_end(self, conn: Connection, task: TaskRow, ended: Ended, moment: datetime) -> None:
        verdict = judge(
            ended,
            task.attempt,
            task.losses,
            self.row.spec.max_retries or 0,
            cancelling=records.status_of(conn, self.row) not in MAY_START,
        )
        message = told(task, ended, verdict)
        if not task_records.finish(conn, task, ended, verdict, moment, message):
            log.warning("task_end_known", execution=self.row.name, task=task.name)

    def _interrupt(self, task: TaskRow, conn: Connection) -> None:
        """The platform stops: the task is begun again at its next start."""
        ended = Ended(outcome="lost", detail="The platform was stopped.")
        verdict = Verdict(phase="pending", reason="INTERRUPTED", losses=task.losses + 1)
        task_records.finish(conn, task, ended, verdict, now(), told(task, ended, verdict))

    def _settle(self, conn: Connection, at: str) -> None:
        status = records.status_of(conn, self.row)
        fresh = msgspec.structs.replace(self.row, status=status, counts=None)
        self.row = task_records.settle(conn, fresh, at)
        if self.row.status not in LIVE:
            self._changed.set()

    async def _write(self, fn: Callable[[Connection], T]) -> T:
        """Write, also when we are stopped meanwhile."""
        return await surely(self._persist(fn))

    async def _persist(self, fn: Callable[[Connection], T]) -> T:
        """Write, however long that is impossible: an end that is not written is lost."""
        while True:
            try:
                return await self._db.write(fn)
            except ServiceUnavailable:
                await asyncio.sleep(WRITE_AGAIN_SECONDS)
