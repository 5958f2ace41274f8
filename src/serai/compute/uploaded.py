"""Sandboxes whose image is built of uploaded code: there before they can run."""

from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from sqlalchemy import Connection

from serai.compute import records
from serai.compute.kind import ENDED, IMAGE_DEFAULT, SANDBOXES, expiry_of
from serai.compute.records import SandboxRow
from serai.compute.refusals import explain_start
from serai.kernel.clock import now, rfc3339
from serai.resources import documents, quotas
from serai.resources.documents import Document
from serai.resources.kind import Body
from serai.resources.store import Actor, already_exists
from serai.resources.tenants import need_tenant
from serai.resources.uploading import WAITING, Opened, Uploads
from serai.runtime.port import RuntimeProblem

if TYPE_CHECKING:
    from serai.compute.controller import SandboxController

log = structlog.get_logger(__name__)


class UploadedSandboxes:
    """Announces uploads of sandboxes, and starts them when their image is there."""

    def __init__(self, controller: "SandboxController") -> None:
        self._controller = controller

    async def create(self, actor: Actor, body: Body, uploads: Uploads) -> tuple[Document, Opened]:
        """A sandbox that waits for its code.

        Raises:
            Conflict: the name is taken by one that lives.
        """
        name = body["metadata"]["name"]
        async with self._controller.live.lock(actor.workspace, name):
            return await self._controller.db.write(
                lambda conn: self._created(conn, actor, body, uploads)
            )

    def _created(
        self, conn: Connection, actor: Actor, body: Body, uploads: Uploads
    ) -> tuple[Document, Opened]:
        name = body["metadata"]["name"]
        known = documents.find(conn, actor.workspace, SANDBOXES.name, name)
        if known is not None and known.status not in ENDED:
            raise already_exists(SANDBOXES, name)
        return self._anew(conn, actor, body, uploads, known)

    def _anew(
        self,
        conn: Connection,
        actor: Actor,
        body: Body,
        uploads: Uploads,
        ended: Document | None,
    ) -> tuple[Document, Opened]:
        if ended is not None:
            documents.drop(conn, ended)
            records.drop(conn, ended.id)
        _leave_image_open(body)
        document = self._controller.store.create(conn, SANDBOXES, actor, body, WAITING)
        return document, uploads.open(conn, actor, SANDBOXES, document)

    async def replace(
        self, actor: Actor, name: str, body: Body, uploads: Uploads
    ) -> tuple[Document, Opened]:
        """New code for a sandbox; what runs goes on until there is an image of it.

        Raises:
            NotFound: no such sandbox.
        """

        def write(conn: Connection) -> tuple[Document, Opened]:
            store = self._controller.store
            old = store.need(conn, SANDBOXES, actor.workspace, name)
            if old.status in ENDED and records.get(conn, old.id) is None:
                return self._anew(conn, actor, body, uploads, old)
            if old.status == "TERMINATED":
                return self._anew(conn, actor, body, uploads, old)
            before: Body = msgspec.json.decode(old.body)
            kept = before["spec"]["runtime"].get("image")
            _leave_image_open(body)
            if kept is not None:
                body["spec"]["runtime"].setdefault("image", kept)
            document = store.replace(conn, SANDBOXES, actor, old, body)
            shown: dict[str, Any] = {key: before.get(key) for key in ("state", "archive")}
            document = store.with_status(conn, document, WAITING, **shown)
            return document, uploads.open(conn, actor, SANDBOXES, document)

        async with self._controller.live.lock(actor.workspace, name):
            await self._controller.settled(actor.workspace, name)
            return await self._controller.db.write(write)

    def ready(self, conn: Connection, document: Document) -> None:
        """Note that a sandbox is to be started on its new image, in whatever state it is.

        A crash from here on leaves it to the reconciler, which does the same as ``start``.
        """
        if records.get(conn, document.id) is not None:
            self._controller.spans.close(conn, document.id, now())
            records.change(conn, document.id, phase="creating", layers=(), memory_from=None)
            return
        body: Body = msgspec.json.decode(document.body)
        moment = now()
        expiry = expiry_of(body, moment)
        records.add(
            conn,
            SandboxRow(
                id=document.id,
                workspace=document.workspace,
                account_id=need_tenant(conn, document.workspace).account_id,
                name=document.name,
                memory_mb=body["spec"]["runtime"]["memory"],
                phase="creating",
                handle=None,
                expires_at=rfc3339(expiry.at) if expiry.at else None,
                last_active_at=rfc3339(moment),
            ),
        )

    async def start(self, document: Document) -> None:
        """Start it; where that fails, the document says why."""
        controller = self._controller
        async with controller.live.lock(document.workspace, document.name):
            await controller.settled(document.workspace, document.name)
            controller.silence(document.id)
            row = await controller.db.write(lambda conn: self._wanted(conn, document))
            if row is None:
                return
            try:
                await controller.db.read(
                    lambda conn: quotas.check_memory(conn, document.workspace, row.memory_mb)
                )
                await controller.repair(document, row)
            except Exception as problem:
                why = str(problem)
                if isinstance(problem, RuntimeProblem):
                    why = explain_start(problem, msgspec.json.decode(document.body)).message
                log.info("uploaded_sandbox_not_started", sandbox=document.name, reason=why)
                await controller.db.write(lambda conn: self._failed(conn, document, why))

    def _wanted(self, conn: Connection, document: Document) -> SandboxRow | None:
        """The row of a sandbox that is to start; it may have gone to sleep since ``ready``."""
        current = documents.find(conn, document.workspace, SANDBOXES.name, document.name)
        if current is None or current.id != document.id or current.status != "DEPLOYING":
            return None
        self.ready(conn, current)
        return records.need(conn, document.id)

    def _failed(self, conn: Connection, document: Document, why: str) -> None:
        current = documents.find(conn, document.workspace, SANDBOXES.name, document.name)
        if current is None or current.id != document.id:
            return
        records.drop(conn, document.id)
        self._controller.store.with_status(conn, current, "FAILED", why, state=None)


def _leave_image_open(body: Body) -> None:
    """The default image is nobody's wish where the image is still to be built."""
    if body["spec"]["runtime"].get("image") == IMAGE_DEFAULT:
        body["spec"]["runtime"].pop("image")
