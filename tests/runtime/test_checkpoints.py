"""Whether and when processes can be kept, and what guards against going on with the wrong ones."""

import contextlib
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
from conftest import DRIVERS, MakePlan, directory_of
from sandbox_shell import output

from serai.runtime.host import is_host_root
from serai.runtime.oci.program import find
from serai.runtime.oci.runtime import OciRuntime
from serai.runtime.port import Incapable, NoSpace, Runtime

pytestmark = pytest.mark.sandbox
PROOF = "checkpoints.json"


@pytest.fixture
def gvisor_dir(data_dir: Path) -> Path:
    """The data directory, where gVisor can be tested."""
    if "runsc" not in os.environ.get("SERAI_TEST_DRIVERS", ""):
        pytest.skip("gVisor is tested by `make test-drivers`")
    if not is_host_root() or not find("runsc"):
        pytest.skip("needs root and runsc (Debian: bookworm-backports)")
    return data_dir


@contextlib.asynccontextmanager
async def started(data_dir: Path) -> AsyncIterator[Runtime]:
    """A runtime, and nothing left of what is made with it."""
    runtime = DRIVERS["runsc"](data_dir)
    await runtime.start()
    try:
        yield runtime
    finally:
        for sandbox_id in await runtime.leftovers():
            await runtime.destroy(sandbox_id, None)
        for saved_id in await runtime.files.saved():
            await runtime.files.drop(saved_id)
        await runtime.close()


@pytest.fixture
async def gvisor(gvisor_dir: Path) -> AsyncIterator[Runtime]:
    async with started(gvisor_dir) as runtime:
        yield runtime


async def test_what_was_proven_is_not_tried_again(gvisor_dir: Path) -> None:
    proof = gvisor_dir / PROOF
    async with started(gvisor_dir) as runtime:
        assert runtime.files.level == "memory"
        assert "snapshots keep processes and memory" in runtime.isolation
        assert await runtime.leftovers() == []
    proven, written = proof.read_bytes(), proof.stat().st_mtime_ns
    async with started(gvisor_dir) as runtime:
        assert (runtime.files.level, proof.stat().st_mtime_ns) == ("memory", written)
    proof.write_bytes(proven.replace(b"runsc", b"older"))
    async with started(gvisor_dir) as runtime:
        assert (runtime.files.level, proof.read_bytes()) == ("memory", proven), "tried anew"


async def test_without_a_working_checkpoint_files_are_kept(
    gvisor_dir: Path, plan: MakePlan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (gvisor_dir / PROOF).unlink(missing_ok=True)
    broken = tmp_path / "runsc"
    broken.write_text(
        f'#!/bin/sh\ncase "$*" in *checkpoint*) echo "no such thing" >&2; exit 1;; esac\n'
        f'exec {find("runsc")} "$@"\n'
    )
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    async with started(gvisor_dir) as weaker:
        assert weaker.files.level == "files"
        assert "snapshots keep files only: a trial failed" in weaker.isolation
        assert "no such thing" in weaker.isolation
        assert not (gvisor_dir / PROOF).exists()
        handle = await weaker.create(plan())
        saved = await weaker.files.save(handle.id, "saved")
        assert (saved.contents, "no such thing" in saved.why) == ("files", True)
        with pytest.raises(Incapable, match="no such thing"):
            await weaker.files.save(handle.id, "more", "memory")
        assert set(await weaker.files.saved()) == {"saved"}
        assert await output(handle, "echo goes on") == "goes on"


async def test_processes_go_on_only_with_what_saved_them(
    gvisor: Runtime, data_dir: Path, plan: MakePlan
) -> None:
    assert isinstance(gvisor, OciRuntime)
    handle = await gvisor.create(plan())
    saved = await gvisor.files.save(handle.id, "saved", "memory")
    assert saved.contents == "memory"
    await gvisor.files.check_memory("saved")
    record = next(data_dir.rglob("saved/saved/memory.json"))
    right = msgspec.json.decode(record.read_bytes())
    for wrong, why in (
        ({"version": "runsc version 0"}, "saved by runsc version 0, and this is runsc"),
        ({"tree": "guest-0"}, "interpreter .* is gone"),
    ):
        record.write_bytes(msgspec.json.encode(right | wrong))
        with pytest.raises(Incapable, match=why):
            await gvisor.files.check_memory("saved")
        with pytest.raises(Incapable, match=why):
            await gvisor.create(plan(files_from=("saved",), memory_from="saved"))
    assert await gvisor.leftovers() == [handle.id]
    record.write_bytes(msgspec.json.encode(right))
    await gvisor.destroy(handle.id, handle)
    fork = await gvisor.create(plan(files_from=("saved",), memory_from="saved", hostname="fork"))
    assert await output(fork, "hostname") == "fork"


async def test_files_are_those_of_the_moment_of_the_memory(
    gvisor: Runtime, data_dir: Path, plan: MakePlan
) -> None:
    """A program that writes what it counts: a copy has the number in memory that is in its file."""
    handle = await gvisor.create(plan())
    loop = "n=0; while :; do n=$((n+1)); echo $n >> /blaxel/log; done"
    await output(handle, f"setsid sh -c '{loop}' >/dev/null 2>&1 & sleep 0.5")
    for number in range(3):
        target = plan(hostname=f"copy{number}")
        await gvisor.files.copy(handle.id, target.id, "memory")
        log = next(directory_of(data_dir, target.id).rglob("upper/blaxel/log"))
        last = int(log.read_bytes().splitlines()[-1])
        copy = await gvisor.create(msgspec.structs.replace(target, memory_from=target.id))
        lines = (await output(copy, f"sed -n '{last},$ p' /blaxel/log | head -50")).splitlines()
        assert lines == [str(each) for each in range(last, last + len(lines))]
        assert len(lines) > 1, "it goes on"
        await gvisor.destroy(copy.id, copy)


STRANGER = """
import os, socket
place = "/.serai/run"
print("token" in open(place + "/config.json").read().replace('"token":""', ""))
line = socket.socket(socket.AF_UNIX)
line.connect(place + "/line")
line.sendall(b"0" * 32 + b"r")
try: print(line.recv(1) == b"")
except OSError: print(True)
try: os.unlink(place + "/line")
except OSError as error: print(error.strerror)
"""


async def test_nobody_else_inside_is_taken_for_the_api(gvisor: Runtime, plan: MakePlan) -> None:
    handle = await gvisor.create(plan())
    for _ in range(2):
        told = await output(handle, f"python3 - <<'END'{STRANGER}END")
        assert told.splitlines() == ["False", "True", "Read-only file system"]
        assert (await gvisor.files.save(handle.id, "saved", "memory")).contents == "memory"
        await gvisor.files.drop("saved")


@pytest.fixture
def small_disk(gvisor_dir: Path, tmp_path: Path) -> Iterator[Path]:
    """A file system of 150 MB, without a pool: data is copied there."""
    disk = tmp_path / "disk"
    disk.mkdir()
    options = ["-t", "tmpfs", "-o", "size=150m", "tmpfs", str(disk)]
    subprocess.run(["mount", *options], check=True)
    (disk / "data" / "pool.new").mkdir(parents=True)
    yield disk / "data"
    subprocess.run(["umount", "-l", str(disk)], check=True)


async def test_memory_that_does_not_fit_is_left_behind(small_disk: Path, plan: MakePlan) -> None:
    code = "import os, time; x = os.urandom(150 << 20); open('/tmp/there', 'w'); time.sleep(999)"
    async with started(small_disk) as runtime:
        assert runtime.files.level == "memory"
        handle = await runtime.create(plan(memory_mb=1024))
        await output(handle, f'setsid python3 -c "{code}" >/dev/null 2>&1 &')
        await output(handle, "until test -e /tmp/there; do sleep 0.1; done")
        for contents in ("memory", None):
            with pytest.raises(NoSpace):
                await runtime.files.save(handle.id, "saved", contents)
            assert await runtime.files.saved() == {}
        found = await output(handle, "pgrep -f urando[m] | tail -1")
        assert await output(handle, f"kill -9 {found}; sleep 0.2; echo goes on") == "goes on"
        saved = await runtime.files.save(handle.id, "saved")
        assert saved.contents == "memory"
        copy = plan(files_from=("saved",), memory_from="saved", hostname="copy", memory_mb=1024)
        assert (
            await output(await runtime.create(copy), "hostname; ls /tmp/there")
            == "copy\n/tmp/there"
        )
