"""What the platform knows of each running sandbox; survives a crash."""

from sqlalchemy import Column, Integer, LargeBinary, String, Table, Text

from serai.store.tables import metadata

sandboxes = Table(
    "sandboxes",
    metadata,
    Column("id", String, primary_key=True),
    Column("workspace", String, nullable=False),
    Column("account_id", String, nullable=False),
    Column("name", String, nullable=False),
    Column("memory_mb", Integer, nullable=False),
    Column("phase", String, nullable=False),
    Column("handle", Text),
    Column("expires_at", String),
    Column("last_active_at", String, nullable=False),
    Column("layers", Text),
    Column("memory_from", String),
    Column("saved_processes", LargeBinary),
)
