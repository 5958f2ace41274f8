"""The parts put together: what is read away from the event loop, and what ends with its owner."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, event
from sqlalchemy.engine import Engine

from serai.gateway.routes import RouteTable
from serai.kernel.clock import millis, now
from serai.kernel.settings import Settings
from serai.metering.store import UsageStore
from serai.observing import Observing
from serai.store.database import Database
from serai.store.secrets import Vault
from serai.telemetry import records
from serai.telemetry.logs import Kept
from serai.telemetry.records import first_number


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "serai.db")
    database.open()
    yield database
    database.close()


@pytest.fixture
def usage(tmp_path: Path) -> Iterator[UsageStore]:
    store = UsageStore(tmp_path, None)
    store.open()
    yield store
    store.close()


@pytest.fixture
def observing(tmp_path: Path, db: Database, usage: UsageStore) -> Observing:
    return Observing(Settings(data_dir=tmp_path), db, usage, Vault(b"k" * 32), RouteTable())


async def test_models_are_read_beside_the_event_loop(
    observing: Observing, usage: UsageStore
) -> None:
    number = first_number(millis(now()))
    observing.logs.add(
        Kept(workspace="w", resource_id="gone", number=number, request=b"{}", answer=b"{}",
             answer_length=2, streamed=False, content=True, days=1)
    )  # fmt: skip
    await observing.logs.save(usage)
    threads = []

    def note(conn: Connection, cursor: object, statement: str, *rest: object) -> None:
        if "FROM documents" in statement:
            threads.append(threading.get_ident())

    event.listen(Engine, "before_cursor_execute", note)
    try:
        await observing._keeper.tidy()
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert threads
    assert threading.get_ident() not in threads
    assert await usage.read(records.logged_models) == frozenset()
