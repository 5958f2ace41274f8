"""What is to be started again in an archived sandbox."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Add the column."""
    op.add_column("sandboxes", sa.Column("saved_processes", sa.LargeBinary))
