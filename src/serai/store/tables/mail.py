"""Mail that is still to be handed over. Times are RFC 3339 text in UTC."""

from sqlalchemy import Column, Integer, LargeBinary, String, Table

from serai.store.tables import metadata

mails = Table(
    "mails",
    metadata,
    Column("id", String, primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at", String, nullable=False),
    Column("next_at", String, nullable=False, index=True),
    Column("attempts", Integer, nullable=False),
)
"""``sealed`` is the whole mail, which may hold a secret link. A row is deleted when the mail was
taken, or will never be; ``next_at`` is also until when one attempt has it for itself."""
