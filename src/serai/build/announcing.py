"""Uploads: announced by a write, sent by a signed URL, and handed to the queue."""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import msgspec
from sqlalchemy import Connection

from serai.build import records
from serai.build.grants import LIFETIME_SECONDS, Grant, Signer
from serai.build.options import Options, options_of
from serai.build.records import BuildRow
from serai.build.sources import Arrived, Sources
from serai.images import records as image_records
from serai.kernel.clock import now, rfc3339
from serai.kernel.errors import Conflict, NotFound
from serai.kernel.ids import token
from serai.resources import rollout
from serai.resources.actor import Actor
from serai.resources.documents import Document
from serai.resources.kind import Body, Kind
from serai.resources.uploading import Opened
from serai.store.database import Database
from serai.wire.common import CoreEvent
from serai.wire.images import ResourceType


class Announcements:
    """See ``resources.uploading.Uploads`` and ``images.operations.ImageBuilds``.

    Args:
        wake: tells the queue that there is something to do.
    """

    def __init__(
        self, db: Database, sources: Sources, signer: Signer, wake: Callable[[], None]
    ) -> None:
        self._db = db
        self._sources = sources
        self._signer = signer
        self._wake = wake

    def open(self, conn: Connection, actor: Actor, kind: Kind, document: Document) -> Opened:
        """See Uploads.open."""
        body: Body = msgspec.json.decode(document.body)
        options = options_of(body["metadata"].get("labels") or {})
        last = rollout.newest(conn, document) if kind.versioned else None
        row = self._row(actor.workspace, kind.name, document.name, options)
        row = msgspec.structs.replace(
            row, document_id=document.id, revision=last.id if last is not None else ""
        )
        return Opened(self._add(conn, row))

    def announce(
        self, conn: Connection, workspace: str, resource_type: ResourceType, name: str
    ) -> str:
        """See ImageBuilds.announce."""
        row = self._row(workspace, resource_type, name, Options())
        image_records.put_status(conn, workspace, resource_type, name, "UPLOADING", make=True)
        return self._add(conn, row)

    def _row(self, workspace: str, resource_type: str, name: str, options: Options) -> BuildRow:
        moment = now()
        return BuildRow(
            id=token(16),
            workspace=workspace,
            resource_type=resource_type,
            name=name,
            document_id="",
            revision="",
            status="UPLOADING",
            options=msgspec.json.encode(options).decode(),
            created_at=rfc3339(moment),
            expires_at=rfc3339(moment + timedelta(seconds=LIFETIME_SECONDS)),
        )

    def _add(self, conn: Connection, row: BuildRow) -> str:
        """Keep a row, in place of earlier ones of the same waiter that have not come to an end."""
        for one in records.of_resource(conn, row):
            if one.status in records.OPEN and one.document_id == row.document_id:
                fields = {"status": "CANCELLED", "message": "Newer code was announced."}
                records.change(conn, one.id, finished_at=rfc3339(now()), **fields)
        records.add(conn, row)
        return self._signer.url(row.id, f"{row.resource_type}/{row.name}", row.revision)

    async def receive(self, text: str, chunks: AsyncIterator[bytes]) -> BuildRow:
        """Take the code of a build. What breaks can be sent again; what was taken, only unchanged.

        Raises:
            Forbidden: the token is not ours, or too old.
            NotFound: the build is gone.
            Conflict: newer code was announced, or other code was taken.
            PayloadTooLarge: it is too large.
        """
        grant = self._signer.read(text)
        await self._db.read(lambda conn: _need(conn, grant))
        arrived = await self._sources.receive(chunks)
        try:
            row, is_new = await self._db.write(lambda conn: self._taken(conn, grant, arrived))
        finally:
            arrived.path.unlink(missing_ok=True)
        if is_new:
            self._wake()
        return row

    def _taken(self, conn: Connection, grant: Grant, arrived: Arrived) -> tuple[BuildRow, bool]:
        row = _need(conn, grant)
        if row.status != "UPLOADING":
            if row.digest == arrived.digest:
                return row, False
            raise Conflict(
                "Other code was taken by this upload URL already: apply the resource again for a "
                "new one.",
                code="ALREADY_UPLOADED",
            )
        # In the transaction: a row that is queued has its file, and prepare() drops the others'.
        self._sources.keep(arrived, row.id)
        taken = {"status": "QUEUED", "digest": arrived.digest, "size": arrived.size}
        records.change(conn, row.id, uploaded_at=rfc3339(now()), **taken)
        return row, True

    def events(
        self, conn: Connection, workspace: str, resource_type: str, name: str
    ) -> list[CoreEvent]:
        """See ImageBuilds.events."""
        rows = records.of_name(conn, workspace, resource_type, name)
        return _events(rows[0]) if rows else []


def _need(conn: Connection, grant: Grant) -> BuildRow:
    row = records.get(conn, grant.build)
    if row is None:
        raise NotFound("What this upload URL was made for is gone.")
    if row.status == "CANCELLED" or (row.status == "FAILED" and not row.digest):
        raise Conflict(
            f"This upload URL is not used any more: {row.message or 'newer code was announced.'}",
            code="UPLOAD_SUPERSEDED",
        )
    return row


def _events(row: BuildRow) -> list[CoreEvent]:
    ended = {"BUILT": "The image was built.", "FAILED": row.message}
    found = [(row.created_at, "UPLOADING", "The code is awaited.")]
    if row.started_at:
        found.append((row.started_at, "BUILDING", "The build began."))
    if row.finished_at and row.status in ended:
        found.append((row.finished_at, row.status, ended[row.status]))
    return [
        CoreEvent(time=at, type="build", status=status, message=text) for at, status, text in found
    ]
