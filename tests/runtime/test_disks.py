"""Limits of disks, volumes and drives, as code inside a sandbox meets them."""

import asyncio
import io
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import OWN_MOUNTS, MakePlan, embedded
from sandbox_shell import output, shell

from serai.runtime.embedded import EmbeddedRuntime
from serai.runtime.pool import formatter
from serai.runtime.port import Mount, RuntimeProblem, SandboxHandle

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(
        not OWN_MOUNTS or formatter() is None, reason="needs root and mkfs.btrfs (btrfs-progs)"
    ),
]
FILL = "dd if=/dev/zero of={0} bs=1M count={1} 2>&1"
BUSY = (
    "import ctypes, fcntl, os, sys\n"
    "folder = os.open(sys.argv[1], os.O_RDONLY)\n"
    "request = bytearray(8) + sys.argv[2].encode().ljust(4088, b'\\0')\n"
    "fcntl.ioctl(folder, int(sys.argv[3], 16), request)\n"
)


@pytest.fixture
def volume(data_dir: Path) -> Iterator[str]:
    """The id of a volume, which is removed at the end."""
    name = os.urandom(6).hex()
    yield name
    (data_dir / "volumes" / f"{name}.img").unlink(missing_ok=True)


@pytest.fixture
def drive(runtime: EmbeddedRuntime) -> Iterator[str]:
    """The id of an empty drive."""
    name = os.urandom(6).hex()
    runtime.disks.make_drive(runtime.disks.drives / name)
    yield name
    runtime.disks.remove_drive(runtime.disks.drives / name)


def on(volume: str, path: str = "/data", **fields: object) -> Mount:
    """A volume of 64 MB."""
    defaults: dict[str, object] = {"kind": "volume", "size_mb": 64}
    return Mount(id=volume, path=path, **{**defaults, **fields})  # type: ignore[arg-type]


def shared(drive: str, path: str = "/mnt/drive", **fields: object) -> Mount:
    """A drive."""
    return Mount(id=drive, kind="drive", path=path, **fields)  # type: ignore[arg-type]


async def room(handle: SandboxHandle, path: str) -> int:
    """Size of the file system at a path, in MB."""
    return int(await output(handle, f"df -m {path} | tail -1 | awk '{{print $2}}'"))


async def test_a_full_disk_is_full_for_one_sandbox_only(
    runtime: EmbeddedRuntime, plan: MakePlan
) -> None:
    small, other = await asyncio.gather(
        runtime.create(plan(disk_mb=64)), runtime.create(plan(disk_mb=256))
    )
    code, text = await shell(small, FILL.format("/root/flood", 100))
    assert code != 0
    assert "quota exceeded" in text
    written = int(await output(small, "stat -c %s /root/flood")) >> 20
    assert 55 <= written <= 64
    assert (await shell(small, "echo x > /usr/local/more; dd if=/dev/zero of=/m bs=1M count=9"))[0]
    await output(other, FILL.format("/root/flood", 100))
    await output(small, "rm /root/flood && " + FILL.format("/root/again", 30))


async def test_a_limit_can_be_raised_at_the_next_start(
    runtime: EmbeddedRuntime, plan: MakePlan
) -> None:
    handle = await runtime.create(plan(id="grows", disk_mb=32))
    assert (await shell(handle, FILL.format("/root/flood", 60)))[0] != 0
    handle = await runtime.create(plan(id="grows", disk_mb=128))
    await output(handle, FILL.format("/root/flood", 60))


async def test_a_fork_has_a_limit_of_its_own(runtime: EmbeddedRuntime, plan: MakePlan) -> None:
    source, wanted = await runtime.create(plan(disk_mb=64)), plan(disk_mb=64)
    await output(source, FILL.format("/root/part", 20))
    await runtime.files.copy(source.id, wanted.id)
    fork = await runtime.create(wanted)
    code, text = await shell(fork, FILL.format("/root/flood", 100))
    assert code != 0, text
    assert "quota exceeded" in text
    await output(source, FILL.format("/root/more", 20))


async def test_files_without_content_count_as_well(
    runtime: EmbeddedRuntime, plan: MakePlan
) -> None:
    handle = await runtime.create(plan(disk_mb=16))
    script = "import os\nfor n in range(20000): os.symlink('x' * 3000, '/root/%d' % n)"
    code, text = await shell(handle, f'python3 -c "{script}"')
    assert code != 0, text
    assert "quota exceeded" in text


async def test_what_volumes_may_still_take_is_kept_free(
    runtime: EmbeddedRuntime, plan: MakePlan, data_dir: Path
) -> None:
    handle = await runtime.create(plan())
    promise = data_dir / "volumes" / "promise.img"
    with promise.open("wb") as file:
        file.truncate(8 << 40)
    try:
        assert await until(handle, FILL.format("/root/flood", 4), works=False)
    finally:
        promise.unlink()
    assert await until(handle, FILL.format("/root/flood", 4), works=True)


async def until(handle: SandboxHandle, command: str, *, works: bool) -> bool:
    """Whether a command comes to work, or to fail, within some seconds."""
    for _ in range(100):
        if ((await shell(handle, command))[0] == 0) == works:
            return True
        await asyncio.sleep(0.1)
    return False


async def test_a_volume_has_its_size_and_outlives_sandboxes(
    runtime: EmbeddedRuntime, plan: MakePlan, volume: str
) -> None:
    handle = await runtime.create(plan(mounts=(on(volume),)))
    assert await room(handle, "/data") == 64
    assert await output(handle, "stat -c %u:%g:%a /data") == "0:0:755"
    code, text = await shell(handle, FILL.format("/data/flood", 80))
    assert code != 0
    assert "No space left" in text
    user = 0 if runtime.name == "bwrap" else 1000  # which has only one user
    await output(handle, f"rm /data/flood; echo kept > /data/note; chown {user} /data/note")
    await runtime.destroy(handle.id, handle)
    handle = await runtime.create(plan(mounts=(on(volume, "/other/place"),)))
    assert await output(handle, "cat /other/place/note; stat -c %u /other/place/note") == (
        f"kept\n{user}"
    )


async def test_a_volume_grows_while_it_is_used(
    runtime: EmbeddedRuntime, plan: MakePlan, volume: str
) -> None:
    handle = await runtime.create(plan(mounts=(on(volume),)))
    await output(handle, "echo kept > /data/note; " + FILL.format("/data/part", 40))
    await asyncio.to_thread(runtime.disks.volumes.grow, volume, 300)
    assert await room(handle, "/data") == 300
    await output(handle, "cat /data/note; " + FILL.format("/data/more", 200))
    await asyncio.to_thread(runtime.disks.volumes.grow, volume, 100)
    assert await room(handle, "/data") == 300


async def test_a_read_only_volume_cannot_be_changed(
    runtime: EmbeddedRuntime, plan: MakePlan, volume: str
) -> None:
    await runtime.destroy("writer", await runtime.create(plan(id="writer", mounts=(on(volume),))))
    handle = await runtime.create(plan(mounts=(on(volume, read_only=True),)))
    code, text = await shell(handle, "touch /data/x")
    assert code != 0
    assert "Read-only" in text
    assert (await shell(handle, "mount -o remount,rw /data"))[0] != 0


async def test_a_volume_starts_with_its_content(
    runtime: EmbeddedRuntime, plan: MakePlan, volume: str, tmp_path: Path
) -> None:
    content = tmp_path / "content.tar.gz"
    with tarfile.open(content, "w:gz") as archive:
        entry = tarfile.TarInfo("folder/file")
        entry.size, entry.uid = 5, 4711
        archive.addfile(entry, io.BytesIO(b"hello"))
    wanted = on(volume, content=str(content))
    handle = await runtime.create(plan(mounts=(wanted,)))
    assert await output(handle, "cat /data/folder/file; stat -c %u /data/folder/file") == "hello0"
    await output(handle, "rm -r /data/folder")
    await runtime.destroy(handle.id, handle)
    handle = await runtime.create(plan(mounts=(wanted,)))
    assert await output(handle, "ls /data") == ""


async def test_a_volume_that_does_not_fit_is_refused(
    runtime: EmbeddedRuntime, plan: MakePlan, volume: str
) -> None:
    with pytest.raises(RuntimeProblem, match="MB are free"):
        await runtime.create(plan(mounts=(on(volume, size_mb=10**9),)))
    assert await runtime.leftovers() == []


@pytest.mark.parametrize("path", ["/", "/proc/x", "/sys", "/dev/shm", "data", "/a/../b", "//"])
async def test_places_where_nothing_is_mounted(
    runtime: EmbeddedRuntime, plan: MakePlan, volume: str, path: str
) -> None:
    with pytest.raises(RuntimeProblem):
        await runtime.create(plan(mounts=(on(volume, path),)))
    assert await runtime.leftovers() == []


async def test_links_at_the_place_of_a_mount_lead_nowhere(
    runtime: EmbeddedRuntime, plan: MakePlan, volume: str, drive: str
) -> None:
    handle = await runtime.create(plan(id="linker"))
    await output(handle, "ln -s /proc /data; mkdir -p /mnt; ln -s /etc /mnt/drive; touch /file")
    for path in ("/mnt/drive", "/mnt/drive/ssl", "/file"):
        with pytest.raises(RuntimeProblem, match="is a link or no directory"):
            await runtime.mount(handle, shared(drive, path))
    await runtime.stop(handle)
    with pytest.raises(RuntimeProblem, match="/data is a link or no directory"):
        await runtime.create(plan(id="linker", mounts=(on(volume),)))
    handle = await runtime.create(plan(id="linker"))
    assert await output(handle, "readlink /data") == "/proc"


async def test_a_place_that_is_exchanged_all_the_time_stays_in_the_sandbox(
    runtime: EmbeddedRuntime, plan: MakePlan, drive: str
) -> None:
    handle = await runtime.create(plan())
    swap = "mv /p/a /p/b; ln -sfn /proc /p/a; rm /p/a; mv /p/b /p/a"
    script = f"for each in $(seq 5000); do {swap}; done"
    await output(handle, f"mkdir -p /p/a; (sh -c '{script}' >/dev/null 2>&1 &)")
    outcomes = set()
    for _ in range(30):
        try:
            await runtime.mount(handle, shared(drive, "/p/a/in/side"))
            outcomes.add("mounted")
        except RuntimeProblem as problem:
            outcomes.add(str(problem))
        points = await output(handle, "cut -d' ' -f5 /proc/self/mountinfo")
        assert not [p for p in points.splitlines() if p.endswith("/in/side") and p[:3] != "/p/"]
    assert outcomes


async def test_a_drive_is_shared_by_sandboxes_and_comes_and_goes(
    runtime: EmbeddedRuntime, plan: MakePlan, drive: str
) -> None:
    one, two = await asyncio.gather(runtime.create(plan()), runtime.create(plan()))
    await runtime.mount(one, shared(drive))
    await runtime.mount(one, shared(drive))
    await output(one, "mkdir /mnt/drive/in; echo hello > /mnt/drive/in/file")
    await runtime.mount(two, shared(drive, "/d", folder="in", read_only=True))
    assert await output(two, "cat /d/file; stat -c %u /d/file") == "hello\n0"
    assert (await shell(two, "touch /d/x"))[0] != 0
    await runtime.unmount(one, "/mnt/drive")
    await runtime.unmount(one, "/mnt/drive")
    assert await output(one, "ls /mnt/drive") == ""
    assert await output(two, "cat /d/file") == "hello"


async def test_a_drive_in_use_is_not_unmounted(
    runtime: EmbeddedRuntime, plan: MakePlan, drive: str
) -> None:
    handle = await runtime.create(plan())
    await runtime.mount(handle, shared(drive))
    await output(handle, "cd /mnt/drive; sleep 300 >/dev/null 2>&1 & echo $! > /root/pid")
    with pytest.raises(RuntimeProblem, match="end it, and unmount again"):
        await runtime.unmount(handle, "/mnt/drive")
    await output(handle, "kill $(cat /root/pid); sleep 0.2")
    await runtime.unmount(handle, "/mnt/drive")


async def test_links_in_a_drive_lead_nowhere(
    runtime: EmbeddedRuntime, plan: MakePlan, drive: str
) -> None:
    handle = await runtime.create(plan(mounts=(shared(drive),)))
    await output(handle, "ln -s / /mnt/drive/up; ln -s .. /mnt/drive/out")
    for folder in ("up", "up/etc", "out", "../x"):
        with pytest.raises(RuntimeProblem):
            await runtime.mount(handle, shared(drive, "/m", folder=folder))


async def test_what_is_mounted_grants_no_rights(
    runtime: EmbeddedRuntime, plan: MakePlan, volume: str, drive: str
) -> None:
    """No devices, no setuid, and no subvolumes, whose use nothing would count."""
    handle = await runtime.create(plan(mounts=(on(volume), shared(drive, "/d"))))
    options = await output(handle, "grep -E ' /d(ata)? ' /proc/self/mounts")
    assert options.count("nosuid,nodev") == 2
    for folder in ("/data", "/d"):
        for request in ("5000940e", "50009401"):
            code, text = await shell(handle, f'python3 -c "{BUSY}" {folder} new {request}')
            assert code != 0, text
            assert "Operation not permitted" in text
    clone = "cp --reflink=always /d/a /d/b"
    await output(handle, f"echo x > /d/a; {clone}; cat /d/b")


async def test_sandboxes_outlive_the_runtime_and_their_mounts_too(
    runtime: EmbeddedRuntime, plan: MakePlan, data_dir: Path, volume: str, drive: str
) -> None:
    handle = await runtime.create(plan(disk_mb=64, mounts=(on(volume), shared(drive, "/d"))))
    await output(handle, "echo kept | tee /data/x /d/x > /root/x")
    await runtime.close()
    second = embedded(data_dir)
    await second.start()
    try:
        assert await output(handle, "cat /data/x /d/x /root/x") == "kept\nkept\nkept"
        assert (await shell(handle, FILL.format("/root/flood", 100)))[0] != 0
        await output(handle, "rm /root/flood")
        await second.mount(handle, shared(drive, "/late"))
        assert await output(handle, "cat /late/x") == "kept"
    finally:
        await second.close()
        await runtime.start()


async def test_without_a_pool_volumes_have_no_size_and_wait_for_leave(
    plan: MakePlan, tmp_path: Path
) -> None:
    content = tmp_path / "content.tar"
    with tarfile.open(content, "w") as archive:
        archive.add(__file__, "file")
    plain = EmbeddedRuntime(tmp_path / "data", entry="command_server")
    await plain.start()
    wanted = plan(mounts=(on("v1", content=str(content)), shared("d1")))
    try:
        assert "DEGRADED: no limit on what sandboxes write" in plain.isolation
        with pytest.raises(RuntimeProblem, match="cannot be enforced here"):
            await plain.create(wanted)
        assert await plain.leftovers() == []
        plain.disks.unenforced_volumes = True
        handle = await plain.create(wanted)
        assert await output(handle, "stat -c %u /data/file; touch /data/x /mnt/drive/x") == "0"
        await plain.destroy(handle.id, handle)
        plain.disks.remove_volume("v1")
        assert list((tmp_path / "data" / "volumes").iterdir()) == []
    finally:
        await plain.close()


def test_without_own_mounts_nothing_is_made(tmp_path: Path) -> None:
    from serai.runtime.pool import Pool

    pool = Pool(tmp_path, own_mounts=False)
    pool.open()
    assert (pool.is_open, list(tmp_path.iterdir())) == (False, [])
    assert "may not mount" in pool.why_not
    (tmp_path / "pool.img").write_bytes(b"")
    with pytest.raises(RuntimeProblem, match="holds files of sandboxes"):
        pool.open()
    shutil.rmtree(tmp_path)
