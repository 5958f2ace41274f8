"""Tokens of previews, and schedules of sandboxes with their executions."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the tables of what belongs to sandboxes."""
    _tokens()
    _schedules()
    _executions()


def _tokens() -> None:
    op.create_table(
        "preview_tokens",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("workspace", sa.String, nullable=False),
        sa.Column("sandbox", sa.String, nullable=False),
        sa.Column("preview", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("expires_at", sa.String),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("created_by", sa.String, nullable=False),
    )
    place = ["workspace", "sandbox", "preview", "name"]
    op.create_index("preview_tokens_name", "preview_tokens", place, unique=True)


def _schedules() -> None:
    op.create_table(
        "sandbox_schedules",
        sa.Column("workspace", sa.String, primary_key=True),
        sa.Column("sandbox", sa.String, primary_key=True),
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("type", sa.String, nullable=False),
        sa.Column("value", sa.String, nullable=False),
        sa.Column("max_executions", sa.Integer, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("next_run_at", sa.String, nullable=False, index=True),
        sa.Column("search", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("secrets", sa.LargeBinary),
    )


def _executions() -> None:
    op.create_table(
        "sandbox_schedule_executions",
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("workspace", sa.String, nullable=False),
        sa.Column("sandbox", sa.String, nullable=False),
        sa.Column("schedule_id", sa.String, nullable=False),
        sa.Column("max_executions", sa.Integer, nullable=False),
        sa.Column("process_name", sa.String, nullable=False),
        sa.Column("timeout", sa.Integer, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("executed_at", sa.String, index=True),
        sa.Column("status", sa.String),
        sa.Column("status_code", sa.Integer),
        sa.Column("error", sa.Text),
        sa.Column("job", sa.LargeBinary),
        sqlite_autoincrement=True,
    )
    place = ["workspace", "sandbox", "schedule_id", "seq"]
    op.create_index("sandbox_schedule_executions_place", "sandbox_schedule_executions", place)
