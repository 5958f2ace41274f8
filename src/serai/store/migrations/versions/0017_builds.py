"""Builds of uploaded code."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "builds",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("workspace", sa.String, nullable=False),
        sa.Column("resource_type", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("document_id", sa.String, nullable=False),
        sa.Column("revision", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("options", sa.Text, nullable=False),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("image", sa.String, nullable=False),
        sa.Column("image_size", sa.BigInteger, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("expires_at", sa.String, nullable=False),
        sa.Column("uploaded_at", sa.String),
        sa.Column("started_at", sa.String),
        sa.Column("finished_at", sa.String),
    )
    op.create_index("builds_status", "builds", ["status", "uploaded_at"])
    resource = ["workspace", "resource_type", "name", "created_at"]
    op.create_index("builds_resource", "builds", resource)
