"""Job executions, versions of volume templates, contents of volumes, keys of drive tokens."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Create the tables, and the index that finds who uses a volume."""
    _executions()
    _versions()
    op.create_table(
        "volume_contents",
        sa.Column("volume_id", sa.String, primary_key=True),
        sa.Column("digest", sa.String, nullable=False),
    )
    op.create_index("volume_contents_digest", "volume_contents", ["digest"])
    op.create_table(
        "drive_keys",
        sa.Column("kid", sa.String, primary_key=True),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("public", sa.Text, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
    )
    op.create_index(
        "documents_volumes",
        "documents",
        ["workspace"],
        sqlite_where=sa.text("json_extract(body, '$.spec.volumes') IS NOT NULL"),
    )


def _executions() -> None:
    op.create_table(
        "job_executions",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("workspace", sa.String, nullable=False),
        sa.Column("job", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("updated_at", sa.String, nullable=False),
        sa.Column("started_at", sa.String),
        sa.Column("completed_at", sa.String),
        sa.Column("deadline", sa.String),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("tasks", sa.Text, nullable=False),
        sa.Column("secrets", sa.LargeBinary),
    )
    named = ["workspace", "job", "name"]
    op.create_index("job_executions_name", "job_executions", named, unique=True)
    created = ["workspace", "job", "created_at", "id"]
    op.create_index("job_executions_created", "job_executions", created)


def _versions() -> None:
    op.create_table(
        "template_versions",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("workspace", sa.String, nullable=False),
        sa.Column("template", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("digest", sa.String),
        sa.Column("content_size", sa.BigInteger),
        sa.Column("unpacked_size", sa.BigInteger),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("uploaded_at", sa.String),
    )
    named = ["workspace", "template", "name"]
    op.create_index("template_versions_name", "template_versions", named, unique=True)
    op.create_index("template_versions_digest", "template_versions", ["digest"])
