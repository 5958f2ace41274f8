"""Usage events, their hourly and daily sums, and the spans of running sandboxes."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the usage tables."""
    _series()
    _events()
    _sums()
    _spans()


def _series() -> None:
    op.create_table(
        "usage_series",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("key", sa.String, nullable=False, unique=True),
        sa.Column("total", sa.Boolean, nullable=False),
        sa.Column("account_id", sa.String, nullable=False),
        sa.Column("workspace", sa.String, nullable=False),
        sa.Column("resource_type", sa.String, nullable=False),
        sa.Column("resource_name", sa.String, nullable=False),
        sa.Column("resource_id", sa.String, nullable=False),
        sa.Column("dimension", sa.String, nullable=False),
        sa.Column("provider", sa.String, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("first_hour", sa.Integer, nullable=False),
        sa.Column("last_hour", sa.Integer, nullable=False),
    )
    op.create_index("usage_series_account", "usage_series", ["account_id", "total"])


def _events() -> None:
    op.create_table(
        "usage_events",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("series_id", sa.Integer, sa.ForeignKey("usage_series.id"), nullable=False),
        sa.Column("start", sa.BigInteger, nullable=False),
        sa.Column("end", sa.BigInteger, nullable=False),
        sa.Column("quantity", sa.BigInteger, nullable=False),
    )
    op.create_index("usage_events_start", "usage_events", ["start", "series_id"])


def _sums() -> None:
    op.create_table(
        "usage_hours",
        sa.Column("series_id", sa.Integer, sa.ForeignKey("usage_series.id"), primary_key=True),
        sa.Column("hour", sa.Integer, primary_key=True),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "usage_days",
        sa.Column("series_id", sa.Integer, sa.ForeignKey("usage_series.id"), primary_key=True),
        sa.Column("day", sa.Integer, primary_key=True),
        sa.Column("month", sa.Integer, nullable=False),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


def _spans() -> None:
    op.create_table(
        "usage_spans",
        sa.Column("resource_id", sa.String, primary_key=True),
        sa.Column("account_id", sa.String, nullable=False),
        sa.Column("workspace", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("memory_mb", sa.Integer, nullable=False),
        sa.Column("opened_at", sa.BigInteger, nullable=False),
        sa.Column("metered_until", sa.BigInteger, nullable=False),
        sa.Column("closed_at", sa.BigInteger),
    )
    op.create_index("usage_spans_open", "usage_spans", ["closed_at", "account_id"])
