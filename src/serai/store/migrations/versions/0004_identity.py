"""Invitations, service accounts, keys of both kinds; users belong to one account.

``users``, ``memberships`` and ``api_keys`` are made anew: SQLite cannot drop the constraint that
an address is unique in the whole installation, nor that every key has a user.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

REMADE = {
    "users": "id, account_id, email, account_admin, created_at",
    "memberships": "workspace, user_id, role",
    "api_keys": "id, user_id, name, digest, hint, created_at, expires_at, revoked_at",
}


def upgrade() -> None:
    """Create what is new, and move what is there."""
    op.add_column("workspaces", sa.Column("updated_by", sa.String))
    op.add_column("workspaces", sa.Column("region", sa.String))
    op.add_column("workspaces", sa.Column("settings", sa.Text, nullable=False, server_default="{}"))
    op.create_table(
        "workspace_names",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("account_id", sa.String, sa.ForeignKey("accounts.id"), nullable=False),
    )
    op.execute("INSERT INTO workspace_names SELECT name, account_id FROM workspaces")
    for table, columns in REMADE.items():
        op.execute(f"CREATE TABLE old_{table} AS SELECT {columns} FROM {table}")  # noqa: S608
    for table in reversed(REMADE):
        op.drop_table(table)
    _invitations()
    _service_accounts()
    _users()
    _memberships()
    _api_keys()
    for table, columns in REMADE.items():
        op.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM old_{table}")  # noqa: S608
        op.drop_table(f"old_{table}")


def _users() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column(
            "account_id", sa.String, sa.ForeignKey("accounts.id"), nullable=False, index=True
        ),
        sa.Column("email", sa.String, nullable=False),
        sa.Column("email_verified", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("given_name", sa.String),
        sa.Column("family_name", sa.String),
        sa.Column("account_admin", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.UniqueConstraint("account_id", "email", name="users_account_email"),
    )


def _memberships() -> None:
    op.create_table(
        "memberships",
        sa.Column("workspace", sa.String, sa.ForeignKey("workspaces.name"), primary_key=True),
        sa.Column("user_id", sa.String, sa.ForeignKey("users.id"), primary_key=True, index=True),
        sa.Column("role", sa.String, nullable=False),
        sa.Column("source", sa.String),
    )


def _invitations() -> None:
    op.create_table(
        "invitations",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("workspace", sa.String, sa.ForeignKey("workspaces.name"), nullable=False),
        sa.Column("email", sa.String, nullable=False, index=True),
        sa.Column("role", sa.String, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("invited_by", sa.String, nullable=False),
        sa.Column("inviter_email", sa.String, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("updated_at", sa.String, nullable=False),
        sa.Column("expires_at", sa.String, nullable=False),
        sa.UniqueConstraint("workspace", "email", name="invitations_workspace_email"),
    )


def _service_accounts() -> None:
    op.create_table(
        "service_accounts",
        sa.Column("client_id", sa.String, primary_key=True),
        sa.Column(
            "workspace", sa.String, sa.ForeignKey("workspaces.name"), nullable=False, index=True
        ),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("description", sa.String, nullable=False),
        sa.Column("role", sa.String, nullable=False),
        sa.Column("secret_digest", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("updated_at", sa.String, nullable=False),
        sa.Column("created_by", sa.String, nullable=False),
    )


def _api_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("user_id", sa.String, sa.ForeignKey("users.id"), index=True),
        sa.Column("client_id", sa.String, sa.ForeignKey("service_accounts.client_id"), index=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("hint", sa.String, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("created_by", sa.String),
        sa.Column("expires_in", sa.String),
        sa.Column("expires_at", sa.String),
        sa.Column("last_used_at", sa.String),
        sa.Column("revoked_at", sa.String),
    )
