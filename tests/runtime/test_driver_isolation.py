"""What separates a sandbox from its host and from its own API, with every driver under test."""

import stat
from pathlib import Path

import pytest
from conftest import MakePlan
from sandbox_shell import output, shell

from serai.runtime.port import LEVELS, Runtime
from serai.runtime.storage import run_directory

pytestmark = pytest.mark.sandbox

KEPT = "00000000a00405fb"
"""The capabilities of ``serai.runtime.privileges``, as /proc shows them."""


async def test_the_level_is_said_and_kept_in_the_handle(runtime: Runtime, plan: MakePlan) -> None:
    handle = await runtime.create(plan())
    assert (handle.driver, handle.level) == (runtime.name, runtime.level)
    assert runtime.level in LEVELS[1:]


async def test_nothing_inside_can_end_or_read_its_api(runtime: Runtime, plan: MakePlan) -> None:
    handle = await runtime.create(plan(environment={"KEEP": "secret"}))
    assert "secret" not in (await shell(handle, "cat /proc/1/environ 2>/dev/null; true"))[1]
    assert await output(handle, "cat /proc/1/mem 2>/dev/null | wc -c") == "0"
    if runtime.level == "gvisor":
        return  # its kernel lets root inside end process 1: the sandbox ends, and starts again
    for hidden in ("environ", "maps"):
        assert await output(handle, f"cat /proc/1/{hidden} 2>/dev/null | wc -c") == "0"
    await shell(handle, "kill -KILL 1; kill -STOP 1; kill -SEGV 1")
    assert await runtime.alive(handle)
    assert await output(handle, "echo still here") == "still here"


async def test_the_interpreter_cannot_be_changed(runtime: Runtime, plan: MakePlan) -> None:
    handle = await runtime.create(plan())
    if runtime.name == "embedded":
        assert (await shell(handle, "ls /.serai"))[0] != 0
        return
    for command in ("echo > /.serai/bin/ld.so", "rm -rf /.serai/lib", "mv /.serai /elsewhere"):
        assert (await shell(handle, command))[0] != 0
    assert await output(handle, "test -s /.serai/bin/ld.so && echo whole") == "whole"


async def test_sockets_that_a_sandbox_replaces_are_not_followed(
    runtime: Runtime, plan: MakePlan
) -> None:
    """Nobody on the host may be led to another socket by a link."""
    handle = await runtime.create(plan())
    run = run_directory(handle.api_socket)
    await shell(handle, "cd /.serai/run && rm -f api port && ln -s /run/docker.sock api")
    assert stat.S_ISSOCK(Path(handle.api_socket).lstat().st_mode)
    assert await output(handle, "echo still here") == "still here"
    await shell(handle, "cd /.serai/run && rm -f config.json && ln -s /etc/passwd config.json")
    before = Path("/etc/passwd").read_bytes()
    await runtime.stop(handle)
    again = await runtime.create(plan(id=handle.id))
    assert Path("/etc/passwd").read_bytes() == before
    assert await output(again, "echo here") == "here"
    assert not run.is_symlink()


async def test_links_in_place_of_its_directories_lead_nowhere(
    runtime: Runtime, plan: MakePlan, tmp_path: Path
) -> None:
    """Before the next start nothing of the host's is made, changed or given away through them."""
    outside = tmp_path / "outside"
    for name in ("user", "lib", "log", "lock", "hosts"):
        (outside / name).mkdir(parents=True)
    before = [(path, path.stat().st_uid, path.stat().st_mode) for path in outside.iterdir()]
    handle = await runtime.create(plan())
    for name in ("home", "var", "root", "srv", "run"):
        await shell(handle, f"mv /{name} /{name}.old; ln -s {outside} /{name}")
    assert await output(handle, "readlink /home") == str(outside)
    await runtime.stop(handle)
    again = await runtime.create(plan(id=handle.id))
    assert await output(again, "echo here") == "here"
    assert [(path, path.stat().st_uid, path.stat().st_mode) for path in outside.iterdir()] == before
    assert [path for each in outside.iterdir() for path in each.iterdir()] == []


async def test_privileges_are_few_and_stay_few(runtime: Runtime, plan: MakePlan) -> None:
    handle = await runtime.create(plan())
    status = await output(handle, "grep -E '^(Cap(Eff|Prm|Bnd|Inh)|NoNewPrivs)' /proc/self/status")
    shown = dict(line.split(":\t") for line in status.splitlines())
    assert shown.pop("CapInh") == "0" * 16
    assert shown.pop("NoNewPrivs", "1") == "1"  # gVisor does not show it
    assert set(shown.values()) == {KEPT}
    refused = ["mount -t tmpfs x /mnt", "mknod /n b 7 0"]
    if runtime.level != "gvisor":  # there they are namespaces of its own kernel
        refused += ["unshare -U true", "unshare -m true"]
    for command in refused:
        assert (await shell(handle, command))[0] != 0, command


async def test_the_network_is_loopback_alone(runtime: Runtime, plan: MakePlan) -> None:
    handle = await runtime.create(plan())
    devices = await output(handle, "sed -n 's/^ *\\([^ ]*\\):.*/\\1/p' /proc/net/dev")
    assert devices.split() == ["lo"]


async def test_memory_and_processes_are_limited(runtime: Runtime, plan: MakePlan) -> None:
    handle = await runtime.create(plan(memory_mb=256))
    if runtime.level == "gvisor":
        return  # its limits end the sandbox as a whole
    hog = "python3 -c \"x = bytearray(700 << 20); print('had it')\""
    code, seen = await shell(handle, hog)
    assert code != 0 or "had it" not in seen
    forks = (
        "import os, signal, time\n"
        "children = []\n"
        "try:\n"
        "    while len(children) < 200:\n"
        "        pid = os.fork()\n"
        "        if pid == 0: time.sleep(60)\n"
        "        children.append(pid)\n"
        "except OSError: pass\n"
        "print(len(children))\n"
        "for pid in children: os.kill(pid, signal.SIGKILL)\n"
    )
    assert 1 < int(await output(handle, f"python3 -c '{forks}'")) < 80
    assert await runtime.alive(handle)
