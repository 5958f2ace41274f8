"""Stopping sandboxes by signals where no control group can be written, and what it costs."""

import asyncio
import os
from pathlib import Path

import msgspec
import pytest
from conftest import MakePlan
from sandbox_shell import output, shell

from serai.runtime import cgroups, freezer, host
from serai.runtime.embedded import EmbeddedRuntime
from serai.runtime.messages import Hierarchy, Trace
from serai.runtime.port import SandboxHandle

pytestmark = pytest.mark.sandbox

RESTLESS = "setsid sh -c 'while :; do sleep 0 & sleep 0; done' >/dev/null 2>&1 &"
WATCHFUL = (
    "import os, subprocess, time\n"
    "child = subprocess.Popen(['sleep', '4323'])\n"
    "seen = []\n"
    "print('ready', flush=True)\n"
    "while not os.path.exists('/tmp/enough'):\n"
    "    pid, status = os.waitpid(child.pid, os.WNOHANG | os.WUNTRACED)\n"
    "    seen += [status] if pid else []\n"
    "    time.sleep(0.001)\n"
    "child.kill()\n"
    "open('/tmp/seen', 'w').write(repr(seen))\n"
)


def without_groups(handle: SandboxHandle) -> SandboxHandle:
    """The same sandbox, as a host without control groups would know it."""
    trace = msgspec.json.decode(handle.state, type=Trace)
    bare = msgspec.structs.replace(trace, cgroups=())
    return msgspec.structs.replace(handle, state=msgspec.json.encode(bare).decode())


async def test_by_signals_everything_stands_however_much_it_forks(
    runtime: EmbeddedRuntime, plan: MakePlan
) -> None:
    handle = without_groups(await runtime.create(plan()))
    for _ in range(3):
        await output(handle, RESTLESS)
    trace = msgspec.json.decode(handle.state, type=Trace)
    for _ in range(5):
        await runtime.suspend(handle)
        assert await runtime.suspended(handle)
        first = ticks(trace.pid)
        await asyncio.sleep(0.05)
        assert ticks(trace.pid) == first
        await runtime.resume(handle)
        assert not await runtime.suspended(handle)
        assert await output(handle, "echo here") == "here"
    await runtime.suspend(handle)
    await runtime.stop(handle)
    assert not await runtime.alive(handle)


async def test_by_signals_a_parent_does_not_see_its_child_stand(
    runtime: EmbeddedRuntime, plan: MakePlan
) -> None:
    handle = without_groups(await runtime.create(plan()))
    await output(handle, f'python3 -c "{WATCHFUL}" >/tmp/ready 2>&1 & echo started')
    while await output(handle, "cat /tmp/ready") != "ready":
        await asyncio.sleep(0.02)
    for _ in range(10):
        await runtime.suspend(handle)
        await asyncio.sleep(0.01)
        await runtime.resume(handle)
        await asyncio.sleep(0.01)
    await output(handle, "touch /tmp/enough")
    while (await shell(handle, "cat /tmp/seen"))[0] != 0:
        await asyncio.sleep(0.02)
    assert await output(handle, "cat /tmp/seen") == "[]"


async def test_what_cannot_stop_in_time_goes_on(
    runtime: EmbeddedRuntime, plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = await runtime.create(plan())
    monkeypatch.setattr(freezer, "_freeze_group", lambda _: False)
    monkeypatch.setattr(freezer, "FREEZE_SECONDS", 0.05)
    with pytest.raises(Exception, match="stays awake: its processes did not stop"):
        await runtime.suspend(handle)
    assert not await runtime.suspended(handle)
    assert await output(handle, "echo here") == "here"


def test_a_host_without_a_freezer_says_so() -> None:
    limits = Hierarchy(parent="/x", controllers=("cpu", "memory", "pids"), unified=False)
    assert "DEGRADED: standby by stop signals" in host.describe(1, (), (limits,))
    frozen = Hierarchy(parent="/y", controllers=(cgroups.FREEZER,), unified=False)
    described = host.describe(1, (), (limits, frozen))
    assert "DEGRADED: standby" not in described
    assert "limits: cpu, memory, pids" in described


def test_only_one_hierarchy_is_used_for_freezing() -> None:
    if not host.is_host_root():
        pytest.skip("needs the host's root, to make control groups")
    name = f"serai-test-{os.urandom(4).hex()}"
    chosen = cgroups.discover(name)
    try:
        freezing = [each for each in chosen if cgroups.FREEZER in each.controllers]
        assert len(freezing) <= 1
        made = {str(path) for path in Path("/sys/fs/cgroup").glob(f"**/{name}")}
        assert made == {each.parent for each in chosen}
    finally:
        cgroups.forget(chosen)


def ticks(pid: int) -> int:
    """Processor time of a process in clock ticks."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])
