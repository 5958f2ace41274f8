"""Which revisions of functions speak MCP on standard input and output."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "hosted_bridges",
        sa.Column("document_id", sa.String, primary_key=True),
        sa.Column("revision", sa.String, primary_key=True),
        sa.Column("workspace", sa.String, nullable=False),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("hosted_bridges")
