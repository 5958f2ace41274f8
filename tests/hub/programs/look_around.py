"""Creates a sandbox of an image and runs commands in it: IMAGE COMMAND…; prints what they print."""

import asyncio
import sys
import uuid

from blaxel.core import SandboxInstance


async def main(image: str, commands: list[str]) -> None:
    wanted = {"name": f"look-{uuid.uuid4().hex[:8]}", "image": image, "memory": 2048}
    sandbox = await SandboxInstance.create(wanted)
    try:
        for command in commands:
            done = await sandbox.process.exec({"command": command, "wait_for_completion": True})
            print(done.logs.strip())
            assert done.exit_code == 0, f"{command}: {done.exit_code}"
    finally:
        await sandbox.delete()


asyncio.run(main(sys.argv[1], sys.argv[2:]))
