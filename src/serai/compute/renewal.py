"""Sandboxes that live on with other settings or other files."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import Connection

from serai.compute import records
from serai.compute.kind import AWAY, ENDED, SANDBOXES, Expiry, expiry_of
from serai.compute.mount_rules import keep_volumes
from serai.compute.refusals import keep_fixed
from serai.compute.snapshot_records import SnapshotRow
from serai.kernel.clock import now, parse_rfc3339, rfc3339
from serai.kernel.errors import Conflict
from serai.resources.documents import Document
from serai.resources.kind import Body
from serai.resources.store import Actor
from serai.runtime.port import RuntimeProblem

if TYPE_CHECKING:
    from serai.compute.controller import SandboxController

SHOWN = ("state", "archive")
"""What the platform says of a sandbox in its document, and a client cannot change."""


class Renewal:
    """Replaces settings, and starts sandboxes over. Part of the controller."""

    def __init__(self, controller: "SandboxController") -> None:
        self.controller = controller

    async def replace(self, actor: Actor, name: str, shape: object) -> Document:
        """Replace metadata and spec without touching what runs.

        Only new environment variables reach into it: the sandbox starts anew, with fresh files,
        as on the hosted service.

        Raises:
            NotFound: no such sandbox.
            BadRequest: image or memory differ; they belong to the running sandbox.
            ServiceUnavailable: it could not be started again; the next request to it tries.
        """
        async with self.controller.live.lock(actor.workspace, name):
            await self.controller.expire_if_due(actor.workspace, name)
            await self.controller.settled(actor.workspace, name)
            document, expiry, anew = await self.controller.db.write(
                lambda conn: self._replaced(conn, actor, name, shape)
            )
            if anew:
                cleared = self.controller.runtime.destroy(document.id, None)
                return await self._start_anew(document, cleared)
            self.controller.networks.tell(document)
            live = self.controller.live.by_id.get(document.id)
            if live is not None:
                live.expires_at, live.idle = expiry.at, expiry.idle
            else:
                await self.controller.sleep.keep_stopped(document)
            return document

    def _replaced(
        self, conn: Connection, actor: Actor, name: str, shape: object
    ) -> tuple[Document, Expiry, bool]:
        """The third is whether the sandbox must start anew."""
        old = self.controller.store.need(conn, SANDBOXES, actor.workspace, name)
        if old.status in ENDED:
            raise Conflict(
                f"Sandbox {name!r} has ended ({old.status}); create it again.",
                code="SANDBOX_TERMINATED",
            )
        before: Body = msgspec.json.decode(old.body)
        body = self.controller.store.wanted(SANDBOXES, shape, name)
        keep_fixed(before["spec"]["runtime"], body["spec"]["runtime"])
        keep_volumes(before["spec"], body["spec"])
        document = self.controller.store.replace(conn, SANDBOXES, actor, old, body)
        document = self.controller.store.with_status(conn, document, old.status, **_kept(before))
        expiry = expiry_of(body, parse_rfc3339(document.created_at))
        stamp = rfc3339(expiry.at) if expiry.at else None
        records.change(conn, document.id, expires_at=stamp)
        if old.status in AWAY:
            return document, expiry, False
        if self.controller.plan(document).environment == self.controller.plan(old).environment:
            return document, expiry, False
        self.controller.spans.close(conn, document.id, now())
        # A crash from here on leaves it to the reconciler, which does the same.
        records.change(conn, document.id, phase="creating", layers=(), memory_from=None)
        document = self.controller.store.with_status(conn, document, "DEPLOYING", state=None)
        return document, expiry, True

    async def start_over(
        self, choose: Callable[[Connection], tuple[Document, SnapshotRow]]
    ) -> Document:
        """Start a sandbox anew on a snapshot; the caller holds the name's lock.

        Args:
            choose: the sandbox and the snapshot, or refuses.

        Raises:
            ServiceUnavailable: it could not be started; the next request to it tries.
        """

        def mark(conn: Connection) -> Document:
            document, row = choose(conn)
            self.controller.spans.close(conn, document.id, now())
            memory = row.id if row.level == "memory" else None
            records.change(
                conn, document.id, phase="creating", layers=row.layers, memory_from=memory
            )
            return self.controller.store.with_status(conn, document, "DEPLOYING", state=None)

        document = await self.controller.db.write(mark)
        return await self._start_anew(document, self.controller.runtime.files.discard(document.id))

    async def _start_anew(self, document: Document, cleared: Awaitable[None]) -> Document:
        self.controller.silence(document.id)
        try:
            await cleared
            return await self.controller.start(document)
        except RuntimeProblem as problem:
            await self.controller.db.write(lambda conn: self._rest(conn, document))
            await self.controller.sleep.keep_stopped(document)
            raise self.controller.imaging.explained(problem, document) from problem

    def _rest(self, conn: Connection, document: Document) -> None:
        records.change(conn, document.id, phase="stopped", handle=None)
        self.controller.store.with_status(conn, document, "DEPLOYED", state="STANDBY")


def _kept(before: Body) -> Body:
    return {key: before.get(key) for key in SHOWN}
