"""Rows of template versions and of what volumes start with, as functions of a Connection."""

from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, delete, func, insert, select, union, update

from serai.store.reach import unbounded
from serai.store.tables.storage import template_versions, volume_contents


class VersionRow(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a template; ``number`` counts them. Times are RFC 3339, sizes bytes."""

    id: str
    workspace: str
    template: str
    name: str
    number: int
    status: Literal["CREATED", "READY", "FAILED"]
    digest: str | None
    content_size: int | None
    unpacked_size: int | None
    created_at: str
    uploaded_at: str | None


FIELDS = VersionRow.__struct_fields__
COLUMNS = [template_versions.c[name] for name in FIELDS]


def _parse(row: Any) -> VersionRow:
    return VersionRow(**dict(zip(FIELDS, row, strict=True)))


def add(conn: Connection, row: VersionRow) -> None:
    """Insert a row; its name must be free."""
    conn.execute(insert(template_versions).values({f: getattr(row, f) for f in FIELDS}))


def save(conn: Connection, row: VersionRow) -> None:
    """Overwrite a row by its id."""
    values = {f: getattr(row, f) for f in FIELDS}
    c = template_versions.c
    conn.execute(update(template_versions).where(c.id == row.id).values(values))


def get(conn: Connection, version_id: str) -> VersionRow | None:
    """The version of that id."""
    query = select(*COLUMNS).where(template_versions.c.id == version_id)
    row = conn.execute(query).first()
    return _parse(row) if row is not None else None


def of_template(conn: Connection, workspace: str, template: str) -> list[VersionRow]:
    """The versions of a template, oldest first."""
    c = template_versions.c
    query = select(*COLUMNS).where(c.workspace == workspace, c.template == template)
    return [_parse(row) for row in conn.execute(query.order_by(c.number))]


def of_workspace(conn: Connection, workspace: str) -> dict[str, list[VersionRow]]:
    """The versions of every template of a workspace, oldest first."""
    c = template_versions.c
    found: dict[str, list[VersionRow]] = {}
    query = select(*COLUMNS).where(c.workspace == workspace).order_by(c.number)
    for row in map(_parse, conn.execute(query)):
        found.setdefault(row.template, []).append(row)
    return found


def drop(conn: Connection, version: VersionRow) -> None:
    """Delete a version."""
    c = template_versions.c
    itself = (c.id == version.id, c.workspace == version.workspace)
    conn.execute(delete(template_versions).where(*itself))


def fill_volume(conn: Connection, volume_id: str, digest: str) -> None:
    """Write down what a volume starts with."""
    conn.execute(insert(volume_contents).values(volume_id=volume_id, digest=digest))


def content_of(conn: Connection, volume_id: str) -> str | None:
    """The archive that a volume starts with."""
    c = volume_contents.c
    digest: str | None = conn.execute(select(c.digest).where(c.volume_id == volume_id)).scalar()
    return digest


def forget_volume(conn: Connection, volume_id: str) -> str | None:
    """A volume is gone; returns the archive it would have started with."""
    c = volume_contents.c
    digest = content_of(conn, volume_id)
    conn.execute(delete(volume_contents).where(c.volume_id == volume_id))
    return digest


def digests(conn: Connection) -> set[str]:
    """Every archive that a version or a volume needs."""
    versions, contents = template_versions.c.digest, volume_contents.c.digest
    query = union(select(versions).where(versions.is_not(None)), select(contents))
    return {digest for (digest,) in conn.execute(query)}


@unbounded("equal archives are stored once for all tenants; nobody is told of it")
def is_needed(conn: Connection, digest: str) -> bool:
    """Whether a version or a volume needs an archive."""
    for column in (template_versions.c.digest, volume_contents.c.digest):
        if conn.execute(select(func.count()).where(column == digest)).scalar_one():
            return True
    return False
