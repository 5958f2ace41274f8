"""Usage: what was consumed, summed by hour and by day, and what is being used right now.

These tables are in a database of their own. Quantities are integers in a dimension's smallest
unit (see ``serai.metering.dimensions``). ``start``, ``end``, ``at``, ``since``, ``changed_at``,
``metered_until``, ``settled_at`` and ``received_at`` are milliseconds since 1970 UTC; ``hour``
and ``day`` are whole hours and days since then; ``month`` is ``year * 12 + month - 1``. Sums are
kept per series: one resource in one dimension, and, with ``total`` set and the resource left
empty, all resources of a workspace in that dimension.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

usage_metadata = MetaData()

usage_series = Table(
    "usage_series",
    usage_metadata,
    Column("id", Integer, primary_key=True),
    Column("key", String, nullable=False, unique=True),
    Column("total", Boolean, nullable=False),
    Column("account_id", String, nullable=False),
    Column("workspace", String, nullable=False),
    Column("resource_type", String, nullable=False),
    Column("resource_name", String, nullable=False),
    Column("resource_id", String, nullable=False),
    Column("dimension", String, nullable=False),
    Column("provider", String, nullable=False),
    Column("model", String, nullable=False),
    Column("first_hour", Integer, nullable=False),
    Column("last_hour", Integer, nullable=False),
)
Index("usage_series_account", usage_series.c.account_id, usage_series.c.total)

usage_events = Table(
    "usage_events",
    usage_metadata,
    Column("id", String, primary_key=True),
    Column("series_id", ForeignKey("usage_series.id"), nullable=False),
    Column("start", BigInteger, nullable=False),
    Column("end", BigInteger, nullable=False),
    Column("quantity", BigInteger, nullable=False),
)
Index("usage_events_start", usage_events.c.start, usage_events.c.series_id)

usage_hours = Table(
    "usage_hours",
    usage_metadata,
    Column("series_id", ForeignKey("usage_series.id"), primary_key=True),
    Column("hour", Integer, primary_key=True),
    Column("quantity", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

usage_days = Table(
    "usage_days",
    usage_metadata,
    Column("series_id", ForeignKey("usage_series.id"), primary_key=True),
    Column("day", Integer, primary_key=True),
    Column("month", Integer, nullable=False),
    Column("quantity", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

usage_callers = Table(
    "usage_callers",
    usage_metadata,
    Column("id", Integer, primary_key=True),
    Column("key", String, nullable=False, unique=True),
    Column("account_id", String, nullable=False),
    Column("workspace", String, nullable=False),
    Column("resource_id", String, nullable=False),
    Column("model", String, nullable=False),
    Column("provider", String, nullable=False),
    Column("credential_id", String, nullable=False),
    Column("labels", Text, nullable=False),
)
"""Who used which model; ``labels`` are those of the model then, as a JSON object."""
Index("usage_callers_account", usage_callers.c.account_id, usage_callers.c.credential_id)

usage_caller_hours = Table(
    "usage_caller_hours",
    usage_metadata,
    Column("caller_id", ForeignKey("usage_callers.id"), primary_key=True),
    Column("hour", Integer, primary_key=True),
    Column("dimension", String, primary_key=True),
    Column("quantity", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

usage_spans = Table(
    "usage_spans",
    usage_metadata,
    Column("resource_id", String, primary_key=True),
    Column("dimension", String, primary_key=True),
    Column("account_id", String, nullable=False),
    Column("workspace", String, nullable=False),
    Column("resource_type", String, nullable=False),
    Column("name", String, nullable=False),
    Column("rate", BigInteger, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    Column("metered_until", BigInteger, nullable=False),
    Column("settled_at", BigInteger, nullable=False),
    Column("last_number", BigInteger, nullable=False),
)
"""``rate`` is what is used per millisecond since ``since``; 0 when nothing is.

``changed_at`` is the moment of the last change, also of one that told the same rate again. What was
before ``settled_at`` does not change any more.
"""
Index("usage_spans_account", usage_spans.c.account_id, usage_spans.c.rate)

usage_changes = Table(
    "usage_changes",
    usage_metadata,
    Column("resource_id", String, primary_key=True),
    Column("dimension", String, primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("rate", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""Each change of a span's rate, in the order (``number``) in which they really happened."""

usage_quarantine = Table(
    "usage_quarantine",
    usage_metadata,
    Column("id", String, primary_key=True),
    Column("received_at", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("body", Text, nullable=False),
)
"""What cannot be true and is not counted, as JSON, until somebody has looked at it."""

usage_notes = Table(
    "usage_notes",
    usage_metadata,
    Column("name", String, primary_key=True),
    Column("value", String, nullable=False),
)
"""Facts about this database itself."""
