"""Usage: what was consumed, summed by hour and by day, and which sandboxes are running now.

Quantities are integers in a dimension's smallest unit (see ``serai.metering.dimensions``).
``start``, ``end``, ``opened_at``, ``metered_until`` and ``closed_at`` are milliseconds since
1970 UTC; ``hour`` and ``day`` are whole hours and days since then; ``month`` is
``year * 12 + month - 1``. Sums are kept per series: one resource in one dimension, and, with
``total`` set and the resource left empty, all resources of a workspace in that dimension.
"""

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, String, Table

from serai.store.tables import metadata

usage_series = Table(
    "usage_series",
    metadata,
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
    metadata,
    Column("id", String, primary_key=True),
    Column("series_id", ForeignKey("usage_series.id"), nullable=False),
    Column("start", BigInteger, nullable=False),
    Column("end", BigInteger, nullable=False),
    Column("quantity", BigInteger, nullable=False),
)
Index("usage_events_start", usage_events.c.start, usage_events.c.series_id)

usage_hours = Table(
    "usage_hours",
    metadata,
    Column("series_id", ForeignKey("usage_series.id"), primary_key=True),
    Column("hour", Integer, primary_key=True),
    Column("quantity", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

usage_days = Table(
    "usage_days",
    metadata,
    Column("series_id", ForeignKey("usage_series.id"), primary_key=True),
    Column("day", Integer, primary_key=True),
    Column("month", Integer, nullable=False),
    Column("quantity", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

usage_spans = Table(
    "usage_spans",
    metadata,
    Column("resource_id", String, primary_key=True),
    Column("account_id", String, nullable=False),
    Column("workspace", String, nullable=False),
    Column("name", String, nullable=False),
    Column("memory_mb", Integer, nullable=False),
    Column("opened_at", BigInteger, nullable=False),
    Column("metered_until", BigInteger, nullable=False),
    Column("closed_at", BigInteger),
)
Index("usage_spans_open", usage_spans.c.closed_at, usage_spans.c.account_id)
