"""What happened to a document: appended by the store, read with a single document."""

from sqlalchemy import Connection, bindparam, delete, insert, select

from serai.kernel.clock import now, rfc3339
from serai.resources.documents import Document
from serai.store.tables.documents import document_events as events
from serai.wire.common import CoreEvent

CREATED = "created"
EVENTS_MAX = 50
"""Older events of a document are forgotten."""


def append(
    conn: Connection,
    document: Document,
    kind: str,
    message: str,
    *,
    revision: str = "",
    canary: str = "",
) -> None:
    """Add an event of some kind (``created``, ``updated``, ``status``…) to a document."""
    c = events.c
    conn.execute(
        insert(events).values(
            document_id=document.id,
            time=rfc3339(now()),
            type=kind,
            status=document.status,
            message=message,
            revision=revision,
            canary_revision=canary,
        )
    )
    if kind == CREATED:
        return
    mine = select(c.number).where(c.document_id == document.id)
    oldest_kept = mine.order_by(c.number.desc()).limit(1).offset(EVENTS_MAX - 1).scalar_subquery()
    conn.execute(delete(events).where(c.document_id == document.id, c.number < oldest_kept))


OF_DOCUMENT = (
    select(events).where(events.c.document_id == bindparam("wanted")).order_by(events.c.number)
)


def of_document(conn: Connection, document_id: str) -> list[CoreEvent]:
    """The events of a document, oldest first."""
    return [
        CoreEvent(
            time=row.time,
            type=row.type,
            status=row.status or None,
            message=row.message,
            revision=row.revision or None,
            canary_revision=row.canary_revision or None,
        )
        for row in conn.execute(OF_DOCUMENT, {"wanted": document_id})
    ]
