"""Accounts, workspaces, people, machines and keys. Times are RFC 3339 text in UTC.

A user belongs to one account: the same address in two accounts is two users, so that nobody who
vouches for an address in one account reaches anything of the other.
"""

from sqlalchemy import (
    Boolean,
    Column,
    ForeignKey,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

from serai.store.tables import metadata

accounts = Table(
    "accounts",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("currency", String, nullable=False),
    Column("created_at", String, nullable=False),
)

workspaces = Table(
    "workspaces",
    metadata,
    Column("name", String, primary_key=True),
    Column("id", String, nullable=False, unique=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False, index=True),
    Column("display_name", String, nullable=False),
    Column("created_at", String, nullable=False),
    Column("updated_at", String, nullable=False),
    Column("created_by", String, nullable=False),
    Column("updated_by", String),
    Column("region", String),
    Column("labels", Text, nullable=False),
    Column("settings", Text, nullable=False, server_default="{}"),
)
"""``labels`` and ``settings`` (``groupMappings`` and ``runtime``) are JSON as clients see it."""

workspace_names = Table(
    "workspace_names",
    metadata,
    Column("name", String, primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False),
)
"""Every name that a workspace ever had, and whose it was: what is left of a deleted workspace
(usage, logs, links) must not turn up in another account's."""

users = Table(
    "users",
    metadata,
    Column("id", String, primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False, index=True),
    Column("email", String, nullable=False),
    Column("email_verified", Boolean, nullable=False, server_default=false()),
    Column("given_name", String),
    Column("family_name", String),
    Column("account_admin", Boolean, nullable=False),
    Column("created_at", String, nullable=False),
    UniqueConstraint("account_id", "email", name="users_account_email"),
)

memberships = Table(
    "memberships",
    metadata,
    Column("workspace", ForeignKey("workspaces.name"), primary_key=True),
    Column("user_id", ForeignKey("users.id"), primary_key=True, index=True),
    Column("role", String, nullable=False),
    Column("source", String),
)

invitations = Table(
    "invitations",
    metadata,
    Column("id", String, primary_key=True),
    Column("workspace", ForeignKey("workspaces.name"), nullable=False),
    Column("email", String, nullable=False, index=True),
    Column("role", String, nullable=False),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("invited_by", String, nullable=False),
    Column("inviter_email", String, nullable=False),
    Column("created_at", String, nullable=False),
    Column("updated_at", String, nullable=False),
    Column("expires_at", String, nullable=False),
    UniqueConstraint("workspace", "email", name="invitations_workspace_email"),
)

service_accounts = Table(
    "service_accounts",
    metadata,
    Column("client_id", String, primary_key=True),
    Column("workspace", ForeignKey("workspaces.name"), nullable=False, index=True),
    Column("name", String, nullable=False),
    Column("description", String, nullable=False),
    Column("role", String, nullable=False),
    Column("secret_digest", LargeBinary, nullable=False, unique=True),
    Column("created_at", String, nullable=False),
    Column("updated_at", String, nullable=False),
    Column("created_by", String, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String, primary_key=True),
    Column("user_id", ForeignKey("users.id"), index=True),
    Column("client_id", ForeignKey("service_accounts.client_id"), index=True),
    Column("name", String, nullable=False),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("hint", String, nullable=False),
    Column("created_at", String, nullable=False),
    Column("created_by", String),
    Column("expires_in", String),
    Column("expires_at", String),
    Column("last_used_at", String),
    Column("revoked_at", String),
    Column("scope", Text),
)
"""A key is of a user (``user_id``) or of a service account (``client_id``). ``scope`` is what it
may be used for, words separated by a space; NULL is everything its holder's role allows."""
