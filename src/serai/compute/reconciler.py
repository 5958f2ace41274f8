"""Keeping rows and reality the same: after a crash, at the end of a life, when one dies."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from functools import partial

import structlog
from sqlalchemy import Connection

from serai.compute import records
from serai.compute.controller import SandboxController
from serai.compute.kind import SANDBOXES
from serai.compute.live import LiveSandbox
from serai.compute.ports import RunningSandbox
from serai.compute.records import SandboxRow
from serai.kernel.clock import now, rfc3339
from serai.kernel.errors import SeraiError
from serai.resources import documents
from serai.resources.documents import Document
from serai.runtime.port import RuntimeProblem

EXPIRY_SECONDS = 0.5
CHECK_SECONDS = 5.0
log = structlog.get_logger(__name__)


class Reconciler:
    """Repairs at start, then ends what is due and notices what died, until stopped."""

    def __init__(self, controller: SandboxController) -> None:
        self.controller = controller
        self._tasks: list[asyncio.Task[None]] = []
        self._noted: dict[str, datetime] = {}
        self.repaired = asyncio.Event()
        """Set when what belongs to no sandbox has been removed."""

    async def start(self) -> None:
        """Adopt what still runs, mark what does not, then begin the loops."""
        rows, found = await self.controller.db.read(_rows_and_documents)
        unfinished = [row for row in rows if not await self._adopt(row, found.get(row.id))]
        lives = self.controller.live.by_id.values()
        alive = [live.sandbox.id for live in lives if not live.asleep]
        await self.controller.db.write(
            lambda conn: self.controller.spans.recover(conn, alive, now())
        )
        self._tasks = [
            asyncio.create_task(self._repair(unfinished, {row.id for row in rows})),
            asyncio.create_task(self._every(EXPIRY_SECONDS, self._expire_due)),
            asyncio.create_task(self._every(CHECK_SECONDS, self._check)),
        ]

    async def stop(self, *, suspend: bool = False) -> None:
        """End the loops, then every sandbox; they start again on their next request.

        With ``suspend`` they are not ended, but stand until the next start and request.
        """
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        step = self._suspend if suspend else self._end
        await asyncio.gather(*map(step, list(self.controller.live.by_id.values())))
        await self.controller.drain()

    async def _suspend(self, live: LiveSandbox) -> None:
        if live.asleep:
            return
        try:
            await self.controller.sleep.suspend(live)
        except (RuntimeProblem, SeraiError) as problem:
            log.warning("sandbox_ends", sandbox=live.sandbox.name, reason=str(problem))
            await self._end(live)

    async def _end(self, live: LiveSandbox) -> None:
        sandbox = live.sandbox
        await live.saved()
        self.controller.live.remove(sandbox.id)
        self.controller.routes.withdraw(sandbox)
        try:
            await self.controller.runtime.stop(sandbox.handle)
        except RuntimeProblem:
            log.exception("sandbox_stop_failed", sandbox=sandbox.name)
            return
        await self.controller.db.write(lambda conn: self._stopped(conn, sandbox.id, ended=now()))

    def _stopped(
        self, conn: Connection, sandbox_id: str, *, ended: datetime | None
    ) -> Document | None:
        controller = self.controller
        row = records.get(conn, sandbox_id)
        if row is None or row.phase not in {"running", "suspended"}:
            return None
        if ended is not None:
            controller.spans.close(conn, sandbox_id, ended)
        records.change(conn, sandbox_id, phase="stopped", handle=None)
        document = documents.find(conn, row.workspace, SANDBOXES.name, row.name)
        if document is None or document.id != sandbox_id:
            return None
        return controller.store.with_status(conn, document, document.status, state="STANDBY")

    async def _adopt(self, row: SandboxRow, document: Document | None) -> bool:
        """Take a row over as it is; False when it needs repair."""
        controller = self.controller
        if row.phase == "terminated":
            return True
        if row.phase in {"stopped", "archived"} and document is not None:
            controller.sleep.stopped(document, row)
            return True
        if row.phase not in {"running", "suspended"} or row.handle is None or document is None:
            return False
        if not await controller.runtime.alive(row.handle):
            await controller.db.write(lambda conn: self._stopped(conn, row.id, ended=None))
            controller.sleep.stopped(document, row)
            return True
        controller.networks.tell(document)
        await self._take_over(records.running(row, row.handle), document, row)
        return True

    async def _take_over(
        self, running: RunningSandbox, document: Document, row: SandboxRow
    ) -> None:
        """Go on with a sandbox as it stands or runs; its row may be a step behind."""
        sleep = self.controller.sleep
        asleep = await self.controller.runtime.suspended(running.handle)
        live = sleep.announce(running, document, row, asleep=asleep)
        if asleep and row.phase == "running":
            await sleep.write_asleep(live)
        elif not asleep and row.phase == "suspended":
            sleep.awake(live)
        log.info("sandbox_adopted", workspace=row.workspace, sandbox=row.name, asleep=asleep)

    async def _repair(self, rows: list[SandboxRow], known: set[str]) -> None:
        for row in rows:
            try:
                await self._finish(row)
            except Exception:
                log.exception("sandbox_repair_failed", sandbox=row.name)
        runtime = self.controller.runtime
        for sandbox_id in await runtime.leftovers():
            if not await self.controller.db.read(partial(self._is_kept, sandbox_id=sandbox_id)):
                with suppress(RuntimeProblem):
                    await runtime.destroy(sandbox_id, None)
        self.repaired.set()

    def _is_kept(self, conn: Connection, sandbox_id: str) -> bool:
        """Whether there is a row of a sandbox, or of something else that runs in such a one."""
        row = records.get(conn, sandbox_id)
        if row is not None:
            return row.phase not in {"archived", "terminated"}
        return any(claimed(conn, sandbox_id) for claimed in self.controller.claims)

    async def _finish(self, row: SandboxRow) -> None:
        """A crash left this one half created or half deleted: finish it."""
        controller = self.controller
        async with controller.live.lock(row.workspace, row.name):
            current = await controller.db.read(lambda conn: records.get(conn, row.id))
            if current is None:
                return
            document = await controller.db.read(
                lambda conn: documents.find(conn, row.workspace, SANDBOXES.name, row.name)
            )
            if document is None or document.id != row.id:
                await controller.runtime.destroy(row.id, row.handle)
                await controller.db.write(lambda conn: records.drop(conn, row.id))
            else:
                await controller.repair(document, current)
        log.info("sandbox_repaired", workspace=row.workspace, sandbox=row.name, phase=row.phase)

    async def _every(self, seconds: float, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await step()
            except Exception:
                log.exception("reconcile_failed", every_seconds=seconds)

    async def _expire_due(self) -> None:
        for workspace, name in self.controller.live.due():
            await self.controller.expire(workspace, name)

    async def _check(self) -> None:
        """Notice dead sandboxes, remember activity, and drop records past their retention."""
        for live in list(self.controller.live.by_id.values()):
            if not await self.controller.runtime.alive(live.sandbox.handle):
                await self._died(live)
            elif await self.controller.runtime.suspended(live.sandbox.handle) != live.asleep:
                await self._put_right(live)
        await self._save_activity()
        moment = rfc3339(now())
        ended = await self.controller.db.read(lambda conn: records.past_retention(conn, moment))
        if ended:
            await self.controller.db.write(lambda conn: _drop_records(conn, ended))

    async def _put_right(self, live: LiveSandbox) -> None:
        """It stands and should not, or the other way round: somebody let it go on, say."""
        sandbox, controller = live.sandbox, self.controller
        async with controller.live.lock(sandbox.workspace, sandbox.name):
            stands = await controller.runtime.suspended(sandbox.handle)
            if controller.live.by_id.get(sandbox.id) is not live or stands == live.asleep:
                return
            log.warning("sandbox_state_repaired", sandbox=sandbox.name, asleep=stands)
            if stands:
                await controller.runtime.resume(sandbox.handle)
            else:
                controller.sleep.awake(live)

    async def _died(self, live: LiveSandbox) -> None:
        sandbox = live.sandbox
        async with self.controller.live.lock(sandbox.workspace, sandbox.name):
            if self.controller.live.by_id.get(sandbox.id) is not live:
                return
            log.warning("sandbox_died", workspace=sandbox.workspace, sandbox=sandbox.name)
            text = "The sandbox's processes have ended without being asked to."
            self.controller.journal.say(sandbox.workspace, sandbox.name, text, "error")
            self.controller.live.remove(sandbox.id)
            self.controller.routes.withdraw(sandbox)
            await self.controller.runtime.stop(sandbox.handle)
            document = await self.controller.db.write(
                lambda conn: self._stopped(conn, sandbox.id, ended=now())
            )
            if document is not None:
                await self.controller.sleep.keep_stopped(document)

    async def _save_activity(self) -> None:
        """Write down when sandboxes were last used, for those that were used since."""
        lives = list(self.controller.live.by_id.values())
        changed = [live for live in lives if self._noted.get(live.sandbox.id) != live.active_at]
        self._noted = {live.sandbox.id: live.active_at for live in lives}
        if changed:
            moments = {live.sandbox.id: rfc3339(live.active_at) for live in changed}
            await self.controller.db.write(lambda conn: _save_moments(conn, moments))


def _rows_and_documents(conn: Connection) -> tuple[list[SandboxRow], dict[str, Document]]:
    found = documents.every(conn, SANDBOXES.name)
    return records.every(conn), {document.id: document for document in found}


def _drop_records(conn: Connection, ended: list[str]) -> None:
    for sandbox_id in ended:
        documents.drop_by_id(conn, sandbox_id)
        records.drop(conn, sandbox_id)


def _save_moments(conn: Connection, moments: dict[str, str]) -> None:
    for sandbox_id, moment in moments.items():
        records.change(conn, sandbox_id, last_active_at=moment)
