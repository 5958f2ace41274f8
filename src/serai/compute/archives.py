"""Archived sandboxes: no runtime, no processes, and their files as one compressed archive.

Every step is a row first. The archive is dropped only when the files are back in place, the files
only when the archive is on disk; what a crash leaves beside the row is removed at the next start.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection

from serai.compute import records
from serai.compute.controller import SandboxController
from serai.compute.kept import begin_storage, end_storage
from serai.compute.kind import AWAY, need_files, need_living
from serai.compute.records import Phase, SandboxRow
from serai.compute.relaunch import Relaunch
from serai.kernel.background import Background
from serai.kernel.clock import now, rfc3339
from serai.kernel.errors import Conflict
from serai.resources import audit
from serai.resources.audit import Target
from serai.resources.documents import Document
from serai.resources.store import Actor
from serai.runtime.port import RuntimeProblem
from serai.store.secrets import Vault

ANSWER_SECONDS = 10.0
"""How long a request waits for the end of what it began; it goes on behind the answer."""
log = structlog.get_logger(__name__)


class Archives:
    """Archives sandboxes and brings them back."""

    def __init__(self, controller: SandboxController, vault: Vault) -> None:
        self.controller = controller
        self._relaunch = Relaunch(controller.db, controller.runtime, vault)
        self.db = controller.db
        self._background = Background()
        controller.on_start.append(self._relaunch.run)
        controller.mending["archiving"] = self._give_up_archiving
        controller.mending["unarchiving"] = self._give_up_unarchiving

    async def start(self) -> None:
        """Remove archives that no sandbox needs: of those that ended, or were cut short."""
        files = self.controller.runtime.files
        found = await files.packed()
        needed = await self.db.read(_needed)
        for sandbox_id in found:
            if sandbox_id not in needed:
                await files.drop_packed(sandbox_id)

    async def stop(self) -> None:
        """Let what is under way come to its end."""
        await self._background.wait()

    async def archive(self, actor: Actor, name: str) -> Document:
        """Pack the files of a sandbox and end it; answers when done, or after some seconds.

        Raises:
            NotFound: no such sandbox.
            Conflict: it has ended, or is archived already.
        """
        await self.controller.expire(actor.workspace, name)

        def check(conn: Connection) -> Document:
            return need_files(conn, self.controller.store, actor.workspace, name)

        return await self._begin(actor, name, check, "archiving", self._pack)

    async def unarchive(self, actor: Actor, name: str) -> Document:
        """Bring the files of a sandbox back and start it; see ``archive``.

        Raises:
            NotFound: no such sandbox.
            Conflict: it has ended, or is not archived.
        """

        def check(conn: Connection) -> Document:
            document = need_living(conn, self.controller.store, actor.workspace, name)
            if document.status != "ARCHIVED":
                raise Conflict(
                    f"Sandbox {name!r} is not archived; it is {document.status.lower()}.",
                    code="SANDBOX_NOT_ARCHIVED",
                )
            return document

        return await self._begin(actor, name, check, "unarchiving", self._unpack)

    async def _begin(
        self, actor: Actor, name: str, check: Any, phase: Phase, work: Any
    ) -> Document:
        lock = self.controller.live.lock(actor.workspace, name)
        await lock.acquire()
        try:
            await self.controller.settled(actor.workspace, name)
            document, row = await self.db.write(
                lambda conn: self._mark(conn, actor, check(conn), phase)
            )
        except BaseException:
            lock.release()
            raise
        done: asyncio.Future[Document] = asyncio.get_running_loop().create_future()
        self._background.start(self._hold(lock, work(document, row), done))
        finished, _ = await asyncio.wait({done}, timeout=ANSWER_SECONDS)
        if finished:
            return done.result()
        return document

    async def _hold(
        self,
        lock: asyncio.Lock,
        work: Coroutine[Any, Any, Document],
        done: "asyncio.Future[Document]",
    ) -> None:
        """Work, then give the lock back and tell who still waits."""
        try:
            done.set_result(await work)
        except Exception as problem:
            log.exception("archive_failed")
            done.set_exception(problem)
            done.exception()
        finally:
            lock.release()

    def _mark(
        self, conn: Connection, actor: Actor, document: Document, phase: Phase
    ) -> tuple[Document, SandboxRow]:
        row = records.need(conn, document.id)
        records.change(conn, document.id, phase=phase)
        moment = now()
        if phase == "archiving":
            self.controller.spans.close(conn, document.id, moment)
            note: Any = {"startedAt": rfc3339(moment)}
        else:
            note = {"restoreStartedAt": rfc3339(moment)}
        audit.record(conn, actor, f"{phase.removesuffix('ing')}e", Target.of(document))
        status = phase.upper()
        store = self.controller.store
        if phase == "unarchiving":
            note |= msgspec.json.decode(document.body).get("archive") or {}
        return store.with_status(conn, document, status, state=None, archive=note), row

    async def _pack(self, document: Document, row: SandboxRow) -> Document:
        controller = self.controller
        controller.silence(document.id)
        await self._relaunch.save(row)
        try:
            if row.handle is not None:
                await controller.runtime.stop(row.handle)
            size = await controller.runtime.files.pack(document.id)
        except RuntimeProblem:
            log.exception("sandbox_not_archived", sandbox=document.name)
            return await self._give_up_archiving(document, row)
        changed = await self.db.write(lambda conn: self._archived(conn, document, row, size))
        await controller.runtime.files.discard(document.id)
        controller.sleep.stopped(changed, row)
        return changed

    def _archived(
        self, conn: Connection, document: Document, row: SandboxRow, size: int
    ) -> Document:
        moment = now()
        records.change(conn, document.id, phase="archived", handle=None)
        begin_storage(conn, row.id, row.account_id, row.workspace, row.name, size, moment)
        note: Any = {"createdAt": rfc3339(moment), "size": size}
        store = self.controller.store
        return store.with_status(conn, document, "ARCHIVED", state=None, archive=note)

    async def _give_up_archiving(self, document: Document, row: SandboxRow) -> Document:
        """Hand the sandbox back as it was; it starts on the next request."""
        await self.controller.runtime.files.drop_packed(document.id)

        def back(conn: Connection) -> Document:
            records.change(conn, document.id, phase="stopped", handle=None)
            store = self.controller.store
            return store.with_status(conn, document, "DEPLOYED", state="STANDBY", archive=None)

        changed = await self.db.write(back)
        self.controller.sleep.stopped(changed, row)
        return changed

    async def _unpack(self, document: Document, row: SandboxRow) -> Document:
        controller = self.controller
        try:
            await controller.runtime.files.unpack(document.id)
        except RuntimeProblem:
            log.exception("sandbox_not_unarchived", sandbox=document.name)
            return await self._give_up_unarchiving(document, row)

        def back(conn: Connection) -> Document:
            records.change(conn, document.id, phase="stopped")
            end_storage(conn, document.id, now())
            store = controller.store
            return store.with_status(conn, document, "DEPLOYED", state="STANDBY", archive=None)

        changed = await self.db.write(back)
        await controller.runtime.files.drop_packed(document.id)
        try:
            return await controller.start(changed)
        except RuntimeProblem:  # the next request to it tries again
            log.exception("sandbox_start_failed", sandbox=document.name)
            controller.sleep.stopped(changed, row)
            return changed

    async def _give_up_unarchiving(self, document: Document, row: SandboxRow) -> Document:
        """Keep it archived: the archive is whole, what was unpacked is not."""
        await self.controller.runtime.files.discard(document.id)

        def back(conn: Connection) -> Document:
            records.change(conn, document.id, phase="archived", handle=None)
            kept = msgspec.json.decode(document.body).get("archive") or {}
            kept.pop("restoreStartedAt", None)
            store = self.controller.store
            return store.with_status(conn, document, "ARCHIVED", state=None, archive=kept)

        return await self.db.write(back)


def _needed(conn: Connection) -> set[str]:
    return {row.id for row in records.every(conn) if row.phase.upper() in AWAY}
