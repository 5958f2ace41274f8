"""Creates one sandbox, prints its handle, and waits to be killed."""

import asyncio
import sys
from pathlib import Path

import msgspec

from serai.runtime.bubblewrap.runtime import BubblewrapRuntime
from serai.runtime.embedded import EmbeddedRuntime
from serai.runtime.oci.runtime import OciRuntime
from serai.runtime.port import SandboxPlan


def _runtime(driver: str, data_dir: Path) -> EmbeddedRuntime:
    if driver == "embedded":
        return EmbeddedRuntime(data_dir, entry="command_server")
    if driver == "bwrap":
        return BubblewrapRuntime(data_dir, entry="command_server")
    return OciRuntime(driver, data_dir, entry="command_server")


async def main(data_dir: Path, driver: str = "embedded") -> None:
    runtime = _runtime(driver, data_dir)
    await runtime.start()
    handle = await runtime.create(
        SandboxPlan(
            id="survivor0000", hostname="inn", image="base-image", memory_mb=256, environment={}
        )
    )
    facts = [msgspec.to_builtins(handle), runtime.launcher_pid, runtime.isolation]
    print(msgspec.json.encode(facts).decode(), flush=True)
    await asyncio.sleep(3600)


asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:]))
