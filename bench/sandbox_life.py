"""Run by the SDK's own Python: what a user of sandboxes waits for, in seconds, as JSON."""

import asyncio
import json
import sys
import time

from blaxel.core import SandboxInstance

ONE_BY_ONE = 30
WARM_UP = 3
AT_A_TIME = 20


async def main(many: int) -> None:
    times: dict[str, list[float]] = {"create": [], "first_output": [], "at_once": []}
    for number in range(WARM_UP + ONE_BY_ONE):
        await one(f"one-{number}", times if number >= WARM_UP else None)
        await SandboxInstance.delete(f"one-{number}")
    begin = time.perf_counter()
    boxes = list(await asyncio.gather(*(used(f"many-{number}") for number in range(many))))
    times["at_once"].append(time.perf_counter() - begin)
    for first in range(0, many, AT_A_TIME):
        names = [f"more-{number}" for number in range(first, min(many, first + AT_A_TIME))]
        boxes += await asyncio.gather(*map(used, names))
    await asleep()
    print("asleep", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    times["resumed"] = [await first_byte(box) for box in boxes]
    times["awake"] = [await first_byte(box) for box in boxes]
    times["delete"] = [await deleted(box) for box in boxes]
    print(json.dumps(times), flush=True)


async def one(name: str, times: dict[str, list[float]] | None) -> None:
    begin = time.perf_counter()
    sandbox = await SandboxInstance.create({"name": name})
    created = time.perf_counter()
    await hello(sandbox)
    if times is not None:
        times["create"].append(created - begin)
        times["first_output"].append(time.perf_counter() - begin)


async def used(name: str) -> SandboxInstance:
    sandbox = await SandboxInstance.create({"name": name})
    await hello(sandbox)
    await first_byte(sandbox)
    return sandbox


async def hello(sandbox: SandboxInstance) -> None:
    done = await sandbox.process.exec({"command": "echo hello", "wait_for_completion": True})
    assert done.logs.strip() == "hello", done


async def asleep() -> None:
    """Wait until all sleep."""
    while True:
        states = [sandbox.sandbox.state for sandbox in await SandboxInstance.list()]
        if not any(getattr(state, "value", state) == "RUNNING" for state in states):
            return
        await asyncio.sleep(0.5)


async def first_byte(sandbox: SandboxInstance) -> float:
    begin = time.perf_counter()
    await sandbox.fs.read("/etc/hostname")
    return time.perf_counter() - begin


async def deleted(sandbox: SandboxInstance) -> float:
    begin = time.perf_counter()
    await SandboxInstance.delete(sandbox.metadata.name)
    return time.perf_counter() - begin


asyncio.run(main(int(sys.argv[1])))
