"""Snapshots of sandboxes; they outlive the sandboxes they were taken of.

``layers`` are the ids of all saved sets of files that make it up, the topmost first, as JSON;
``body`` what a client is shown of the sandbox, ``sealed`` the whole of what a fork starts with.
``status`` is ``pending``, ``ready``, ``failed``, or ``deleted`` for one whose files are still
below sandboxes or other snapshots. Times are RFC 3339 text in UTC, sizes are bytes.
"""

from sqlalchemy import BigInteger, Column, Index, LargeBinary, String, Table, Text

from serai.store.tables import metadata

snapshots = Table(
    "snapshots",
    metadata,
    Column("id", String, primary_key=True),
    Column("workspace", String, nullable=False),
    Column("account_id", String, nullable=False),
    Column("sandbox_id", String, nullable=False),
    Column("sandbox", String, nullable=False),
    Column("name", String, nullable=False),
    Column("status", String, nullable=False),
    Column("level", String, nullable=False),
    Column("created_at", String, nullable=False),
    Column("created_by", String, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("layers", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)
Index("snapshots_created", snapshots.c.workspace, snapshots.c.created_at, snapshots.c.id)
Index("snapshots_of_sandbox", snapshots.c.workspace, snapshots.c.sandbox_id, snapshots.c.name)
