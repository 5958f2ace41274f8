"""Creates one sandbox, prints its handle, and waits to be killed."""

import asyncio
import sys
from pathlib import Path

import msgspec

from serai.runtime.embedded import EmbeddedRuntime
from serai.runtime.port import SandboxPlan


async def main(data_dir: Path) -> None:
    runtime = EmbeddedRuntime(data_dir, entry="command_server")
    await runtime.start()
    handle = await runtime.create(
        SandboxPlan(
            id="survivor0000", hostname="inn", image="base-image", memory_mb=256, environment={}
        )
    )
    facts = [msgspec.to_builtins(handle), runtime.launcher_pid, runtime.isolation]
    print(msgspec.json.encode(facts).decode(), flush=True)
    await asyncio.sleep(3600)


asyncio.run(main(Path(sys.argv[1])))
