"""The document store: every kind of resource in one table.

``parent`` is the name of the document that it belongs to, or empty. ``body`` is the public object
as JSON with secrets masked; ``search`` what ``q`` looks through, in lower case; ``secrets`` the
encrypted map of the masked values.
"""

from sqlalchemy import Column, Index, Integer, LargeBinary, String, Table, Text

from serai.store.tables import metadata

documents = Table(
    "documents",
    metadata,
    Column("id", String, primary_key=True),
    Column("workspace", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("parent", String, nullable=False),
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

Index(
    "documents_name",
    documents.c.workspace,
    documents.c.kind,
    documents.c.parent,
    documents.c.name,
    unique=True,
)
Index(
    "documents_created",
    documents.c.workspace,
    documents.c.kind,
    documents.c.parent,
    documents.c.created_at,
    documents.c.id,
)
Index("documents_external", documents.c.workspace, documents.c.kind, documents.c.external_id)
Index("documents_kind", documents.c.kind, documents.c.status)
