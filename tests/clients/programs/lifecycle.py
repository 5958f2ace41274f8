"""The life of a sandbox through the Python SDK: standby, and everything that ends it.

The server suspends after less than a second without use.
"""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta

from blaxel.core import SandboxInstance
from blaxel.core.client.models import SandboxLifecycle
from blaxel.core.sandbox.types import SandboxUpdateMetadata, SandboxUpdateNetwork

MARK = uuid.uuid4().hex[:8]


async def main() -> None:
    sandbox = await SandboxInstance.create({"name": f"life-{MARK}", "memory": 512})
    name = sandbox.metadata.name
    try:
        await sandbox.process.exec({"command": "sleep 1000", "name": "long"})
        await sandbox.fs.write("/tmp/note", "kept")
        await asleep(name)
        assert await sandbox.fs.read("/tmp/note") == "kept"
        awake = await SandboxInstance.get(name)
        assert text(awake.sandbox.state) == "RUNNING"
        assert awake.sandbox.last_used_at > awake.metadata.created_at
        await updates(name)
        await keep_alive(sandbox)
        await schedules(sandbox)
        assert (await sandbox.process.get("long")).status == "running"
    finally:
        await sandbox.delete()
    gone = await SandboxInstance.get(name)
    assert text(gone.status) == "TERMINATED"
    await ends()
    print("done")


def text(value: object) -> str:
    return str(getattr(value, "value", value))


async def asleep(name: str) -> None:
    async with asyncio.timeout(60):
        while text((await SandboxInstance.get(name)).sandbox.state) != "STANDBY":
            await asyncio.sleep(0.1)


async def updates(name: str) -> None:
    """Nothing here restarts it, or even wakes it."""
    await asleep(name)
    named = await SandboxInstance.update_metadata(name, SandboxUpdateMetadata(labels={"a": "b"}))
    assert text(named.sandbox.state) == "STANDBY"
    aged = await SandboxInstance.update_ttl(name, "45m")
    assert 2400 < aged.sandbox.expires_in <= 2700, aged.sandbox.expires_in
    idle = {"expirationPolicies": [{"type": "ttl-idle", "value": "30m", "action": "delete"}]}
    lazy = await SandboxInstance.update_lifecycle(name, SandboxLifecycle.from_dict(idle))
    assert 1700 < lazy.sandbox.expires_in <= 1800, lazy.sandbox.expires_in
    network = SandboxUpdateNetwork(network={"allowedDomains": ["example.com"]})
    reaching = await SandboxInstance.update_network(name, network)
    assert reaching.spec.network.allowed_domains == ["example.com"]
    await SandboxInstance.update_lifecycle(name, None)
    free = await SandboxInstance.update_ttl(name, None)
    assert not isinstance(free.sandbox.expires_in, int)
    assert text(free.sandbox.state) == "STANDBY"


async def keep_alive(sandbox: SandboxInstance) -> None:
    command = {"command": "sleep 1000", "name": "kept", "keep_alive": True, "timeout": 2}
    begin = asyncio.get_running_loop().time()
    await sandbox.process.exec(command)
    await asleep(sandbox.metadata.name)
    assert asyncio.get_running_loop().time() - begin > 1.9
    assert (await sandbox.process.get("kept")).status == "killed"


async def schedules(sandbox: SandboxInstance) -> None:
    await asleep(sandbox.metadata.name)
    moment = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    for kind, value in (("sleep", "1s"), ("at", moment)):
        await sandbox.schedules.create(
            {"type": kind, "value": value, "input": {"command": f"echo {kind} >> /tmp/ran"}}
        )
    async with asyncio.timeout(60):
        while len(runs := list(await sandbox.schedules.executions())) < 2:
            await asyncio.sleep(0.1)
    assert [run.status_code for run in runs] == [200, 200], runs
    assert not list(await sandbox.schedules.list())
    assert sorted((await sandbox.fs.read("/tmp/ran")).split()) == ["at", "sleep"]


async def ends() -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()

    def policy(kind: str, value: str) -> dict[str, object]:
        return {"expirationPolicies": [{"type": kind, "value": value, "action": "delete"}]}

    wanted: dict[str, dict[str, object]] = {
        "ttl": {"ttl": "1s"},
        "expires": {"expires": datetime.now(UTC) + timedelta(seconds=1)},
        "age": {"lifecycle": SandboxLifecycle.from_dict(policy("ttl-max-age", "1s"))},
        "idle": {"lifecycle": SandboxLifecycle.from_dict(policy("ttl-idle", "1s"))},
        "date": {"lifecycle": SandboxLifecycle.from_dict(policy("date", soon))},
    }
    made = [
        await SandboxInstance.create({"name": f"{key}-{MARK}", "memory": 512, **fields})
        for key, fields in wanted.items()
    ]
    await asyncio.sleep(1.2)
    for sandbox in made:
        name = sandbox.metadata.name
        async with asyncio.timeout(30):
            while text((await SandboxInstance.get(name)).status) != "TERMINATED":
                await asyncio.sleep(0.1)
        again = await SandboxInstance.create({"name": name, "memory": 512})
        assert text(again.status) == "DEPLOYED"
        await again.delete()


asyncio.run(main())
