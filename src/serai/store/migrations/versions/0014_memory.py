"""With whose processes a sandbox begins."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Add the column."""
    op.add_column("sandboxes", sa.Column("memory_from", sa.String))
