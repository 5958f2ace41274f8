"""Custom domains shared between workspaces; images, their tags and shares; workspace secrets.

Times are RFC 3339 text in UTC; sizes are in bytes.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    text,
)

from serai.store.tables import metadata
from serai.store.tables.documents import documents

NAMES_POLICIES: Any = text("""documents.body LIKE '%"policies":["%'""")
NAMES_GATEWAY: Any = text("""documents.body LIKE '%"gateway":"%'""")
"""Documents that refer to policies, or to an egress gateway. These very conditions find the
indexes below; a bound parameter in their place would not."""

Index(
    "documents_policies",
    documents.c.workspace,
    documents.c.kind,
    sqlite_where=text("""body LIKE '%"policies":["%'"""),
)
Index(
    "documents_gateway",
    documents.c.workspace,
    documents.c.kind,
    sqlite_where=text("""body LIKE '%"gateway":"%'"""),
)

domain_shares = Table(
    "domain_shares",
    metadata,
    Column("document_id", String, primary_key=True),
    Column("target", String, primary_key=True),
    Column("account_id", String, nullable=False),
    Column("created_at", String, nullable=False),
    Column("created_by", String, nullable=False),
)
Index("domain_shares_target", domain_shares.c.account_id, domain_shares.c.target)

images = Table(
    "images",
    metadata,
    Column("id", String, primary_key=True),
    Column("workspace", String, nullable=False),
    Column("resource_type", String, nullable=False),
    Column("name", String, nullable=False),
    Column("status", String, nullable=False),
    Column("created_at", String, nullable=False),
    Column("updated_at", String, nullable=False),
    Column("deployed_at", String),
)
Index("images_name", images.c.workspace, images.c.resource_type, images.c.name, unique=True)
Index("images_created", images.c.workspace, images.c.created_at, images.c.id)

image_tags = Table(
    "image_tags",
    metadata,
    Column("image_id", ForeignKey("images.id", ondelete="CASCADE"), primary_key=True),
    Column("name", String, primary_key=True),
    Column("reference", String, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("created_at", String, nullable=False),
    Column("updated_at", String, nullable=False),
)

image_shares = Table(
    "image_shares",
    metadata,
    Column("id", String, primary_key=True),
    Column("image_id", ForeignKey("images.id", ondelete="CASCADE"), nullable=False),
    Column("target", String, nullable=False),
    Column("target_account_id", String, nullable=False),
    Column("status", String, nullable=False),
    Column("shared_by", String, nullable=False),
    Column("shared_by_email", String, nullable=False),
    Column("created_at", String, nullable=False),
    Column("expires_at", String),
)
Index("image_shares_image", image_shares.c.image_id, image_shares.c.target, unique=True)
Index("image_shares_target", image_shares.c.target, image_shares.c.status)

workspace_secrets = Table(
    "workspace_secrets",
    metadata,
    Column("workspace", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at", String, nullable=False),
    Column("created_by", String, nullable=False),
)
