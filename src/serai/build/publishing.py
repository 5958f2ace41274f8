"""What a build means for its resource: every step is one transaction, rows first."""

from typing import Protocol

from sqlalchemy import Connection

from serai.build import records
from serai.build.records import BuildRow
from serai.images import records as image_records
from serai.kernel.clock import now, rfc3339
from serai.resources import documents, rollout
from serai.resources.documents import Document
from serai.resources.kind import Kind
from serai.resources.store import DocumentStore
from serai.runtime.making import MadeImage

_GONE = frozenset({"DELETING", "TERMINATED"})


class Waiting(Protocol):
    """Sandboxes that wait for an image."""

    def ready(self, conn: Connection, document: Document) -> None:
        """A sandbox has its image: in the transaction that says so."""

    async def start(self, document: Document) -> None:
        """Start it, anew if it runs; its document says how that went."""


class Publisher:
    """Tells documents and images what became of their builds.

    Args:
        store: of documents.
        kinds: those whose code is uploaded.
        at_once: names of kinds that are deployed as soon as their image is there, as nothing of
            them runs before somebody asks for it.
        waiting: sandboxes.
    """

    def __init__(
        self,
        store: DocumentStore,
        kinds: tuple[Kind, ...],
        at_once: frozenset[str],
        waiting: Waiting,
    ) -> None:
        self._store = store
        self._kinds = {kind.name: kind for kind in kinds}
        self._at_once = at_once
        self.waiting = waiting

    def document(self, conn: Connection, row: BuildRow) -> Document | None:
        """The resource that waits for a build; None where there is none (any more)."""
        if not row.document_id:
            return None
        found = documents.find(conn, row.workspace, row.resource_type, row.name)
        if found is None or found.id != row.document_id or found.status in _GONE:
            return None
        return found

    def is_wanted(self, conn: Connection, row: BuildRow) -> bool:
        """Whether anybody waits for a build still."""
        current = records.get(conn, row.id)
        if current is None or current.status not in records.OPEN:
            return False
        return self.is_awaited(conn, row)

    def is_awaited(self, conn: Connection, row: BuildRow) -> bool:
        """The same of a row that was just read, and has not ended."""
        return not row.document_id or self.document(conn, row) is not None

    def begun(self, conn: Connection, row: BuildRow) -> Document | None:
        """A build goes on."""
        moment = rfc3339(now())
        fields = {"status": "BUILDING", "attempt": row.attempt + 1}
        records.change(conn, row.id, started_at=moment, **fields)
        return self._tell(conn, row, "BUILDING")

    def failed(self, conn: Connection, row: BuildRow, why: str) -> Document | None:
        """A build ended without an image; what served goes on serving."""
        fields = {"status": "FAILED", "message": why[:4000]}
        records.change(conn, row.id, finished_at=rfc3339(now()), **fields)
        return self._tell(conn, row, "FAILED", why[:1000])

    def cancelled(self, conn: Connection, row: BuildRow) -> None:
        """Nobody waits for a build any more."""
        fields = {"status": "CANCELLED", "message": "Nobody waits for it any more."}
        records.change(conn, row.id, finished_at=rfc3339(now()), **fields)

    def built(self, conn: Connection, row: BuildRow, made: MadeImage) -> Document | None:
        """There is an image: it has a name in the workspace, and the revision has it."""
        fields = {"status": "BUILT", "image": made.reference, "image_size": made.size}
        records.change(conn, row.id, finished_at=rfc3339(now()), **fields)
        image_records.register(
            conn,
            row.workspace,
            row.resource_type,
            row.name,
            row.id,
            made.reference,
            size=made.size,
        )
        document = self.document(conn, row)
        if document is None:
            return None
        kind = self._kinds[row.resource_type]
        image = f"{row.resource_type}/{row.name}:{row.id}"
        changed = rollout.give_image(conn, self._store, kind, document, row.revision, image)
        if kind.name in self._at_once:
            return rollout.release(conn, self._store, changed, row.revision, "DEPLOYED")
        if not kind.versioned:
            self.waiting.ready(conn, changed)
        return changed

    async def published(self, document: Document) -> None:
        """After ``built``: start what is not started by anybody else."""
        if not self._kinds[document.kind].versioned:
            await self.waiting.start(document)

    def _tell(self, conn: Connection, row: BuildRow, status: str, why: str = "") -> Document | None:
        is_only_image = not row.document_id
        image_records.put_status(
            conn, row.workspace, row.resource_type, row.name, status, make=is_only_image
        )
        document = self.document(conn, row)
        if document is None:
            return None
        return rollout.move(conn, self._store, document, row.revision, status, why)
