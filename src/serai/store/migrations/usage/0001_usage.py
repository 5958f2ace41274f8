"""Usage events, their hourly and daily sums, spans, and what was kept aside."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the usage tables."""
    _series()
    _sums()
    _spans()
    _rest()


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
        sa.Column("hour", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "usage_days",
        sa.Column("series_id", sa.Integer, sa.ForeignKey("usage_series.id"), primary_key=True),
        sa.Column("day", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("month", sa.Integer, nullable=False),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


def _spans() -> None:
    op.create_table(
        "usage_spans",
        sa.Column("resource_id", sa.String, primary_key=True),
        sa.Column("dimension", sa.String, primary_key=True),
        sa.Column("account_id", sa.String, nullable=False),
        sa.Column("workspace", sa.String, nullable=False),
        sa.Column("resource_type", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("rate", sa.BigInteger, nullable=False),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
        sa.Column("metered_until", sa.BigInteger, nullable=False),
        sa.Column("settled_at", sa.BigInteger, nullable=False),
        sa.Column("last_number", sa.BigInteger, nullable=False),
    )
    op.create_index("usage_spans_account", "usage_spans", ["account_id", "rate"])
    op.create_table(
        "usage_changes",
        sa.Column("resource_id", sa.String, primary_key=True),
        sa.Column("dimension", sa.String, primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("rate", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


def _rest() -> None:
    op.create_table(
        "usage_quarantine",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "usage_notes",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("value", sa.String, nullable=False),
    )
