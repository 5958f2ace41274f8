"""Sandboxes outlive the launcher and the server; failures leave nothing."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from conftest import MakePlan, embedded
from creators import creator_of, facts_of, gone, rootless_sandbox
from sandbox_shell import output

from serai.runtime import linux, seccomp
from serai.runtime.embedded import EmbeddedRuntime
from serai.runtime.port import RuntimeProblem, SandboxHandle

pytestmark = pytest.mark.sandbox


async def test_a_killed_launcher_is_replaced(runtime: EmbeddedRuntime, plan: MakePlan) -> None:
    handle = await runtime.create(plan())
    first = runtime.launcher_pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    other = await runtime.create(plan())
    assert runtime.launcher_pid not in (None, first)
    assert await runtime.alive(handle)
    assert await output(handle, "echo one") == "one"
    assert await output(other, "echo two") == "two"
    await runtime.stop(handle)
    assert not await runtime.alive(handle)


async def test_a_launcher_killed_while_creating_loses_nothing(
    runtime: EmbeddedRuntime, plan: MakePlan
) -> None:
    creations = [asyncio.create_task(runtime.create(plan())) for _ in range(8)]
    for _ in range(3):
        await asyncio.sleep(0.02)
        if (pid := runtime.launcher_pid) is not None:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    results = await asyncio.gather(*creations, return_exceptions=True)
    handles = [each for each in results if isinstance(each, SandboxHandle)]
    assert all(isinstance(each, SandboxHandle | RuntimeProblem) for each in results)
    assert sorted(await runtime.leftovers()) == sorted(handle.id for handle in handles)
    for handle in handles:
        assert await output(handle, "echo here") == "here"


async def test_sandboxes_survive_a_killed_server(data_dir: Path) -> None:
    with creator_of([sys.executable], data_dir) as creator:
        handle, launcher, _ = facts_of(creator)
        os.killpg(creator.pid, signal.SIGKILL)
    await gone(launcher)
    runtime = embedded(data_dir)
    await runtime.start()
    try:
        assert await runtime.alive(handle)
        assert await output(handle, "echo still here") == "still here"
        assert await runtime.leftovers() == [handle.id]
        await runtime.destroy(handle.id, None)
        assert not await runtime.alive(handle)
        assert await runtime.leftovers() == []
    finally:
        await runtime.close()


async def test_without_root_it_works_and_says_what_is_weaker(corner: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    for name, mode in (("public", 0o644), ("ours", 0o600)):
        (corner / name).touch(mode)
        os.chown(corner / name, 65534, 65534)
    async with rootless_sandbox("embedded") as (handle, isolation):
        assert "DEGRADED" in isolation
        # Asked as root: the socket belongs to the other user.
        seen = await output(handle, "id -u; echo x > /usr/f; python3 -c 'print(1)'; pwd")
        assert seen == "0\n1\n/blaxel"
        assert await output(handle, f"ls {corner}") == "public"


def test_a_host_that_forbids_namespaces_is_explained(tmp_path: Path) -> None:
    """As in a container with a default seccomp profile: unshare and mount are refused."""

    def forbid() -> None:
        linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
        seccomp.install()

    with creator_of([sys.executable], tmp_path / "data", preexec_fn=forbid) as creator:
        _, complaint = creator.communicate()
    assert creator.returncode == 1
    last = complaint.decode().strip().splitlines()[-1]
    assert "sandboxes cannot be started on this host" in last
    assert "unshare" in last
    assert "--privileged" in last


async def test_a_broken_entry_is_named_at_start(data_dir: Path) -> None:
    runtime = EmbeddedRuntime(data_dir, entry="no_such_module")
    with pytest.raises(RuntimeProblem, match="no_such_module"):
        await runtime.start()
    assert runtime.launcher_pid is None


async def test_a_failed_create_says_why_and_leaves_nothing(
    runtime: EmbeddedRuntime, plan: MakePlan
) -> None:
    with pytest.raises(RuntimeProblem, match="null byte"):
        await runtime.create(plan(environment={"BAD": "a\0b"}))
    assert await runtime.leftovers() == []
    handle = await runtime.create(plan())
    assert await runtime.alive(handle)


async def test_plans_that_cannot_work_are_refused(runtime: EmbeddedRuntime, plan: MakePlan) -> None:
    with pytest.raises(RuntimeProblem, match="memory_mb is 8"):
        await runtime.create(plan(memory_mb=8))
    for hostname in ("", "x" * 64, "two words", "-a"):
        with pytest.raises(RuntimeProblem, match="hostname"):
            await runtime.create(plan(hostname=hostname))


async def test_a_long_data_directory_still_gets_sockets(tmp_path: Path, plan: MakePlan) -> None:
    runtime = embedded(tmp_path / "long:er,name" / ("x" * 90))
    await runtime.start()
    try:
        handle = await runtime.create(plan())
        assert await output(handle, "echo hi") == "hi"
        assert len(handle.api_socket) <= 107
        await runtime.destroy(handle.id, handle)
        assert await runtime.leftovers() == []
    finally:
        await runtime.close()
    assert not Path(handle.api_socket).parent.exists()
