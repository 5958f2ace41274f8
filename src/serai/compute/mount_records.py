"""Drives that are mounted in sandboxes, as functions of a Connection."""

import msgspec
from sqlalchemy import Connection, and_, delete, insert, select

from serai.store.tables.mounts import drive_mounts as table


class DriveMount(msgspec.Struct, frozen=True, kw_only=True):
    """A drive in a sandbox, by the names that both have in their workspace."""

    workspace: str
    sandbox: str
    path: str
    drive: str
    drive_id: str
    folder: str
    read_only: bool


FIELDS = DriveMount.__struct_fields__
COLUMNS = [table.c[name] for name in FIELDS]


def of_sandbox(conn: Connection, workspace: str, sandbox: str) -> list[DriveMount]:
    """What is mounted in a sandbox, by path."""
    query = (
        select(*COLUMNS)
        .where(table.c.workspace == workspace, table.c.sandbox == sandbox)
        .order_by(table.c.path)
    )
    return [DriveMount(**dict(zip(FIELDS, row, strict=True))) for row in conn.execute(query)]


def add(conn: Connection, mount: DriveMount) -> None:
    """Insert a row."""
    conn.execute(insert(table).values(msgspec.structs.asdict(mount)))


def drop(conn: Connection, workspace: str, sandbox: str, path: str | None = None) -> None:
    """Delete the row of a path, or all of a sandbox."""
    ours = and_(table.c.workspace == workspace, table.c.sandbox == sandbox)
    conn.execute(delete(table).where(ours if path is None else and_(ours, table.c.path == path)))
