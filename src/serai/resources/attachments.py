"""Who uses a volume: derived from the documents that name it, so it cannot be out of date."""

import msgspec
from sqlalchemy import ColumnElement, Connection, literal_column, select

from serai.store.tables.documents import documents
from serai.store.tables.storage import VOLUMES_OF_BODY

ENDED = ("TERMINATED", "DELETING")


class Attached(msgspec.Struct, rename="camel"):
    """What a workload's ``spec.volumes`` says of one volume."""

    name: str | None = None
    type: str | None = None


def attachments(conn: Connection, workspace: str) -> dict[str, str]:
    """Every attached volume of a workspace, and who uses it as ``kind:name``.

    Ephemeral volumes belong to their workload and are none of these.
    """
    c = documents.c
    volumes: ColumnElement[str | None] = literal_column(VOLUMES_OF_BODY)
    query = (
        select(c.kind, c.name, volumes)
        .with_hint(documents, "INDEXED BY documents_volumes", "sqlite")
        .where(c.workspace == workspace, volumes.is_not(None), c.status.not_in(ENDED))
        .order_by(c.created_at)
    )
    found: dict[str, str] = {}
    for kind, name, text in conn.execute(query):
        for attached in msgspec.json.decode(text, type=list[Attached]):
            if attached.name and attached.type != "ephemeral":
                found.setdefault(attached.name, f"{kind}:{name}")
    return found
