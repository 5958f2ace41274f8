"""Rows of preview tokens, as functions of a Connection."""

import hashlib
from datetime import datetime

import msgspec
from sqlalchemy import Connection, delete, insert, select

from serai.kernel.clock import parse_rfc3339
from serai.store.tables.previews import preview_tokens


class Place(msgspec.Struct, frozen=True):
    """The preview that something belongs to."""

    workspace: str
    sandbox: str
    preview: str


class TokenRow(msgspec.Struct, frozen=True, kw_only=True):
    """A token; ``sealed`` is its value encrypted for ``context``. Times are RFC 3339 text."""

    id: str
    workspace: str
    sandbox: str
    preview: str
    name: str
    digest: bytes
    sealed: bytes
    expires_at: str | None
    created_at: str
    created_by: str

    @property
    def context(self) -> str:
        """What the sealed value is bound to."""
        return token_context(self.id)

    @property
    def ends_at(self) -> datetime | None:
        """When it stops working."""
        return parse_rfc3339(self.expires_at) if self.expires_at else None


FIELDS = TokenRow.__struct_fields__
COLUMNS = [preview_tokens.c[name] for name in FIELDS]


def token_context(token_id: str) -> str:
    """The context of a token's sealed value."""
    return f"preview-token/{token_id}"


def digest_of(value: str) -> bytes:
    """What a token is recognised by; plain, as its value has 256 random bits."""
    return hashlib.sha256(value.encode()).digest()


def add(conn: Connection, row: TokenRow) -> None:
    """Insert a token; its name must be free within the preview."""
    conn.execute(insert(preview_tokens).values(msgspec.structs.asdict(row)))


def of_preview(conn: Connection, place: Place) -> list[TokenRow]:
    """All tokens of a preview, oldest first."""
    c = preview_tokens.c
    query = (
        select(*COLUMNS)
        .where(
            c.workspace == place.workspace,
            c.sandbox == place.sandbox,
            c.preview == place.preview,
        )
        .order_by(c.created_at, c.id)
    )
    return [TokenRow(**dict(zip(FIELDS, row, strict=True))) for row in conn.execute(query)]


def drop(conn: Connection, row: TokenRow) -> None:
    """Delete a token."""
    c = preview_tokens.c
    conn.execute(delete(preview_tokens).where(c.id == row.id, c.workspace == row.workspace))


def drop_all(conn: Connection, place: Place) -> None:
    """Delete the tokens of a preview."""
    for row in of_preview(conn, place):
        drop(conn, row)
