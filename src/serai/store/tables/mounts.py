"""Drives that are mounted in sandboxes: they are mounted again when a sandbox starts again."""

from sqlalchemy import Boolean, Column, Index, String, Table

from serai.store.tables import metadata

drive_mounts = Table(
    "drive_mounts",
    metadata,
    Column("workspace", String, primary_key=True),
    Column("sandbox", String, primary_key=True),
    Column("path", String, primary_key=True),
    Column("drive", String, nullable=False),
    Column("drive_id", String, nullable=False),
    Column("folder", String, nullable=False),
    Column("read_only", Boolean, nullable=False),
)
Index("drive_mounts_drive", drive_mounts.c.workspace, drive_mounts.c.drive_id)
