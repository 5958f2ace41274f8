"""Lines of logs, their streams and origins, and what they take by hour."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ORIGIN = ("source", "output", "revision", "instance", "execution", "task", "build")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "log_streams",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("workspace", sa.String, nullable=False),
        sa.Column("resource_type", sa.String, nullable=False),
        sa.Column("resource", sa.String, nullable=False),
        sa.UniqueConstraint("workspace", "resource_type", "resource"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "log_origins",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("stream_id", sa.Integer, nullable=False),
        sa.Column("day", sa.Integer, nullable=False),
        *(sa.Column(name, sa.String, nullable=False) for name in _ORIGIN),
        sa.UniqueConstraint("stream_id", "day", *_ORIGIN),
        sqlite_autoincrement=True,
    )
    _lines()


def _lines() -> None:
    op.create_table(
        "log_lines",
        sa.Column("stream_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("origin_id", sa.Integer, nullable=False),
        sa.Column("severity", sa.SmallInteger, nullable=False),
        sa.Column("trace_id", sa.String, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("attributes", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    has_trace = sa.text("trace_id <> ''")
    op.create_index(
        "log_lines_trace",
        "log_lines",
        ["trace_id"],
        sqlite_where=has_trace,
        postgresql_where=has_trace,
    )
    op.create_table(
        "log_hours",
        sa.Column("stream_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("hour", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
