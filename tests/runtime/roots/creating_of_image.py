"""Imports the layout below a directory and looks around in a sandbox of it, as whoever we are."""

import asyncio
import sys
from pathlib import Path

import aiohttp

from serai.runtime.embedded import EmbeddedRuntime
from serai.runtime.port import SandboxPlan


async def main(home: Path) -> None:
    runtime = EmbeddedRuntime(home / "data")
    await runtime.start()
    images = runtime.library.images
    assert images is not None
    await images.maker.take_in(home / "layout", "tests/ours:1", "", lambda text: None)
    plan = SandboxPlan(
        id="ours", hostname="inn", image="tests/ours:1", memory_mb=256, environment={}
    )
    handle = await runtime.create(plan)
    try:
        connector = aiohttp.UnixConnector(path=handle.api_socket)
        async with aiohttp.ClientSession(connector=connector) as session:
            for words in ("id -u", "ls /", "stat -c '%u %a' /secret", "ls /srv"):
                body = {"command": f"/busybox {words}", "waitForCompletion": True}
                async with session.post("http://sandbox/process", json=body) as answer:
                    output = (await answer.json())["stdout"].strip()
                wanted = [each for each in output.split("\n") if each in ("busybox", "old")]
                print(wanted[0] if words.startswith("ls /") and wanted else output)
    finally:
        await runtime.destroy("ours", handle)
        await runtime.close()


asyncio.run(main(Path(sys.argv[1])))
