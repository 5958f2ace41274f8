"""Saving the files of sandboxes, and starting others from them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from conftest import OWN_MOUNTS, MakePlan
from sandbox_shell import output, shell

from serai.runtime.embedded import EmbeddedRuntime
from serai.runtime.pool import Pool
from serai.runtime.port import RuntimeProblem

pytestmark = pytest.mark.sandbox


@pytest.fixture(params=["copied", "shared"])
async def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EmbeddedRuntime]:
    """A runtime on a file system that can share data between files, and one on another."""
    data = tmp_path / "data"
    pool = Pool(data, own_mounts=OWN_MOUNTS and request.param == "shared")
    runtime = EmbeddedRuntime(data, entry="command_server", max_processes=80, pool=pool)
    await runtime.start()
    if request.param == "shared" and not pool.is_open:
        pytest.skip(f"no file system here can share data: {pool.why_not}")
    yield runtime
    for sandbox_id in await runtime.leftovers():
        await runtime.destroy(sandbox_id, None)
    await runtime.close()


SCENE = """
mkdir -p /blaxel/deep/er /srv/links && cd /blaxel
echo one > deep/er/file && ln deep/er/file deep/twin && ln -s /etc/passwd deep/link
rm /etc/motd /usr/bin/yes 2>/dev/null; rm -rf /etc/skel && mkdir /etc/skel && echo new > /etc/skel/x
echo changed >> /etc/profile && mkfifo deep/pipe && chmod 4711 deep/er/file
dd if=/dev/zero of=deep/sparse bs=1 count=1 seek=1G 2>/dev/null
mkdir shut && echo secret > shut/in && chmod 000 shut
"""
LOOK = """
cd /blaxel && cat deep/er/file && stat -c '%h %a %s' deep/twin deep/sparse && readlink deep/link
stat -c %F deep/pipe; ls /etc/skel; tail -1 /etc/profile; ls /usr/bin/yes 2>&1; stat -c %a shut
"""


async def test_a_sandbox_starts_from_saved_files(runtime: EmbeddedRuntime, plan: MakePlan) -> None:
    source = await runtime.create(plan())
    await output(source, SCENE)
    seen = await shell(source, LOOK)
    saved = await runtime.files.save(source.id, "first")
    assert 4096 < saved.size < 10 << 20
    await output(source, "echo later > /blaxel/deep/er/file; rm -r /blaxel/shut; yes 2>&1 || true")
    for _ in range(2):
        fork = await runtime.create(plan(files_from=("first",)))
        assert await shell(fork, LOOK) == seen
        assert await output(fork, "echo mine > /blaxel/mine && cat /blaxel/mine") == "mine"
    assert await runtime.files.saved() == {"first": True}
    await runtime.files.settle("first")
    await runtime.files.drop("first")
    assert await runtime.files.saved() == {}


async def test_saved_files_lie_on_one_another(runtime: EmbeddedRuntime, plan: MakePlan) -> None:
    chain: tuple[str, ...] = ()
    for step in range(4):
        box = await runtime.create(plan(files_from=chain))
        await output(
            box,
            f"cd /srv && echo {step} > step-{step} && rm -rf step-{step - 2} both && mkdir both"
            f" && echo {step} > both/{step}",
        )
        await runtime.files.save(box.id, f"step_{step}")
        chain = (f"step_{step}", *chain)
    last = await runtime.create(plan(files_from=chain))
    assert (await output(last, "cd /srv && ls . both")).split() == [
        ".:", "both", "step-2", "step-3", "both:", "3"
    ]  # fmt: skip
    for each in chain:
        await runtime.files.drop(each)


async def test_a_copy_is_of_one_moment(runtime: EmbeddedRuntime, plan: MakePlan) -> None:
    """A program counts into two files in turn; a copy never sees the second ahead of the first."""
    source = await runtime.create(plan())
    await output(
        source,
        "mkdir /srv/a /srv/b; (i=0; while :; do i=$((i+1)); echo $i > /srv/a/$((i%50));"
        " echo $i > /srv/b/$((i%50)); done) >/dev/null 2>&1 &",
    )
    for number in range(4):
        await asyncio.sleep(0.2)
        copy = plan(id=f"copy{number}")
        await runtime.files.copy(source.id, copy.id)
        first = await output(source, "cat /srv/a/1")
        handle = await runtime.create(copy)
        found = await output(
            handle, "cat /srv/a/* | sort -n | tail -1; cat /srv/b/* | sort -n | tail -1"
        )
        ahead, behind = map(int, found.split())
        assert 0 <= ahead - behind <= 1
        async with asyncio.timeout(20):
            while await output(source, "cat /srv/a/1") == first:  # the source must go on
                await asyncio.sleep(0.05)


async def test_a_fork_is_somebody_else(runtime: EmbeddedRuntime, plan: MakePlan) -> None:
    source = await runtime.create(plan(hostname="source"))
    own = await runtime.create(plan(hostname="own"))
    await output(own, "echo mine > /etc/hosts")
    who = "hostname; cat /etc/hostname /etc/machine-id; grep -c $(hostname) /etc/hosts"
    assert (await output(source, who)).split()[:2] == ["source", "source"]
    for origin, hosts in ((source, "1"), (own, "0")):
        fork = plan(hostname="fork")
        await runtime.files.copy(origin.id, fork.id)
        handle = await runtime.create(fork)
        told = (await shell(handle, who))[1].split()
        assert (told[0], told[-1]) == ("fork", hosts)
        assert told[-2] != (await output(source, "cat /etc/machine-id"))
    assert told[1] == "own", "whoever writes /etc/hosts keeps /etc/hostname as well"


async def test_a_suspended_sandbox_stays_so(runtime: EmbeddedRuntime, plan: MakePlan) -> None:
    source = await runtime.create(plan())
    await output(source, "echo kept > /srv/kept")
    await runtime.suspend(source)
    await runtime.files.save(source.id, "asleep")
    assert await runtime.suspended(source)
    await runtime.resume(source)
    fork = await runtime.create(plan(files_from=("asleep",)))
    assert await output(fork, "cat /srv/kept") == "kept"
    await runtime.files.save(source.id, "awake")
    assert not await runtime.suspended(source)


async def test_a_sandbox_at_rest_is_copied(runtime: EmbeddedRuntime, plan: MakePlan) -> None:
    source = await runtime.create(plan())
    await output(source, "echo kept > /srv/kept")
    await runtime.stop(source)
    target = plan()
    await runtime.files.copy(source.id, target.id)
    assert await output(await runtime.create(target), "cat /srv/kept") == "kept"
    await runtime.files.discard(source.id)
    assert source.id not in await runtime.leftovers()


async def test_nothing_is_left_of_a_failure(
    runtime: EmbeddedRuntime, plan: MakePlan, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeProblem, match="never started"):
        await runtime.files.save("neverwas", "none")
    handle = await runtime.create(plan())
    with pytest.raises(RuntimeProblem, match="1 to 40"):
        await runtime.files.save(handle.id, "../out")
    (layer,) = tmp_path.glob(f"**/sandboxes/{handle.id}/layers/root")
    layer.rename(layer.with_name("aside"))
    layer.symlink_to("/etc")
    try:
        with pytest.raises(RuntimeProblem):
            await runtime.files.save(handle.id, "linked")
    finally:
        layer.unlink()
        layer.with_name("aside").rename(layer)
    assert await runtime.files.saved() == {}
