"""What each caller used of each model, by hour."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "usage_callers",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("key", sa.String, nullable=False, unique=True),
        sa.Column("account_id", sa.String, nullable=False),
        sa.Column("workspace", sa.String, nullable=False),
        sa.Column("resource_id", sa.String, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("provider", sa.String, nullable=False),
        sa.Column("credential_id", sa.String, nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
    )
    op.create_index("usage_callers_account", "usage_callers", ["account_id", "credential_id"])
    op.create_table(
        "usage_caller_hours",
        sa.Column("caller_id", sa.Integer, sa.ForeignKey("usage_callers.id"), primary_key=True),
        sa.Column("hour", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("dimension", sa.String, primary_key=True),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
