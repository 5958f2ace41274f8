"""Budgets that refuse, and budgets of a day."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Add what a budget does, and for how long it holds."""
    for name, default in (("action", "notify"), ("per", "month")):
        column = sa.Column(name, sa.String, nullable=False, server_default=default)
        op.add_column("budgets", column)
