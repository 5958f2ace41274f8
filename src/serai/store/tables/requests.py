"""Calls of models, one row each, and what is kept of their content; in the usage database.

``number`` orders the calls of a workspace by when they came in: microseconds since 1970 UTC times
1024, and a counter that keeps two of the same microsecond apart. ``first_byte`` and ``duration``
are microseconds. ``ends_at`` is milliseconds since 1970.
"""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, String, Table, Text

from serai.store.tables.usage import usage_metadata

model_requests = Table(
    "model_requests",
    usage_metadata,
    Column("workspace", String, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("account_id", String, nullable=False),
    Column("request_id", String, nullable=False),
    Column("model", String, nullable=False),
    Column("resource_id", String, nullable=False),
    Column("stand_in", String, nullable=False),
    Column("provider", String, nullable=False),
    Column("provider_model", String, nullable=False),
    Column("answered_by", String, nullable=False),
    Column("operation", String, nullable=False),
    Column("status", Integer, nullable=False),
    Column("error", String, nullable=False),
    Column("origin", String, nullable=False),
    Column("first_byte", BigInteger, nullable=False),
    Column("duration", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    Column("counted", Boolean, nullable=False),
    Column("estimated", Boolean, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("cache", String, nullable=False),
    Column("streamed", Boolean, nullable=False),
    Column("credential", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("labels", Text, nullable=False),
    sqlite_with_rowid=False,
)
Index("model_requests_id", model_requests.c.workspace, model_requests.c.request_id)

model_request_logs = Table(
    "model_request_logs",
    usage_metadata,
    Column("workspace", String, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("resource_id", String, nullable=False),
    Column("ends_at", BigInteger, nullable=False),
    Column("shape", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=True),
    sqlite_with_rowid=False,
)
"""``shape`` is JSON without any content; ``sealed`` the content, encrypted."""
Index("model_request_logs_model", model_request_logs.c.resource_id)
Index("model_request_logs_end", model_request_logs.c.ends_at)
