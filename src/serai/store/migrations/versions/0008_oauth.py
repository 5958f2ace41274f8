"""OAuth 2.0, sign-in, and scopes of API keys."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Create the tables, and give API keys their scopes."""
    op.add_column("api_keys", sa.Column("scope", sa.Text))
    _clients()
    _grants()
    _codes()
    _people()
    _sign_ins()
    op.execute("INSERT INTO identity_changes (id, number) VALUES (1, 0)")


def _clients() -> None:
    op.create_table(
        "signing_keys",
        sa.Column("kid", sa.String, primary_key=True),
        sa.Column("algorithm", sa.String, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("public", sa.Text, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("active_from", sa.String, nullable=False),
    )
    op.create_table(
        "oauth_clients",
        sa.Column("client_id", sa.String, primary_key=True),
        sa.Column(
            "account_id", sa.String, sa.ForeignKey("accounts.id"), nullable=False, index=True
        ),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("secret_digest", sa.LargeBinary),
        sa.Column("redirect_uris", sa.Text, nullable=False),
        sa.Column("grant_types", sa.Text, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("updated_at", sa.String, nullable=False),
        sa.Column("created_by", sa.String, nullable=False),
    )


def _grants() -> None:
    op.create_table(
        "oauth_grants",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("client_id", sa.String, nullable=False),
        sa.Column("user_id", sa.String, index=True),
        sa.Column("service_client_id", sa.String, index=True),
        sa.Column("sign_in_id", sa.String, index=True),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("workspace", sa.String, nullable=False),
        sa.Column("bound", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("last_used_at", sa.String, nullable=False),
        sa.Column("expires_at", sa.String, nullable=False, index=True),
        sa.Column("revoked_at", sa.String),
        sa.Column("user_agent", sa.String, nullable=False, server_default=""),
        sa.Column("address", sa.String, nullable=False, server_default=""),
        sa.Column("device_digest", sa.LargeBinary),
    )
    op.create_table(
        "oauth_refresh_tokens",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column(
            "grant_id",
            sa.String,
            sa.ForeignKey("oauth_grants.id", ondelete="CASCADE"),
            nullable=False,
            index=True,
        ),
        sa.Column("parent", sa.LargeBinary),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("used_at", sa.String),
        sa.Column("superseded", sa.Boolean, nullable=False, server_default="0"),
    )


def _codes() -> None:
    op.create_table(
        "oauth_codes",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("client_id", sa.String, nullable=False),
        sa.Column("user_id", sa.String, nullable=False, index=True),
        sa.Column("sign_in_id", sa.String),
        sa.Column("redirect_uri", sa.Text, nullable=False),
        sa.Column("redirect_uri_sent", sa.Boolean, nullable=False, server_default=sa.true()),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("workspace", sa.String, nullable=False),
        sa.Column("bound", sa.Boolean, nullable=False),
        sa.Column("nonce", sa.Text),
        sa.Column("code_challenge", sa.String),
        sa.Column("code_challenge_method", sa.String),
        sa.Column("auth_time", sa.Integer, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("expires_at", sa.String, nullable=False, index=True),
        sa.Column("used_at", sa.String),
        sa.Column("grant_id", sa.String),
    )
    op.create_table(
        "device_codes",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("user_code", sa.String, nullable=False, unique=True),
        sa.Column("client_id", sa.String, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("user_id", sa.String, index=True),
        sa.Column("sign_in_id", sa.String),
        sa.Column("workspace", sa.String),
        sa.Column("bound", sa.Boolean, nullable=False, server_default="0"),
        sa.Column("user_agent", sa.String, nullable=False, server_default=""),
        sa.Column("address", sa.String, nullable=False, server_default=""),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("expires_at", sa.String, nullable=False, index=True),
        sa.Column("auth_time", sa.Integer),
        sa.Column("polled_at", sa.String),
    )


def _people() -> None:
    op.create_table(
        "passwords",
        sa.Column(
            "user_id", sa.String, sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("changed_at", sa.String, nullable=False),
    )
    op.create_table(
        "second_factors",
        sa.Column(
            "user_id", sa.String, sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("confirmed_at", sa.String),
        sa.Column("last_step", sa.Integer, nullable=False),
        sa.Column("recovery", sa.Text, nullable=False),
    )
    op.create_table(
        "upstream_identities",
        sa.Column("issuer", sa.String, primary_key=True),
        sa.Column("subject", sa.String, primary_key=True),
        sa.Column(
            "user_id", sa.String, sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("linked_at", sa.String, nullable=False),
    )


def _sign_ins() -> None:
    op.create_table(
        "sign_ins",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),
        sa.Column(
            "user_id",
            sa.String,
            sa.ForeignKey("users.id", ondelete="CASCADE"),
            nullable=False,
            index=True,
        ),
        sa.Column("method", sa.String, nullable=False),
        sa.Column("auth_time", sa.Integer, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("last_seen_at", sa.String, nullable=False),
        sa.Column("expires_at", sa.String, nullable=False),
        sa.Column("user_agent", sa.String, nullable=False),
        sa.Column("address", sa.String, nullable=False),
    )
    op.create_table(
        "one_time_links",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("purpose", sa.String, nullable=False),
        sa.Column(
            "user_id", sa.String, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("expires_at", sa.String, nullable=False),
        sa.UniqueConstraint("purpose", "user_id", name="one_time_links_purpose_user"),
    )
    op.create_table(
        "sign_in_failures",
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("first_at", sa.String, nullable=False),
        sa.Column("last_at", sa.String, nullable=False),
        sa.Column("locked", sa.Boolean, nullable=False, server_default="0"),
    )
    op.create_table(
        "identity_changes",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("number", sa.Integer, nullable=False),
    )
