"""The life of sandboxes: every step is a row first, so that a crash at any line can be repaired."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection

from serai.compute import records
from serai.compute.belongings import drop_belongings, drop_record
from serai.compute.deadline import CreationDeadline
from serai.compute.disks import SandboxDisks
from serai.compute.imaging import Imaging
from serai.compute.journal import SandboxJournal
from serai.compute.kept import end_storage
from serai.compute.kind import AWAY, ENDED, SANDBOXES, expiry_of, retention_of
from serai.compute.live import LiveTable
from serai.compute.mount_rules import take_volumes
from serai.compute.networks import SandboxNetworks
from serai.compute.origins import IMAGE, Origin
from serai.compute.ports import Routes, RunningSandbox, UsageSpans
from serai.compute.records import SandboxRow
from serai.compute.renewal import Renewal
from serai.compute.showing import completed
from serai.compute.sleep import Sleep
from serai.kernel.background import Background
from serai.kernel.clock import now, rfc3339
from serai.kernel.errors import SeraiError, ServiceUnavailable
from serai.resources import documents, quotas
from serai.resources.documents import Document
from serai.resources.kind import Body
from serai.resources.store import Actor, DocumentStore, already_exists
from serai.runtime.port import Runtime, RuntimeProblem, SandboxHandle, SandboxPlan
from serai.store.database import Database

log = structlog.get_logger(__name__)
Mend = Callable[[Document, SandboxRow], Awaitable[Document]]


class SandboxController:
    """Creates, replaces, wakes, stops and deletes sandboxes; one change per name at a time."""

    def __init__(
        self,
        db: Database,
        store: DocumentStore,
        runtime: Runtime,
        spans: UsageSpans,
        routes: Routes,
        networks: SandboxNetworks,
        disks: SandboxDisks,
    ) -> None:
        self.db = db
        self.store = store
        self.runtime = runtime
        self.spans = spans
        self.routes = routes
        self.disks = disks
        self.networks = networks
        self.imaging = Imaging(db, runtime)
        self.live = LiveTable()
        self.journal = SandboxJournal()
        self.sleep = Sleep(db, store, runtime, spans, routes, self.live, self.journal)
        self.on_end: list[Callable[[str, str], None]] = []
        """Called with workspace and name after a sandbox has ended for good."""
        self.on_start: list[Callable[[SandboxRow], Awaitable[None]]] = []
        """Called when a sandbox has started, before requests come to it."""
        self.claims: list[Callable[[Connection, str], bool]] = []
        """Answer whether something in the runtime, by its id, belongs to others than sandboxes."""
        self.mending: dict[str, Mend] = {}
        """How phases of others are finished after a crash."""
        self.renewal = Renewal(self)
        self._background = Background()

    async def create(
        self,
        actor: Actor,
        account_id: str,
        body: Body,
        *,
        if_not_exist: bool,
        deadline: CreationDeadline | None = None,
        origin: Origin = IMAGE,
    ) -> Document:
        """Create a sandbox; answers when its API can be reached.

        Args:
            actor: who, and in which workspace.
            account_id: who pays.
            body: checked by ``DocumentStore.wanted``.
            if_not_exist: answer with the existing one instead of a conflict.
            deadline: once it has passed, nothing is created, or is left of what was.
            origin: where its files come from.

        Raises:
            Conflict: the name is taken.
            BadRequest: the image cannot be provided here.
            CreationTimeout: the deadline has passed.
            ServiceUnavailable: the runtime failed, or makes the image still; nothing is left.
        """
        workspace, name = actor.workspace, body["metadata"]["name"]
        async with self.live.lock(workspace, name):
            if deadline is not None:
                deadline.check()
            await self.expire_if_due(workspace, name)
            existing = await self._settled(workspace, name)
            if existing is not None and existing.status not in ENDED:
                if if_not_exist:
                    actor.origin.audited = True  # nothing changes: nothing to tell
                    return existing
                raise already_exists(SANDBOXES, name)
            await self.imaging.ready(workspace, body, deadline)
            document = await self.db.write(
                lambda conn: self._insert(conn, actor, account_id, body, existing, origin)
            )
            document = await self._start_new(document, origin)
            if deadline is not None and deadline.passed:
                await self._discard(document)
                deadline.check()
            return document

    async def _settled(self, workspace: str, name: str) -> Document | None:
        """The sandbox of that name; what a crash left half done is finished first."""
        document = await self.db.read(
            lambda conn: documents.find(conn, workspace, SANDBOXES.name, name)
        )
        if document is None:
            return None
        row = await self.db.read(lambda conn: records.get(conn, document.id))
        if row is None:
            return document
        try:
            return await self.repair(document, row)
        except RuntimeProblem:
            log.exception("sandbox_repair_failed", sandbox=name)
            await self.db.write(lambda conn: drop_record(conn, document))
            return None

    async def repair(self, document: Document, row: SandboxRow) -> Document | None:
        """Finish what a crash interrupted, or undo it; the caller holds the name's lock.

        Returns:
            The document as it is now, if there still is one.

        Raises:
            RuntimeProblem: it cannot be started.
        """
        if row.phase == "deleting":
            return await self.finish_delete(document, row)
        if row.phase == "creating":
            await self.runtime.destroy(row.id, row.handle)
            return await self.start(document)
        if row.phase == "forking":  # what was copied is not whole, and the source has gone on
            await self.undo(document)
            return None
        if row.phase in self.mending:
            return await self.mending[row.phase](document, row)
        return document

    async def undo(self, document: Document) -> None:
        """Leave nothing of a sandbox that never ran."""
        await self.runtime.destroy(document.id, None)
        await self.db.write(lambda conn: drop_record(conn, document))

    async def _discard(self, document: Document) -> None:
        """Remove a sandbox that nobody waited for, record and all."""
        row = await self.db.read(lambda conn: records.get(conn, document.id))
        await self.finish_delete(document, row)
        await self.db.write(lambda conn: drop_record(conn, document))

    def _insert(
        self,
        conn: Connection,
        actor: Actor,
        account_id: str,
        body: Body,
        ended: Document | None,
        origin: Origin,
    ) -> Document:
        if ended is not None:
            drop_record(conn, ended)
        memory_mb = body["spec"]["runtime"]["memory"]
        quotas.check_memory(conn, actor.workspace, memory_mb)
        take_volumes(conn, actor.workspace, body["spec"])
        document = self.store.create(conn, SANDBOXES, actor, body)
        moment = now()
        expiry = expiry_of(body, moment)
        records.add(
            conn,
            SandboxRow(
                id=document.id,
                workspace=actor.workspace,
                account_id=account_id,
                name=document.name,
                memory_mb=memory_mb,
                phase="creating" if origin.fill is None else "forking",
                layers=origin.layers(conn),
                memory_from=origin.memory,
                handle=None,
                expires_at=rfc3339(expiry.at) if expiry.at else None,
                last_active_at=rfc3339(moment),
            ),
        )
        return document

    async def _start_new(self, document: Document, origin: Origin) -> Document:
        try:
            if origin.fill is not None:
                await origin.fill(document)
            return await self.start(document)
        except SeraiError:
            await self.undo(document)
            raise
        except RuntimeProblem as problem:
            await self.undo(document)
            raise self.imaging.explained(problem, document) from problem

    async def start(self, document: Document) -> Document:
        """Run the sandbox of a document and publish it; the caller holds the name's lock.

        Raises:
            RuntimeProblem: it cannot run; the row is unchanged.
        """
        row = await self.db.read(lambda conn: records.need(conn, document.id))
        plan = self.plan(document, row)
        plan = await self.imaging.resolved(document.workspace, plan)
        plan = await self.db.read(lambda conn: self.disks.complete(conn, document, plan))
        self.networks.tell(document)
        with self.journal.failures(document):
            handle = await self.runtime.create(plan)
        try:
            changed, row = await self.db.write(lambda conn: self._started(conn, document, handle))
        except BaseException:
            await self.runtime.stop(handle)
            raise
        for step in self.on_start:
            await step(row)
        self.sleep.announce(records.running(row, handle), changed, row)
        self.journal.say(row.workspace, row.name, "The sandbox has started.")
        return changed

    def plan(self, document: Document, row: SandboxRow | None = None) -> SandboxPlan:
        """How a sandbox is started; without its row, on nothing but its image."""
        body = self.store.reveal(SANDBOXES, document)
        runtime = body["spec"]["runtime"]
        environment = {env["name"]: env.get("value", "") for env in runtime.get("envs") or []}
        return SandboxPlan(
            id=document.id,
            hostname=document.name,
            image=runtime["image"],
            memory_mb=runtime["memory"],
            environment=environment,
            files_from=row.layers if row else (),
            memory_from=(row.memory_from or "") if row else "",
            network=self.networks.plan(body),
        )

    def _started(
        self, conn: Connection, document: Document, handle: SandboxHandle
    ) -> tuple[Document, SandboxRow]:
        moment = now()
        current = self.store.need(conn, SANDBOXES, document.workspace, document.name)
        shown: dict[str, Any] = {"state": "RUNNING", "isolation": handle.level or None}
        changed = self.store.with_status(conn, current, "DEPLOYED", **shown)
        stamp = rfc3339(moment)
        now_running = {"phase": "running", "handle": handle, "last_active_at": stamp}
        records.change(conn, document.id, memory_from=None, **now_running)
        row = records.need(conn, document.id)
        self.spans.open(conn, records.running(row, handle), moment)
        return changed, row

    def silence(self, sandbox_id: str) -> None:
        """Let no more requests reach a sandbox, if it runs."""
        live = self.live.remove(sandbox_id)
        if live is not None:
            self.routes.withdraw(live.sandbox)

    async def delete(self, actor: Actor, name: str) -> Document:
        """Stop a sandbox for good. Its record stays readable for a while as ``TERMINATED``.

        Raises:
            NotFound: no such sandbox, or it has ended already.
            Conflict: ``If-Match`` of the request names another state of it.
        """
        async with self.live.lock(actor.workspace, name):
            return await self._terminate(actor.workspace, name, actor)

    async def _terminate(self, workspace: str, name: str, actor: Actor | None = None) -> Document:
        def mark(conn: Connection) -> tuple[Document, SandboxRow | None]:
            document = self.store.need(conn, SANDBOXES, workspace, name)
            row = records.get(conn, document.id)
            if document.status != "TERMINATED":
                if actor is not None:
                    self.store.deleting(conn, actor, document)
                document = self.store.with_status(conn, document, "DELETING", state=None)
                records.change(conn, document.id, phase="deleting")
            return document, row

        document, row = await self.db.write(mark)
        if document.status == "TERMINATED":
            return document
        return await self.finish_delete(document, row)

    async def finish_delete(self, document: Document, row: SandboxRow | None) -> Document:
        """Second half of a delete: also run for those that a crash left half deleted."""
        await self.settled(document.workspace, document.name)
        self.silence(document.id)
        self.live.forget(document.workspace, document.name)
        handle = row.handle if row is not None else None
        if handle is not None:
            await self.runtime.stop(handle)
        ended = await self.db.write(lambda conn: self._ended(conn, document))
        for tell in self.on_end:
            tell(document.workspace, document.name)
        self.journal.say(document.workspace, document.name, "The sandbox has ended for good.")
        self.networks.forget(document.id)
        self._background.start(self._remove_files(document.id, handle))
        return ended

    def _ended(self, conn: Connection, document: Document) -> Document:
        moment = now()
        self.spans.close(conn, document.id, moment)
        drop_belongings(conn, document.workspace, document.name)
        body = msgspec.json.decode(document.body)
        if "archive" in body:
            end_storage(conn, document.id, moment)
        until = moment + retention_of(body)
        records.change(
            conn, document.id, phase="terminated", handle=None, layers=(), expires_at=rfc3339(until)
        )
        return self.store.with_status(conn, document, "TERMINATED", state=None, archive=None)

    async def wake(self, workspace: str, name: str) -> RunningSandbox | None:
        """The running sandbox of that name, resumed or started first when it was not.

        Returns:
            ``None`` when there is no such sandbox, or it has ended.

        Raises:
            ServiceUnavailable: it cannot be resumed or started.
        """
        async with self.live.lock(workspace, name):
            await self.expire_if_due(workspace, name)
            live = self.live.by_name.get((workspace, name))
            if live is not None and live.asleep:
                await self.sleep.resume(live)
            if live is not None:
                return live.sandbox
            document = await self.db.read(
                lambda conn: documents.find(conn, workspace, SANDBOXES.name, name)
            )
            if document is None or document.status not in {"DEPLOYED", *AWAY}:
                return None
            if document.status in AWAY:
                raise ServiceUnavailable(
                    f"Sandbox {name!r} is {document.status.lower()}; unarchive it first "
                    f"(POST /v0/sandboxes/{name}/unarchive).",
                    code="SANDBOX_ARCHIVED",
                )
            try:
                await self.start(document)
            except RuntimeProblem as problem:
                raise ServiceUnavailable(f"Sandbox {name!r} cannot start: {problem}") from problem
            live = self.live.by_name.get((workspace, name))
            return live.sandbox if live is not None else None

    def show(self, body: bytes) -> bytes:
        """The JSON of a sandbox with what changes by itself."""
        return completed(self.live, body)

    async def settled(self, workspace: str, name: str) -> None:
        """Wait until the store says of a sandbox what it is."""
        live = self.live.by_name.get((workspace, name))
        if live is not None:
            await live.saved()

    async def expire(self, workspace: str, name: str) -> None:
        """End the sandbox if its time is over."""
        if self.live.is_due(workspace, name):
            async with self.live.lock(workspace, name):
                await self.expire_if_due(workspace, name)

    async def expire_if_due(self, workspace: str, name: str) -> None:
        """See ``expire``; the caller holds the name's lock."""
        if self.live.is_due(workspace, name):
            log.info("sandbox_expired", workspace=workspace, sandbox=name)
            self.journal.say(workspace, name, "The time of the sandbox is over.")
            await self._terminate(workspace, name)

    async def _remove_files(self, sandbox_id: str, handle: SandboxHandle | None) -> None:
        try:
            await self.runtime.destroy(sandbox_id, handle)
            await self.runtime.files.drop_packed(sandbox_id)
        except Exception:
            log.exception("sandbox_cleanup_failed")

    async def drain(self) -> None:
        """Wait for file removals that are still going on."""
        await self._background.wait()
