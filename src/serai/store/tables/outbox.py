"""What has happened and others are still to be told; written with the change itself."""

from sqlalchemy import Column, Index, Integer, String, Table, Text

from serai.store.tables import metadata

outbox = Table(
    "outbox",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("topic", String, nullable=False),
    Column("body", Text, nullable=False),
    sqlite_autoincrement=True,
)
"""Numbers rise and are never used again: they are the order in which things happened."""
Index("outbox_topic", outbox.c.topic, outbox.c.number)
