"""Two halves of a program around a restart of the server: `write NAME`, then `read NAME`."""

import asyncio
import sys

from blaxel.core import SandboxInstance


async def write(name: str) -> None:
    sandbox = await SandboxInstance.create({"name": name, "memory": 256, "labels": {"a": "b"}})
    await sandbox.fs.write("/tmp/kept.txt", "kept")
    await sandbox.process.exec({"command": "sleep 600", "name": "still-here"})


async def read(name: str) -> None:
    sandbox = await SandboxInstance.get(name)
    assert sandbox.metadata.labels["a"] == "b"
    assert await sandbox.fs.read("/tmp/kept.txt") == "kept"
    assert str((await sandbox.process.get("still-here")).status).endswith("running")
    await sandbox.delete()


if __name__ == "__main__":
    step = {"write": write, "read": read}[sys.argv[1]]
    asyncio.run(step(sys.argv[2]))
    print("done")
