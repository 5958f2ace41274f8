"""What runs of deployments: revisions that serve, instances, asynchronous calls, cron triggers."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "hosted_deployments",
        sa.Column("document_id", sa.String, primary_key=True),
        sa.Column("workspace", sa.String, nullable=False),
        sa.Column("serving", sa.String, nullable=False),
        sa.Column("canary", sa.String, nullable=False),
    )
    op.create_table(
        "hosted_instances",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("workspace", sa.String, nullable=False),
        sa.Column("account_id", sa.String, nullable=False),
        sa.Column("document_id", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("revision", sa.String, nullable=False),
        sa.Column("phase", sa.String, nullable=False),
        sa.Column("port", sa.Integer, nullable=False),
        sa.Column("memory_mb", sa.Integer, nullable=False),
        sa.Column("handle", sa.Text),
        sa.Column("started_at", sa.String, nullable=False),
        sa.Column("lines", sa.BigInteger, nullable=False),
    )
    op.create_index("hosted_instances_document", "hosted_instances", ["document_id"])
    op.create_table(
        "hosted_calls",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("workspace", sa.String, nullable=False),
        sa.Column("document_id", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("trigger", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("run_at", sa.String, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("request", sa.LargeBinary, nullable=False),
        sa.Column("callback", sa.LargeBinary),
        sa.Column("status_code", sa.Integer),
        sa.Column("outcome", sa.Text, nullable=False),
    )
    op.create_index("hosted_calls_due", "hosted_calls", ["state", "run_at"])
    op.create_index("hosted_calls_document", "hosted_calls", ["document_id"])
    op.create_table(
        "hosted_schedules",
        sa.Column("document_id", sa.String, primary_key=True),
        sa.Column("trigger", sa.String, primary_key=True),
        sa.Column("workspace", sa.String, nullable=False),
        sa.Column("schedule", sa.String, nullable=False),
        sa.Column("next_at", sa.String, nullable=False),
    )
