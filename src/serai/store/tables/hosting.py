"""What runs of deployments: which revisions serve, their instances, and asynchronous calls.

Times are RFC 3339 text in UTC. ``handle`` is JSON of a ``SandboxHandle``.
"""

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, String, Table, Text

from serai.store.tables import metadata

hosted_deployments = Table(
    "hosted_deployments",
    metadata,
    Column("document_id", String, primary_key=True),
    Column("workspace", String, nullable=False),
    Column("serving", String, nullable=False),
    Column("canary", String, nullable=False),
)
"""The revisions that requests reach; empty for none. What is wanted stands in the document."""

hosted_instances = Table(
    "hosted_instances",
    metadata,
    Column("id", String, primary_key=True),
    Column("workspace", String, nullable=False),
    Column("account_id", String, nullable=False),
    Column("document_id", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("name", String, nullable=False),
    Column("revision", String, nullable=False),
    Column("phase", String, nullable=False),
    Column("port", Integer, nullable=False),
    Column("memory_mb", Integer, nullable=False),
    Column("handle", Text),
    Column("started_at", String, nullable=False),
    Column("lines", BigInteger, nullable=False),
)
Index("hosted_instances_document", hosted_instances.c.document_id)

hosted_bridges = Table(
    "hosted_bridges",
    metadata,
    Column("document_id", String, primary_key=True),
    Column("revision", String, primary_key=True),
    Column("workspace", String, nullable=False),
)
"""Revisions that speak MCP on standard input and output; their instances have port 0."""

hosted_calls = Table(
    "hosted_calls",
    metadata,
    Column("id", String, primary_key=True),
    Column("workspace", String, nullable=False),
    Column("document_id", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("name", String, nullable=False),
    Column("trigger", String, nullable=False),
    Column("state", String, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("run_at", String, nullable=False),
    Column("created_at", String, nullable=False),
    Column("request", LargeBinary, nullable=False),
    Column("callback", LargeBinary),
    Column("status_code", Integer),
    Column("outcome", Text, nullable=False),
)
"""``request`` and ``callback`` are sealed: what callers send, and where results go, is theirs."""

Index("hosted_calls_due", hosted_calls.c.state, hosted_calls.c.run_at)
Index("hosted_calls_document", hosted_calls.c.document_id)

hosted_schedules = Table(
    "hosted_schedules",
    metadata,
    Column("document_id", String, primary_key=True),
    Column("trigger", String, primary_key=True),
    Column("workspace", String, nullable=False),
    Column("schedule", String, nullable=False),
    Column("next_at", String, nullable=False),
)
"""When cron triggers of deployments are due next."""
