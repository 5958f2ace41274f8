"""The parts put together: what is read away from the event loop, and what ends with its owner."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, event
from sqlalchemy.engine import Engine

from serai.compute.live import LiveSandbox, LiveTable
from serai.compute.ports import RunningSandbox
from serai.egress.setup import Report
from serai.gateway.routes import RouteTable
from serai.kernel.clock import millis, now
from serai.kernel.settings import Settings
from serai.metering.store import UsageStore
from serai.observing import EgressSums, Observing
from serai.resources.store import DocumentStore
from serai.runtime.port import SandboxHandle
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
    vault = Vault(b"k" * 32)
    store = DocumentStore(vault, "http://x")
    return Observing(Settings(data_dir=tmp_path), db, usage, vault, RouteTable(), store)


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


class Networks:
    """Says what each sandbox has sent."""

    def __init__(self) -> None:
        self.sent: dict[str, tuple[int, int]] = {}

    async def report(self, sandbox_id: str) -> Report:
        allowed, blocked = self.sent[sandbox_id]
        return Report(allowed=allowed, blocked=blocked)


def running(sandbox_id: str, workspace: str) -> LiveSandbox:
    sandbox = RunningSandbox(
        id=sandbox_id,
        account_id="acc",
        workspace=workspace,
        name=sandbox_id,
        memory_mb=512,
        handle=SandboxHandle(id=sandbox_id, api_socket="", port_socket="", state=""),
    )
    return LiveSandbox(
        sandbox=sandbox, used_at=now(), active_at=now(), busy_at=now(), expires_at=None, idle=None
    )


async def test_sums_of_egress_end_with_their_workspace() -> None:
    sums, live, networks = EgressSums(), LiveTable(), Networks()

    async def read(**owners: str) -> dict[str, tuple[int, int]]:
        return dict(await sums.read(live, networks, owners))

    def run(sandbox_id: str, workspace: str, *sent: int) -> None:
        live.put(running(sandbox_id, workspace))
        networks.sent[sandbox_id] = sent

    run("s1", "w", 5, 1)
    run("s2", "v", 3, 0)
    assert await read(w="1", v="2") == {"w": (5, 1), "v": (3, 0)}
    live.by_id.clear()
    assert await read(w="1", v="2") == {"w": (5, 1), "v": (3, 0)}, "sandboxes come and go"
    assert await read(w="1") == {"w": (5, 1)}
    assert await read(w="other") == {}, "the name is another workspace's by now"
    run("s3", "w", 2, 2)
    assert await read(w="other") == {"w": (2, 2)}
