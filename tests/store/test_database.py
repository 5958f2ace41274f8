"""Transactions: durable, separate from each other, and safe from any thread."""

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, select, text
from sqlalchemy.exc import IntegrityError, OperationalError

from serai.store.database import Database
from serai.store.migrations import SchemaTooNew, revisions
from serai.store.secrets import Undecryptable, Vault
from serai.store.tables import documents, governance, identity, sandboxes
from serai.store.tables.identity import accounts

ROW = {"name": "a", "currency": "usd", "created_at": "x"}


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """A fresh database."""
    database = Database(tmp_path / "serai.db")
    database.open()
    yield database
    database.close()


def insert(conn: Connection, account: str) -> str:
    """Add an account."""
    conn.execute(accounts.insert().values(id=account, **ROW))
    return account


def ids(conn: Connection) -> set[str]:
    """Every account."""
    return set(conn.execute(select(accounts.c.id)).scalars())


async def test_a_failing_write_leaves_the_others_of_its_batch_alone(db: Database) -> None:
    writes = [db.write(lambda conn, n=n: insert(conn, str(n % 50))) for n in range(100)]
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert sum(isinstance(result, IntegrityError) for result in results) == 50
    assert await db.read(ids) == {str(n) for n in range(50)}


async def test_a_write_that_fails_half_way_changes_nothing(db: Database) -> None:
    def half(conn: Connection) -> None:
        insert(conn, "half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await db.write(half)
    assert await db.read(ids) == set()


async def test_an_answered_write_is_seen_by_every_reader(db: Database) -> None:
    await db.write(lambda conn: insert(conn, "a"))
    assert await db.read(ids) == {"a"}
    assert await db.read_in_thread(ids) == {"a"}
    seen: list[set[str]] = []
    reader = threading.Thread(target=lambda: seen.append(db.read_now(ids)))
    reader.start()
    reader.join()
    assert seen == [{"a"}]


def test_writes_from_threads_are_durable_when_their_future_is_done(db: Database) -> None:
    assert [db.submit(lambda conn, n=n: insert(conn, str(n))).result() for n in range(20)]
    other = sqlite3.connect(db.path)
    assert other.execute("SELECT count(*) FROM accounts").fetchone() == (20,)
    assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        database = Database(tmp_path / "serai.db")
        database.open()
        database.close()
    assert (tmp_path / "serai.db").stat().st_mode & 0o777 == 0o600


def test_migrations_make_exactly_the_declared_tables(db: Database) -> None:
    assert documents.metadata is identity.metadata is sandboxes.metadata
    assert documents.metadata is governance.metadata
    for table in documents.metadata.tables.values():
        columns = pragma(db, f"PRAGMA table_info({table.name})")
        assert columns == set(table.columns.keys()), table.name
        indexes = pragma(db, f"PRAGMA index_list({table.name})")
        assert {str(index.name) for index in table.indexes if index.name} <= indexes


def pragma(db: Database, statement: str) -> set[str]:
    """The names that a pragma lists."""
    return {row[1] for row in db.read_now(lambda conn: conn.execute(text(statement)).all())}


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    database = Database(tmp_path / "serai.db")
    database.open()
    database.close()
    raw = sqlite3.connect(tmp_path / "serai.db")
    raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.commit()
    with pytest.raises(SchemaTooNew, match="9999"):
        Database(tmp_path / "serai.db").open()


async def test_a_wrong_statement_is_not_taken_for_a_full_disk(db: Database) -> None:
    with pytest.raises(OperationalError, match="no such table"):
        await db.write(lambda conn: conn.execute(text("SELECT 1 FROM nowhere")))


def test_revisions_are_one_line() -> None:
    assert revisions() == [f"{number:04}" for number in range(1, len(revisions()) + 1)]


def test_secrets_open_only_with_their_key_and_context(tmp_path: Path) -> None:
    vault = Vault.open(tmp_path / "master.key")
    sealed = vault.seal(b"secret", "document/1")
    assert b"secret" not in sealed
    assert Vault.open(tmp_path / "master.key").unseal(sealed, "document/1") == b"secret"
    with pytest.raises(Undecryptable):
        vault.unseal(sealed, "document/2")
    with pytest.raises(Undecryptable):
        Vault.open(tmp_path / "other.key").unseal(sealed, "document/1")
    with pytest.raises(Undecryptable):
        vault.unseal(sealed[:-1], "document/1")
    (tmp_path / "short.key").write_bytes(b"short")
    with pytest.raises(Undecryptable, match="32-byte"):
        Vault.open(tmp_path / "short.key")
