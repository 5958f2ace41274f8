"""Prices, budgets with what they told, and statements of an account.

Money is decimal text. Times are RFC 3339 text in UTC, days ``YYYY-MM-DD`` and months ``YYYY-MM``;
``next_at`` is milliseconds since 1970. Quantities are as usage is stored.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from serai.store.tables import metadata

price_lists = Table(
    "price_lists",
    metadata,
    Column("account_id", String, primary_key=True),
    Column("currency", String, nullable=False),
    Column("updated_at", String, nullable=False),
    Column("updated_by", String, nullable=False),
)

prices = Table(
    "prices",
    metadata,
    Column("account_id", ForeignKey("price_lists.account_id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("dimension", String, nullable=False),
    Column("per", String, nullable=False),
    Column("amount", String, nullable=False),
    Column("provider", String),
    Column("model", String),
    Column("since", String, nullable=False),
)
"""``per`` is ``per_unit``, ``per_million`` or ``per_gb_month``; ``since`` the first day."""

budgets = Table(
    "budgets",
    metadata,
    Column("id", String, primary_key=True),
    Column("account_id", String, nullable=False),
    Column("name", String, nullable=False),
    Column("amount", String, nullable=False),
    Column("filters", Text, nullable=False),
    Column("thresholds", Text, nullable=False),
    Column("url", String, nullable=False),
    Column("secret", LargeBinary, nullable=False),
    Column("created_at", String, nullable=False),
    Column("created_by", String, nullable=False),
    Column("updated_at", String, nullable=False),
    Column("action", String, nullable=False, server_default="notify"),
    Column("per", String, nullable=False, server_default="month"),
    UniqueConstraint("account_id", "name", name="budgets_account_name"),
)
"""``filters`` and ``thresholds`` are JSON, ``action`` is ``notify`` or ``refuse``, and ``per``
``month`` or ``day``; ``url`` is empty where nobody is told; ``secret`` signs webhooks, sealed."""

budget_alerts = Table(
    "budget_alerts",
    metadata,
    Column("id", String, primary_key=True),
    Column("budget_id", ForeignKey("budgets.id"), nullable=False),
    Column("period", String, nullable=False),
    Column("threshold", String, nullable=False),
    Column("payload", Text, nullable=False),
    Column("state", String, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", BigInteger, nullable=False),
    Column("crossed_at", String, nullable=False),
    Column("delivered_at", String),
    Column("problem", String),
    UniqueConstraint("budget_id", "period", "threshold", name="budget_alerts_once"),
)
"""``state`` is ``pending``, ``delivered`` or ``failed``; ``problem`` is of the last attempt."""

Index("budget_alerts_due", budget_alerts.c.state, budget_alerts.c.next_at)

statements = Table(
    "statements",
    metadata,
    Column("account_id", String, primary_key=True),
    Column("month", String, primary_key=True),
    Column("currency", String, nullable=False),
    Column("total", String, nullable=False),
    Column("prices", Text, nullable=False),
    Column("closed_at", String, nullable=False),
    Column("closed_by", String, nullable=False),
)
"""``prices`` is the list that held when it was closed, as JSON, for corrections of this month."""

statement_lines = Table(
    "statement_lines",
    metadata,
    Column("account_id", String, primary_key=True),
    Column("month", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("period", String, nullable=False),
    Column("since", String, nullable=False),
    Column("workspace", String, nullable=False),
    Column("resource_type", String, nullable=False),
    Column("dimension", String, nullable=False),
    Column("provider", String, nullable=False),
    Column("model", String, nullable=False),
    Column("per", String, nullable=False),
    Column("price", String, nullable=False),
    Column("quantity", BigInteger, nullable=False),
    Column("cost", String, nullable=False),
    ForeignKeyConstraint(
        ["account_id", "month"],
        ["statements.account_id", "statements.month"],
        name="statement_lines_statement",
    ),
)
"""``period`` is the month that was used in: an earlier one in a line of what came late."""

Index("statement_lines_period", statement_lines.c.account_id, statement_lines.c.period)
