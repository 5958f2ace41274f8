"""Prices, budgets and statements of an account."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Create the tables."""
    _prices()
    _budgets()
    _statements()


def _prices() -> None:
    op.create_table(
        "price_lists",
        sa.Column("account_id", sa.String, primary_key=True),
        sa.Column("currency", sa.String, nullable=False),
        sa.Column("updated_at", sa.String, nullable=False),
        sa.Column("updated_by", sa.String, nullable=False),
    )
    op.create_table(
        "prices",
        sa.Column(
            "account_id", sa.String, sa.ForeignKey("price_lists.account_id"), primary_key=True
        ),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("dimension", sa.String, nullable=False),
        sa.Column("per", sa.String, nullable=False),
        sa.Column("amount", sa.String, nullable=False),
        sa.Column("provider", sa.String),
        sa.Column("model", sa.String),
        sa.Column("since", sa.String, nullable=False),
    )


def _budgets() -> None:
    op.create_table(
        "budgets",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("account_id", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("amount", sa.String, nullable=False),
        sa.Column("filters", sa.Text, nullable=False),
        sa.Column("thresholds", sa.Text, nullable=False),
        sa.Column("url", sa.String, nullable=False),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("created_by", sa.String, nullable=False),
        sa.Column("updated_at", sa.String, nullable=False),
        sa.UniqueConstraint("account_id", "name", name="budgets_account_name"),
    )
    op.create_table(
        "budget_alerts",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("budget_id", sa.String, sa.ForeignKey("budgets.id"), nullable=False),
        sa.Column("period", sa.String, nullable=False),
        sa.Column("threshold", sa.String, nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_at", sa.BigInteger, nullable=False),
        sa.Column("crossed_at", sa.String, nullable=False),
        sa.Column("delivered_at", sa.String),
        sa.Column("problem", sa.String),
        sa.UniqueConstraint("budget_id", "period", "threshold", name="budget_alerts_once"),
    )
    op.create_index("budget_alerts_due", "budget_alerts", ["state", "next_at"])


def _statements() -> None:
    op.create_table(
        "statements",
        sa.Column("account_id", sa.String, primary_key=True),
        sa.Column("month", sa.String, primary_key=True),
        sa.Column("currency", sa.String, nullable=False),
        sa.Column("total", sa.String, nullable=False),
        sa.Column("prices", sa.Text, nullable=False),
        sa.Column("closed_at", sa.String, nullable=False),
        sa.Column("closed_by", sa.String, nullable=False),
    )
    op.create_table(
        "statement_lines",
        sa.Column("account_id", sa.String, primary_key=True),
        sa.Column("month", sa.String, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("period", sa.String, nullable=False),
        sa.Column("since", sa.String, nullable=False),
        sa.Column("workspace", sa.String, nullable=False),
        sa.Column("resource_type", sa.String, nullable=False),
        sa.Column("dimension", sa.String, nullable=False),
        sa.Column("provider", sa.String, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("per", sa.String, nullable=False),
        sa.Column("price", sa.String, nullable=False),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.Column("cost", sa.String, nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id", "month"],
            ["statements.account_id", "statements.month"],
            name="statement_lines_statement",
        ),
    )
    op.create_index("statement_lines_period", "statement_lines", ["account_id", "period"])
