"""Numbered documents, counts, search, events, revisions, quotas, audit and remembered answers."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

KEPT = (
    "id, workspace, kind, parent, name, external_id, status, generation, created_at, updated_at, "
    "search, body, secrets"
)


def upgrade() -> None:
    """Rebuild the documents table, then add the tables around it."""
    _documents()
    _counts()
    _search()
    _events()
    _revisions()
    _quotas()
    _audit()
    _idempotency()


def _documents() -> None:
    for index in ("name", "created", "external", "kind"):
        op.drop_index(f"documents_{index}", "documents")
    op.rename_table("documents", "documents_0001")
    op.create_table(
        "documents",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("id", sa.String, nullable=False, unique=True),
        sa.Column("workspace", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("parent", sa.String, nullable=False, server_default=""),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("external_id", sa.String),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("updated_at", sa.String, nullable=False),
        sa.Column("search", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("secrets", sa.LargeBinary),
    )
    op.execute(f"INSERT INTO documents ({KEPT}) SELECT {KEPT} FROM documents_0001")  # noqa: S608
    op.drop_table("documents_0001")
    within = ["workspace", "kind", "parent"]
    op.create_index("documents_name", "documents", [*within, "name"], unique=True)
    op.create_index("documents_by_time", "documents", [*within, "status", "created_at", "id"])
    op.create_index("documents_by_name", "documents", [*within, "status", "name", "id"])
    op.create_index("documents_external", "documents", ["workspace", "kind", "external_id"])
    op.create_index("documents_kind", "documents", ["kind", "status"])


def _counts() -> None:
    op.create_table(
        "document_counts",
        sa.Column("workspace", sa.String, primary_key=True),
        sa.Column("kind", sa.String, primary_key=True),
        sa.Column("parent", sa.String, primary_key=True),
        sa.Column("status", sa.String, primary_key=True),
        sa.Column("count", sa.Integer, nullable=False),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO document_counts SELECT workspace, kind, parent, status, count(*) "
        "FROM documents GROUP BY workspace, kind, parent, status"
    )
    more = (
        "INSERT INTO document_counts VALUES (new.workspace, new.kind, new.parent, new.status, 1) "
        "ON CONFLICT DO UPDATE SET count = count + 1"
    )
    less = (
        "UPDATE document_counts SET count = count - 1 WHERE workspace = old.workspace "
        "AND kind = old.kind AND parent = old.parent AND status = old.status"
    )
    for statement in (
        f"CREATE TRIGGER documents_count_add AFTER INSERT ON documents BEGIN {more}; END",
        f"CREATE TRIGGER documents_count_drop AFTER DELETE ON documents BEGIN {less}; END",
        "CREATE TRIGGER documents_count_change AFTER UPDATE ON documents WHEN "
        "(old.workspace, old.kind, old.parent, old.status) IS NOT "
        f"(new.workspace, new.kind, new.parent, new.status) BEGIN {less}; {more}; END",
    ):
        op.execute(statement)


def _search() -> None:
    into = "INSERT INTO documents_search"
    add = f"{into} (rowid, search) VALUES (new.number, new.search)"
    drop = f"{into} (documents_search, rowid, search) VALUES ('delete', old.number, old.search)"
    for statement in (
        "CREATE VIRTUAL TABLE documents_search USING fts5(search, content='documents', "
        "content_rowid='number', tokenize='trigram', detail='full')",
        "INSERT INTO documents_search (rowid, search) SELECT number, search FROM documents",
        f"CREATE TRIGGER documents_search_add AFTER INSERT ON documents BEGIN {add}; END",
        f"CREATE TRIGGER documents_search_drop AFTER DELETE ON documents BEGIN {drop}; END",
        "CREATE TRIGGER documents_search_change AFTER UPDATE OF search ON documents "
        f"WHEN old.search IS NOT new.search BEGIN {drop}; {add}; END",
    ):
        op.execute(statement)


def _events() -> None:
    op.create_table(
        "document_events",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column(
            "document_id",
            sa.String,
            sa.ForeignKey("documents.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("time", sa.String, nullable=False),
        sa.Column("type", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("message", sa.String, nullable=False),
        sa.Column("revision", sa.String, nullable=False),
        sa.Column("canary_revision", sa.String, nullable=False),
    )
    op.create_index("document_events_document", "document_events", ["document_id", "number"])


def _revisions() -> None:
    op.create_table(
        "document_revisions",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column(
            "document_id",
            sa.String,
            sa.ForeignKey("documents.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("created_by", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("active_since", sa.String, nullable=False),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("secrets", sa.LargeBinary),
    )
    op.create_index(
        "document_revisions_document", "document_revisions", ["document_id", "id"], unique=True
    )


def _quotas() -> None:
    op.create_table(
        "quotas",
        sa.Column("account_id", sa.String, primary_key=True),
        sa.Column("workspace", sa.String, primary_key=True),
        sa.Column("resource", sa.String, primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )


def _audit() -> None:
    texts = (
        "time account_id workspace actor subject credential action kind parent name resource_id "
        "client user_agent request_id"
    )
    op.create_table(
        "audit_entries",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("id", sa.String, nullable=False, unique=True),
        *(sa.Column(name, sa.String, nullable=False) for name in texts.split()),
        sa.Column("claim", sa.String),
        sa.Column("changes", sa.Text, nullable=False),
    )
    op.create_index("audit_entries_workspace", "audit_entries", ["workspace", "number"])
    op.create_index(
        "audit_entries_resource", "audit_entries", ["workspace", "kind", "name", "number"]
    )
    op.create_index("audit_entries_claim", "audit_entries", ["claim"])
    op.execute(
        "CREATE TRIGGER audit_entries_count AFTER INSERT ON audit_entries BEGIN "
        "INSERT INTO document_counts VALUES (new.workspace, 'audit_entry', '', '', 1) "
        "ON CONFLICT DO UPDATE SET count = count + 1; END"
    )


def _idempotency() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("scope", sa.String, primary_key=True),
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("claim", sa.String, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("answer", sa.LargeBinary),
    )
    op.create_index("idempotency_keys_created", "idempotency_keys", ["created_at"])
