"""A client that does not wait: nothing may be left of its sandbox."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from serai.compute.controller import SandboxController
from serai.compute.deadline import CreationDeadline, CreationTimeout
from serai.compute.disks import SandboxDisks
from serai.compute.kind import SANDBOXES
from serai.compute.operations import _within
from serai.resources import documents
from serai.resources.store import Actor, DocumentStore
from serai.runtime.port import SandboxHandle, SandboxPlan
from serai.store.database import Database
from serai.store.secrets import Vault
from serai.wire.common import Metadata
from serai.wire.sandboxes import Sandbox, SandboxSpec

ACTOR = Actor("main", "a@b.c")


class SlowRuntime:
    """A runtime whose sandboxes start when they may; remembers what it was told."""

    def __init__(self) -> None:
        self.may_start = asyncio.Event()
        self.told: list[str] = []

    def images(self) -> list[str]:
        return []

    @property
    def library(self) -> "SlowRuntime":
        return self

    async def ready(self, image: str, seconds: float) -> None:
        return

    async def create(self, plan: SandboxPlan) -> SandboxHandle:
        await self.may_start.wait()
        self.told.append("create")
        return SandboxHandle(id=plan.id, api_socket="/a", port_socket="/p", state="")

    async def stop(self, handle: SandboxHandle) -> None:
        self.told.append("stop")

    async def destroy(self, sandbox_id: str, handle: SandboxHandle | None) -> None:
        self.told.append("destroy")


class Nothing:
    """Routes and spans that nobody looks at."""

    def __getattr__(self, name: str) -> Any:
        return lambda *given, **named: None


@pytest.fixture
def controller(tmp_path: Path) -> Any:
    db = Database(tmp_path / "db")
    db.open()
    store = DocumentStore(Vault.open(tmp_path / "key"), "http://x")
    runtime: Any = SlowRuntime()
    yield SandboxController(db, store, runtime, Nothing(), Nothing(), Nothing(), SandboxDisks())
    db.close()


async def create(controller: SandboxController, deadline: CreationDeadline | None) -> Any:
    shape = Sandbox(metadata=Metadata(name="box"), spec=SandboxSpec())
    body = controller.store.wanted(SANDBOXES, shape)
    return await controller.create(ACTOR, "acc", body, if_not_exist=True, deadline=deadline)


async def test_nothing_is_left_and_the_name_is_free(controller: SandboxController) -> None:
    runtime: Any = controller.runtime
    deadline = CreationDeadline(1)
    slow = asyncio.create_task(create(controller, deadline))
    await asyncio.sleep(0.05)
    deadline.passed = True
    waiting = asyncio.create_task(create(controller, CreationDeadline(1)))
    late = CreationDeadline(1)
    late.passed = True
    in_line = asyncio.create_task(create(controller, late))
    await asyncio.sleep(0.05)
    runtime.may_start.set()
    with pytest.raises(CreationTimeout):
        await slow
    made = await waiting
    assert made.status == "DEPLOYED"
    with pytest.raises(CreationTimeout):
        await in_line
    await controller.drain()
    assert runtime.told.count("create") == 2
    assert runtime.told.count("destroy") == 1
    found = controller.db.read_now(lambda conn: documents.every(conn, SANDBOXES.name))
    assert [document.id for document in found] == [made.id]


async def test_the_client_is_told_in_time(controller: SandboxController) -> None:
    runtime: Any = controller.runtime
    deadline = CreationDeadline(0)
    with pytest.raises(CreationTimeout, match="within 0 s"):
        await _within(deadline, create(controller, deadline))
    runtime.may_start.set()
    async with controller.live.lock("main", "box"):
        await controller.drain()
    assert controller.db.read_now(lambda conn: documents.every(conn, SANDBOXES.name)) == []
