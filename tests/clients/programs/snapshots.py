"""Snapshots, restore, forks and archives, through the Python SDK; as much as its release knows."""

import asyncio
import uuid

from blaxel.core import SandboxInstance

MARK = uuid.uuid4().hex[:8]


async def main() -> None:
    sandbox = await SandboxInstance.create({"name": f"snap-{MARK}", "memory": 512})
    made = [sandbox.metadata.name]
    try:
        await sandbox.fs.write("/blaxel/state", "one")
        snapshot = await sandbox.snapshot("first")
        assert snapshot.status == "ready"
        assert [one.id for one in await sandbox.list_snapshots()] == [snapshot.id]
        await sandbox.fs.write("/blaxel/state", "two")
        for name, state, origin in (
            (f"live-{MARK}", "two", None),
            (f"then-{MARK}", "one", snapshot.id),
        ):
            forked = await sandbox.fork(name, snapshot_id=origin)
            made.append(name)
            assert forked.name == name
            assert await state_of(name) == state
        if hasattr(sandbox, "snapshots"):
            await newer(sandbox, made)
        else:
            await sandbox.delete_snapshot(snapshot.id)
        assert not await sandbox.list_snapshots()
    finally:
        for name in made:
            await SandboxInstance.delete(name)
    print("done")


async def state_of(name: str) -> str:
    fork = await SandboxInstance.get(name)
    told = await fork.process.exec({"command": "hostname", "wait_for_completion": True})
    assert told.stdout.strip() == name
    return await fork.fs.read("/blaxel/state")


async def newer(sandbox: SandboxInstance, made: list[str]) -> None:
    from blaxel.core.snapshot import Snapshot

    restored = await sandbox.snapshots.restore("first")
    assert restored.name == sandbox.metadata.name
    assert await sandbox.fs.read("/blaxel/state") == "one"
    source = {"source": {"name": sandbox.metadata.name}, "name": "second"}
    second = await Snapshot.create(source)
    assert (await Snapshot.get(second.id)).name == "second"
    page = await Snapshot.list(limit=1)
    assert page.has_more
    assert {one.name async for one in page.auto_paging_iter()} >= {"first", "second"}
    await second.fork(f"root-{MARK}", envs=[{"name": "ADDED", "value": "yes"}])
    made.append(f"root-{MARK}")
    assert await state_of(f"root-{MARK}") == "one"
    assert (await Snapshot.get(second.id)).source.deleted is False
    await second.delete()
    await sandbox.snapshots.delete("first")
    archived = await sandbox.archive(interval=100)
    assert archived.sandbox.status == "ARCHIVED"
    assert archived.sandbox.archive.size > 0
    back = await sandbox.unarchive(interval=100)
    assert back.sandbox.status == "DEPLOYED"
    assert await back.fs.read("/blaxel/state") == "one"


asyncio.run(main())
