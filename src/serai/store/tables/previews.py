"""Tokens of previews: looked up by digest, shown again from their sealed value."""

from sqlalchemy import Column, Index, LargeBinary, String, Table

from serai.store.tables import metadata

preview_tokens = Table(
    "preview_tokens",
    metadata,
    Column("id", String, primary_key=True),
    Column("workspace", String, nullable=False),
    Column("sandbox", String, nullable=False),
    Column("preview", String, nullable=False),
    Column("name", String, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("expires_at", String),
    Column("created_at", String, nullable=False),
    Column("created_by", String, nullable=False),
)
Index(
    "preview_tokens_name",
    preview_tokens.c.workspace,
    preview_tokens.c.sandbox,
    preview_tokens.c.preview,
    preview_tokens.c.name,
    unique=True,
)
