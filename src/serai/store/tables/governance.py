"""Quotas, the audit log and remembered answers. Times are RFC 3339 text in UTC."""

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, String, Table, Text

from serai.store.tables import metadata

quotas = Table(
    "quotas",
    metadata,
    Column("account_id", String, primary_key=True),
    Column("workspace", String, primary_key=True),
    Column("resource", String, primary_key=True),
    Column("value", BigInteger, nullable=False),
)
"""``workspace`` is empty for a limit of the whole account."""

audit_entries = Table(
    "audit_entries",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("id", String, nullable=False, unique=True),
    Column("time", String, nullable=False),
    Column("account_id", String, nullable=False),
    Column("workspace", String, nullable=False),
    Column("actor", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("credential", String, nullable=False),
    Column("action", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("parent", String, nullable=False),
    Column("name", String, nullable=False),
    Column("resource_id", String, nullable=False),
    Column("client", String, nullable=False),
    Column("user_agent", String, nullable=False),
    Column("request_id", String, nullable=False),
    Column("claim", String),
    Column("changes", Text, nullable=False),
)
Index("audit_entries_workspace", audit_entries.c.workspace, audit_entries.c.number)
Index(
    "audit_entries_resource",
    audit_entries.c.workspace,
    audit_entries.c.kind,
    audit_entries.c.name,
    audit_entries.c.number,
)
Index("audit_entries_claim", audit_entries.c.claim)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("scope", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("claim", String, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("created_at", String, nullable=False),
    Column("answer", LargeBinary),
)
"""``answer`` is sealed, as it may hold a secret that is shown once; ``None`` until it is known."""

Index("idempotency_keys_created", idempotency_keys.c.created_at)
