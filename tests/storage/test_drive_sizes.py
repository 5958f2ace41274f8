"""What drives hold is told whenever it has changed."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Connection, insert, select

from serai.resources import documents
from serai.resources.documents import Document
from serai.resources.spans import SpanChange
from serai.storage.drive_files import DriveFiles
from serai.storage.drive_sizes import DriveSizes
from serai.store.database import Database
from serai.store.tables.identity import accounts, workspaces
from serai.store.tables.outbox import outbox

MEGABYTE = 1024 * 1024


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """A database with a drive in it."""
    database = Database(tmp_path / "serai.db")
    database.open()
    database.submit(fill).result()
    yield database
    database.close()


def fill(conn: Connection) -> None:
    """An account, a workspace and a drive."""
    stamp = "2026-01-01T00:00:00.000Z"
    account = {"id": "acc", "name": "a", "currency": "USD", "created_at": stamp}
    conn.execute(insert(accounts).values(account))
    known = {"name": "main", "account_id": "acc", "created_at": stamp}
    filled = {
        column.name: known.get(column.name, "{}" if column.name == "settings" else "x")
        for column in workspaces.columns
    }
    conn.execute(insert(workspaces).values(filled))
    drive = Document(
        id="d1",
        workspace="main",
        kind="drive",
        parent="",
        name="data",
        external_id=None,
        status="DEPLOYED",
        generation=1,
        created_at=stamp,
        updated_at=stamp,
        search="",
        body='{"metadata": {"name": "data"}, "spec": {}}',
        secrets=None,
    )
    documents.add(conn, drive)


def told(conn: Connection) -> list[int]:
    """The rates told so far."""
    bodies = conn.execute(select(outbox.c.body).order_by(outbox.c.number)).scalars()
    return [msgspec.json.decode(body, type=SpanChange).rate for body in bodies]


async def test_a_drive_is_told_by_whole_megabytes_when_it_changes(
    db: Database, tmp_path: Path
) -> None:
    files = DriveFiles(tmp_path / "drives")
    files.prepare({"d1"})
    sizes = DriveSizes(db, files)
    await sizes.measure()
    folder = files.path("d1") / "deep" / "er"
    folder.mkdir(parents=True)
    (folder / "file").write_bytes(b"x" * (2 * MEGABYTE + 1))
    (folder / "elsewhere").symlink_to("/")
    for _ in range(2):
        await sizes.measure()
    (folder / "file").unlink()
    await sizes.measure()
    assert await db.read(told) == [0, 3, 0]
