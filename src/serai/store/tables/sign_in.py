"""How people prove who they are, and where they are signed in. Times are RFC 3339 text in UTC."""

from sqlalchemy import (
    Boolean,
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from serai.store.tables import metadata

passwords = Table(
    "passwords",
    metadata,
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("hash", Text, nullable=False),
    Column("changed_at", String, nullable=False),
)
"""``hash`` is argon2id in its standard text form."""

second_factors = Table(
    "second_factors",
    metadata,
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("confirmed_at", String),
    Column("last_step", Integer, nullable=False),
    Column("recovery", Text, nullable=False),
)
"""TOTP: the sealed secret, the last time step that was accepted (no code counts twice), and the
digests of the recovery codes that are left, as JSON."""

upstream_identities = Table(
    "upstream_identities",
    metadata,
    Column("issuer", String, primary_key=True),
    Column("subject", String, primary_key=True),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("linked_at", String, nullable=False),
)
"""Who somebody is at an upstream OpenID provider."""

sign_ins = Table(
    "sign_ins",
    metadata,
    Column("id", String, primary_key=True),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("method", String, nullable=False),
    Column("auth_time", Integer, nullable=False),
    Column("created_at", String, nullable=False),
    Column("last_seen_at", String, nullable=False),
    Column("expires_at", String, nullable=False),
    Column("user_agent", String, nullable=False),
    Column("address", String, nullable=False),
)
"""Browsers in which somebody is signed in; ``digest`` is of the cookie's secret. Ending one
deletes it, and revokes the grants that came from it."""

one_time_links = Table(
    "one_time_links",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("purpose", String, nullable=False),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", String, nullable=False),
    Column("expires_at", String, nullable=False),
    UniqueConstraint("purpose", "user_id", name="one_time_links_purpose_user"),
)
"""Links that let somebody set a password once: ``setup`` for the first admin, ``reset``."""

sign_in_failures = Table(
    "sign_in_failures",
    metadata,
    Column("key", String, primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("first_at", String, nullable=False),
    Column("last_at", String, nullable=False),
    Column("locked", Boolean, nullable=False, server_default="0"),
)
"""Wrong passwords and codes, counted per pair of account name and network address and per each of
the two, so that nobody can lock somebody else out."""

identity_changes = Table(
    "identity_changes",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("number", Integer, nullable=False),
)
"""One row, whose number grows with every change of who may do what: every process that remembers
verified credentials looks at it twice a second, and forgets them when it changed."""
