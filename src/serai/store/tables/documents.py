"""Documents of every kind, and what is kept of their past. Times are RFC 3339 text in UTC."""

from sqlalchemy import Column, ForeignKey, Index, Integer, LargeBinary, String, Table, Text

from serai.store.tables import metadata

documents = Table(
    "documents",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("id", String, nullable=False, unique=True),
    Column("workspace", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("parent", String, nullable=False, server_default=""),
    Column("name", String, nullable=False),
    Column("external_id", String),
    Column("status", String, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("created_at", String, nullable=False),
    Column("updated_at", String, nullable=False),
    Column("search", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("secrets", LargeBinary),
)
"""``number`` never changes: the search index refers to it."""

_list = (documents.c.workspace, documents.c.kind, documents.c.parent)
Index("documents_name", *_list, documents.c.name, unique=True)
Index("documents_by_time", *_list, documents.c.status, documents.c.created_at, documents.c.id)
Index("documents_by_name", *_list, documents.c.status, documents.c.name, documents.c.id)
Index("documents_external", documents.c.workspace, documents.c.kind, documents.c.external_id)
Index("documents_kind", documents.c.kind, documents.c.status)

document_counts = Table(
    "document_counts",
    metadata,
    Column("workspace", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("parent", String, primary_key=True),
    Column("status", String, primary_key=True),
    Column("count", Integer, nullable=False),
    sqlite_with_rowid=False,
)
"""Triggers keep it, so that no statement on ``documents`` can make it wrong."""

document_events = Table(
    "document_events",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("document_id", ForeignKey("documents.id", ondelete="CASCADE"), nullable=False),
    Column("time", String, nullable=False),
    Column("type", String, nullable=False),
    Column("status", String, nullable=False),
    Column("message", String, nullable=False),
    Column("revision", String, nullable=False),
    Column("canary_revision", String, nullable=False),
)
Index("document_events_document", document_events.c.document_id, document_events.c.number)

document_revisions = Table(
    "document_revisions",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("document_id", ForeignKey("documents.id", ondelete="CASCADE"), nullable=False),
    Column("id", String, nullable=False),
    Column("created_at", String, nullable=False),
    Column("created_by", String, nullable=False),
    Column("status", String, nullable=False),
    Column("active_since", String, nullable=False),
    Column("spec", Text, nullable=False),
    Column("secrets", LargeBinary),
)
Index(
    "document_revisions_document",
    document_revisions.c.document_id,
    document_revisions.c.id,
    unique=True,
)
