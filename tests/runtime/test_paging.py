"""Memory of what sleeps goes to swap, where there is some, and comes back unharmed."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import msgspec
import pytest
from conftest import MakePlan
from sandbox_shell import output

from serai.runtime import paging
from serai.runtime.embedded import EmbeddedRuntime
from serai.runtime.messages import Trace
from serai.runtime.sleepers import Sleepers

pytestmark = pytest.mark.sandbox
HOLDER = (
    "import hashlib, os, time\\n"
    "held = os.urandom(48 << 20)\\n"
    "open('/tmp/before', 'w').write(hashlib.sha256(held).hexdigest())\\n"
    "while not os.path.exists('/tmp/go'): time.sleep(0.02)\\n"
    "open('/tmp/after', 'w').write(hashlib.sha256(held).hexdigest())\\n"
)


@pytest.fixture
def swap() -> Iterator[None]:
    """Some swap for this test, used before any other there is."""
    file = Path("/var/tmp") / f"serai-test-{os.urandom(4).hex()}.swap"
    try:
        file.touch(0o600)
        subprocess.run(["dd", "if=/dev/zero", f"of={file}", "bs=1M", "count=128"], check=True,
                       stderr=subprocess.DEVNULL)  # fmt: skip
        subprocess.run(["mkswap", str(file)], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["swapon", "-p", "32000", str(file)], check=True, stderr=subprocess.PIPE)
    except (OSError, subprocess.CalledProcessError) as problem:
        file.unlink(missing_ok=True)
        pytest.skip(f"no swap can be made here: {problem}")
    yield
    subprocess.run(["swapoff", str(file)], check=True)
    file.unlink()


async def test_memory_goes_out_and_comes_back(
    runtime: EmbeddedRuntime, plan: MakePlan, swap: None
) -> None:
    runtime.sleepers = Sleepers(runtime._turn, page_out_after=0)
    handle = await runtime.create(plan())
    await output(
        handle, f'printf "{HOLDER}" > /tmp/hold.py; python3 /tmp/hold.py >/dev/null 2>&1 &'
    )
    while len(await output(handle, "cat /tmp/before || true")) < 64:
        await asyncio.sleep(0.05)
    trace = msgspec.json.decode(handle.state, type=Trace)
    held = swapped(trace)
    await runtime.suspend(handle)
    for _ in range(600):
        if swapped(trace) > held + (40 << 10):
            break
        await asyncio.sleep(0.05)
    else:
        raise AssertionError(f"{swapped(trace)} kB are out")
    await runtime.resume(handle)
    assert await output(handle, "touch /tmp/go; echo here") == "here"
    while len(await output(handle, "cat /tmp/after || true")) < 64:
        await asyncio.sleep(0.05)
    assert await output(handle, "cmp /tmp/before /tmp/after && echo same") == "same"


async def test_what_is_awake_again_is_left_alone(
    runtime: EmbeddedRuntime, plan: MakePlan, swap: None
) -> None:
    handle = await runtime.create(plan())
    trace = msgspec.json.decode(handle.state, type=Trace)
    woken = Event()
    woken.set()
    held = swapped(trace)
    await asyncio.to_thread(paging.page_out, trace, woken)
    assert swapped(trace) == held


def swapped(trace: Trace) -> int:
    """What the processes of a sandbox have in swap, in kB."""
    total = 0
    for pid in paging.processes.family(trace.pid):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            total += int(line.split()[1]) if line.startswith("VmSwap:") else 0
    return total
