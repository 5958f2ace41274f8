"""Drives that are mounted in sandboxes, and secrets that S3 needs."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Create the tables."""
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
    op.create_table(
        "s3_secrets",
        sa.Column("key_id", sa.String, primary_key=True),
        sa.Column("workspace", sa.String, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
    )
    op.create_index("ix_s3_secrets_workspace", "s3_secrets", ["workspace"])
