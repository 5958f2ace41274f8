"""OAuth 2.0: what tokens are signed with, who asks for them, and what was granted.

Secrets (client secrets, codes, refresh tokens) are stored as keyed digests; private signing keys
are sealed. Times are RFC 3339 text in UTC. Lists of words (``scope``, ``redirect_uris``,
``grant_types``) are text, separated by one space, as OAuth writes them.
"""

from sqlalchemy import Boolean, Column, ForeignKey, Integer, LargeBinary, String, Table, Text, true

from serai.store.tables import metadata

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("kid", String, primary_key=True),
    Column("algorithm", String, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("public", Text, nullable=False),
    Column("created_at", String, nullable=False),
    Column("active_from", String, nullable=False),
)
"""A key signs from ``active_from`` until the next one is active; it is deleted when the last token
that it signed has expired. ``public`` is its JWK."""

oauth_clients = Table(
    "oauth_clients",
    metadata,
    Column("client_id", String, primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False, index=True),
    Column("name", String, nullable=False),
    Column("secret_digest", LargeBinary),
    Column("redirect_uris", Text, nullable=False),
    Column("grant_types", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("created_at", String, nullable=False),
    Column("updated_at", String, nullable=False),
    Column("created_by", String, nullable=False),
)
"""Applications that sign people in or act for them. Without a secret a client is public. Service
accounts are clients too, with a table of their own."""

oauth_grants = Table(
    "oauth_grants",
    metadata,
    Column("id", String, primary_key=True),
    Column("client_id", String, nullable=False),
    Column("user_id", String, index=True),
    Column("service_client_id", String, index=True),
    Column("sign_in_id", String, index=True),
    Column("scope", Text, nullable=False),
    Column("workspace", String, nullable=False),
    Column("bound", Boolean, nullable=False),
    Column("created_at", String, nullable=False),
    Column("last_used_at", String, nullable=False),
    Column("expires_at", String, nullable=False, index=True),
    Column("revoked_at", String),
    Column("user_agent", String, nullable=False, server_default=""),
    Column("address", String, nullable=False, server_default=""),
    Column("device_digest", LargeBinary),
)
"""One consent: the family of all access and refresh tokens that come from it. It is a user's or a
service account's. ``workspace`` is the one that requests are about unless they say otherwise; when
``bound`` they cannot. A revoked or expired grant ends all its tokens."""

oauth_refresh_tokens = Table(
    "oauth_refresh_tokens",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("grant_id", ForeignKey("oauth_grants.id", ondelete="CASCADE"), nullable=False,
           index=True),
    Column("parent", LargeBinary),
    Column("created_at", String, nullable=False),
    Column("used_at", String),
    Column("superseded", Boolean, nullable=False, server_default="0"),
)  # fmt: skip
"""Every refresh token of a family, used ones too: a second use of one is how theft shows."""

oauth_codes = Table(
    "oauth_codes",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("client_id", String, nullable=False),
    Column("user_id", String, nullable=False, index=True),
    Column("sign_in_id", String),
    Column("redirect_uri", Text, nullable=False),
    Column("redirect_uri_sent", Boolean, nullable=False, server_default=true()),
    Column("scope", Text, nullable=False),
    Column("workspace", String, nullable=False),
    Column("bound", Boolean, nullable=False),
    Column("nonce", Text),
    Column("code_challenge", String),
    Column("code_challenge_method", String),
    Column("auth_time", Integer, nullable=False),
    Column("created_at", String, nullable=False),
    Column("expires_at", String, nullable=False, index=True),
    Column("used_at", String),
    Column("grant_id", String),
)
"""Authorization codes, kept for a while after use: a replay revokes ``grant_id``."""

device_codes = Table(
    "device_codes",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("user_code", String, nullable=False, unique=True),
    Column("client_id", String, nullable=False),
    Column("scope", Text, nullable=False),
    Column("status", String, nullable=False),
    Column("user_id", String, index=True),
    Column("sign_in_id", String),
    Column("workspace", String),
    Column("bound", Boolean, nullable=False, server_default="0"),
    Column("user_agent", String, nullable=False, server_default=""),
    Column("address", String, nullable=False, server_default=""),
    Column("created_at", String, nullable=False),
    Column("expires_at", String, nullable=False, index=True),
    Column("auth_time", Integer),
    Column("polled_at", String),
)
"""Sign-ins of devices without a browser; ``status`` is pending, approved, denied or used."""
