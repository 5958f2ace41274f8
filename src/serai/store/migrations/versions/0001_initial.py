"""Accounts, workspaces, users, keys, documents and running sandboxes."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the first tables."""
    _identity()
    _documents()
    op.create_table(
        "sandboxes",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("workspace", sa.String, nullable=False),
        sa.Column("account_id", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("memory_mb", sa.Integer, nullable=False),
        sa.Column("phase", sa.String, nullable=False),
        sa.Column("handle", sa.Text),
        sa.Column("expires_at", sa.String),
        sa.Column("last_active_at", sa.String, nullable=False),
    )


def _identity() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("currency", sa.String, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
    )
    op.create_table(
        "workspaces",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("id", sa.String, nullable=False, unique=True),
        sa.Column(
            "account_id", sa.String, sa.ForeignKey("accounts.id"), nullable=False, index=True
        ),
        sa.Column("display_name", sa.String, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("updated_at", sa.String, nullable=False),
        sa.Column("created_by", sa.String, nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column(
            "account_id", sa.String, sa.ForeignKey("accounts.id"), nullable=False, index=True
        ),
        sa.Column("email", sa.String, nullable=False, unique=True),
        sa.Column("account_admin", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
    )
    op.create_table(
        "memberships",
        sa.Column("workspace", sa.String, sa.ForeignKey("workspaces.name"), primary_key=True),
        sa.Column("user_id", sa.String, sa.ForeignKey("users.id"), primary_key=True, index=True),
        sa.Column("role", sa.String, nullable=False),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("user_id", sa.String, sa.ForeignKey("users.id"), nullable=False, index=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("hint", sa.String, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("expires_at", sa.String),
        sa.Column("revoked_at", sa.String),
    )


def _documents() -> None:
    op.create_table(
        "documents",
        sa.Column("id", sa.String, primary_key=True),
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
    op.create_index(
        "documents_name", "documents", ["workspace", "kind", "parent", "name"], unique=True
    )
    op.create_index(
        "documents_created", "documents", ["workspace", "kind", "parent", "created_at", "id"]
    )
    op.create_index("documents_external", "documents", ["workspace", "kind", "external_id"])
    op.create_index("documents_kind", "documents", ["kind", "status"])
