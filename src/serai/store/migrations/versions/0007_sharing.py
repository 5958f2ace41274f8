"""Shares of custom domains, images with tags and shares, and workspace secrets."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Create the tables."""
    _references()
    _domains()
    _images()
    _image_shares()
    op.create_table(
        "workspace_secrets",
        sa.Column("workspace", sa.String, primary_key=True),
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("created_by", sa.String, nullable=False),
    )


def _references() -> None:
    for name in ("policies", "gateway"):
        bracket = "[" if name == "policies" else ""
        mark = sa.text(f"""body LIKE '%"{name}":{bracket}"%'""")
        columns = ["workspace", "kind"]
        op.create_index(
            f"documents_{name}", "documents", columns, sqlite_where=mark, postgresql_where=mark
        )


def _domains() -> None:
    op.create_table(
        "domain_shares",
        sa.Column("document_id", sa.String, primary_key=True),
        sa.Column("target", sa.String, primary_key=True),
        sa.Column("account_id", sa.String, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("created_by", sa.String, nullable=False),
    )
    op.create_index("domain_shares_target", "domain_shares", ["account_id", "target"])


def _images() -> None:
    op.create_table(
        "images",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("workspace", sa.String, nullable=False),
        sa.Column("resource_type", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("updated_at", sa.String, nullable=False),
        sa.Column("deployed_at", sa.String),
    )
    op.create_index("images_name", "images", ["workspace", "resource_type", "name"], unique=True)
    op.create_index("images_created", "images", ["workspace", "created_at", "id"])
    op.create_table(
        "image_tags",
        sa.Column(
            "image_id", sa.String, sa.ForeignKey("images.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("reference", sa.String, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("updated_at", sa.String, nullable=False),
    )


def _image_shares() -> None:
    op.create_table(
        "image_shares",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column(
            "image_id", sa.String, sa.ForeignKey("images.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("target", sa.String, nullable=False),
        sa.Column("target_account_id", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("shared_by", sa.String, nullable=False),
        sa.Column("shared_by_email", sa.String, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("expires_at", sa.String),
    )
    op.create_index("image_shares_image", "image_shares", ["image_id", "target"], unique=True)
    op.create_index("image_shares_target", "image_shares", ["target", "status"])
