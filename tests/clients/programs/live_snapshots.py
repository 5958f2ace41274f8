"""A snapshot of a running program: it goes on in a fork, and after a restore."""

import asyncio
import uuid

from blaxel.core import SandboxInstance

MARK = uuid.uuid4().hex[:8]
COUNT = "i=0; while :; do i=$((i+1)); echo $i > /tmp/n; sleep 0.02; done"


async def count(sandbox: SandboxInstance) -> int:
    """What it has counted, once it counts on."""
    first = int((await sandbox.fs.read("/tmp/n")) or 0)
    for _ in range(500):
        if int((await sandbox.fs.read("/tmp/n")) or 0) > first:
            return first
        await asyncio.sleep(0.05)
    raise AssertionError("it stands")


async def main() -> None:
    sandbox = await SandboxInstance.create({"name": f"run-{MARK}", "memory": 1024})
    made = [sandbox.metadata.name]
    try:
        await sandbox.fs.write("/tmp/n", "0")
        await sandbox.process.exec({"name": "counter", "command": COUNT})
        while await count(sandbox) < 20:
            pass
        snapshot = await sandbox.snapshots.create("counting")
        assert snapshot.snapshot.additional_properties["contents"] == "memory"
        await sandbox.fork(f"fork-{MARK}", snapshot_id=snapshot.id)
        made.append(f"fork-{MARK}")
        fork = await SandboxInstance.get(f"fork-{MARK}")
        assert await count(fork) >= 20
        assert (await fork.process.get("counter")).status == "running"
        told = await fork.process.exec({"command": "hostname", "wait_for_completion": True})
        assert told.stdout.strip() == f"fork-{MARK}"
        await sandbox.process.kill("counter")
        await sandbox.fs.write("/tmp/n", "0")
        await sandbox.snapshots.restore("counting")
        assert await count(sandbox) >= 20
        await sandbox.delete_snapshot(snapshot.id)
    finally:
        for name in made:
            await SandboxInstance.delete(name)
    print("done")


asyncio.run(main())
