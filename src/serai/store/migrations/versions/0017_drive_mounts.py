"""Drives that are mounted in sandboxes."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0011"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "drive_mounts",
        sa.Column("workspace", sa.String, primary_key=True),
        sa.Column("sandbox", sa.String, primary_key=True),
        sa.Column("path", sa.String, primary_key=True),
        sa.Column("drive", sa.String, nullable=False),
        sa.Column("drive_id", sa.String, nullable=False),
        sa.Column("folder", sa.String, nullable=False),
        sa.Column("read_only", sa.Boolean, nullable=False),
    )
    op.create_index("drive_mounts_drive", "drive_mounts", ["workspace", "drive_id"])
