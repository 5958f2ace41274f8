"""Calls of models, one row each, and what is kept of their content."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_TEXTS = ("account_id", "request_id", "model", "resource_id", "stand_in", "provider")
_TOKENS = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")


def upgrade() -> None:
    """Create both tables."""
    _requests()
    _logs()


def _requests() -> None:
    op.create_table(
        "model_requests",
        sa.Column("workspace", sa.String, primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        *(
            sa.Column(name, sa.String, nullable=False)
            for name in (*_TEXTS, "provider_model", "answered_by")
        ),
        sa.Column("operation", sa.String, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("error", sa.String, nullable=False),
        sa.Column("origin", sa.String, nullable=False),
        sa.Column("first_byte", sa.BigInteger, nullable=False),
        sa.Column("duration", sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in _TOKENS),
        sa.Column("counted", sa.Boolean, nullable=False),
        sa.Column("estimated", sa.Boolean, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("cache", sa.String, nullable=False),
        sa.Column("streamed", sa.Boolean, nullable=False),
        sa.Column("credential", sa.String, nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("model_requests_id", "model_requests", ["workspace", "request_id"])


def _logs() -> None:
    op.create_table(
        "model_request_logs",
        sa.Column("workspace", sa.String, primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("resource_id", sa.String, nullable=False),
        sa.Column("ends_at", sa.BigInteger, nullable=False),
        sa.Column("shape", sa.Text, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=True),
        sqlite_with_rowid=False,
    )
    op.create_index("model_request_logs_model", "model_request_logs", ["resource_id"])
    op.create_index("model_request_logs_end", "model_request_logs", ["ends_at"])
