"""Builds: code that was announced, uploaded, and made an image of.

Times are RFC 3339 text in UTC; sizes are bytes.
"""

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, Text

from serai.store.tables import metadata

builds = Table(
    "builds",
    metadata,
    Column("id", String, primary_key=True),
    Column("workspace", String, nullable=False),
    Column("resource_type", String, nullable=False),
    Column("name", String, nullable=False),
    Column("document_id", String, nullable=False),
    Column("revision", String, nullable=False),
    Column("status", String, nullable=False),
    Column("message", Text, nullable=False),
    Column("options", Text, nullable=False),
    Column("digest", String, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("image", String, nullable=False),
    Column("image_size", BigInteger, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("created_at", String, nullable=False),
    Column("expires_at", String, nullable=False),
    Column("uploaded_at", String),
    Column("started_at", String),
    Column("finished_at", String),
)
Index("builds_status", builds.c.status, builds.c.uploaded_at)
Index(
    "builds_resource",
    builds.c.workspace,
    builds.c.resource_type,
    builds.c.name,
    builds.c.created_at,
)
