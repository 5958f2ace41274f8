"""Lines of logs; in a database of their own.

A stream is one resource of a workspace. Its lines lie beside each other in the order of ``number``:
nanoseconds since 1970 UTC, moved by a few where two lines of a stream would have the same. What
lines of one process have in common is their ``origin``, which is told anew each ``day``, so that it
grows old with them. ``hour`` and ``day`` are whole ones since 1970; ``size`` is what the lines of a
stream in an hour take: the characters of their texts and attributes, and 64 for each line.

Ids are never used again: lines whose stream is gone are deleted later, and must not come back as
those of another one.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

line_metadata = MetaData()

log_streams = Table(
    "log_streams",
    line_metadata,
    Column("id", Integer, primary_key=True),
    Column("workspace", String, nullable=False),
    Column("resource_type", String, nullable=False),
    Column("resource", String, nullable=False),
    UniqueConstraint("workspace", "resource_type", "resource"),
    sqlite_autoincrement=True,
)

log_origins = Table(
    "log_origins",
    line_metadata,
    Column("id", Integer, primary_key=True),
    Column("stream_id", Integer, nullable=False),
    Column("day", Integer, nullable=False),
    Column("source", String, nullable=False),
    Column("output", String, nullable=False),
    Column("revision", String, nullable=False),
    Column("instance", String, nullable=False),
    Column("execution", String, nullable=False),
    Column("task", String, nullable=False),
    Column("build", String, nullable=False),
    UniqueConstraint(
        "stream_id", "day", "source", "output", "revision", "instance", "execution", "task", "build"
    ),
    sqlite_autoincrement=True,
)

log_lines = Table(
    "log_lines",
    line_metadata,
    Column("stream_id", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("origin_id", Integer, nullable=False),
    Column("severity", SmallInteger, nullable=False),
    Column("trace_id", String, nullable=False),
    Column("text", Text, nullable=False),
    Column("attributes", Text, nullable=False),
    sqlite_with_rowid=False,
)
"""``severity`` is a number as in ``LogRecord``; ``attributes`` is JSON or empty."""

_HAS_TRACE = text("trace_id <> ''")
Index(
    "log_lines_trace",
    log_lines.c.trace_id,
    sqlite_where=_HAS_TRACE,  # and on PostgreSQL, as the migration says: its dialect is not for all
)

log_hours = Table(
    "log_hours",
    line_metadata,
    Column("stream_id", Integer, primary_key=True, autoincrement=False),
    Column("hour", Integer, primary_key=True, autoincrement=False),
    Column("size", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
