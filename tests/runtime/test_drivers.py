"""Choosing a driver, and keeping sandboxes with the one that made them."""

import functools
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import MakePlan
from creators import rootless_sandbox
from sandbox_shell import output

from serai.runtime.drivers import Drivers, Make
from serai.runtime.embedded import EmbeddedRuntime
from serai.runtime.host import is_host_root
from serai.runtime.oci.program import PROGRAMS, find
from serai.runtime.oci.runtime import OciRuntime
from serai.runtime.port import RuntimeProblem

pytestmark = pytest.mark.sandbox


def _drivers(folder: Path, wanted: str = "auto") -> Drivers:
    """Real drivers, whose sandboxes run the shell server of these tests."""
    embedded = functools.partial(EmbeddedRuntime, entry="command_server")
    makers: dict[str, Make] = {"embedded": embedded}
    for name in PROGRAMS:
        makers[name] = functools.partial(OciRuntime, name, entry="command_server")
    return Drivers(folder / "data", wanted, drivers=makers)


def _an_oci_runtime() -> str:
    installed = [name for name in PROGRAMS if find(name)]
    if not installed:
        pytest.skip("needs an OCI runtime (Debian packages crun or runc)")
    return installed[-1]


async def test_a_sandbox_stays_with_the_driver_that_made_it(tmp_path: Path, plan: MakePlan) -> None:
    name, wanted = _an_oci_runtime(), plan()
    first = _drivers(tmp_path, name)
    await first.start()
    handle = await first.create(wanted)
    assert handle.driver == name
    await output(handle, "echo kept > /blaxel/file")
    await first.close()

    second = _drivers(tmp_path)
    await second.start()
    try:
        assert second.name == "embedded"
        assert await second.alive(handle)
        assert await second.leftovers() == [wanted.id]
        await second.stop(handle)
        again = await second.create(wanted)
        assert (again.driver, again.level) == (name, handle.level)
        assert await output(again, "cat /blaxel/file") == "kept"
        other = await second.create(plan())
        assert other.driver == "embedded"
        for sandbox_id in await second.leftovers():
            await second.destroy(sandbox_id, None)
        assert await second.leftovers() == []
        assert not await second.alive(again)
    finally:
        await second.close()


async def test_a_driver_asked_for_is_never_replaced_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    drivers = Drivers(tmp_path / "data", "docker")
    with pytest.raises(RuntimeProblem, match=r"apt install docker\.io.*serai doctor"):
        await drivers.start()


async def test_an_engine_on_another_machine_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONTAINER_HOST", "tcp://192.0.2.1:2375")
    with pytest.raises(RuntimeProblem, match="must run on this machine"):
        await Drivers(tmp_path / "data", "podman").start()


async def test_a_sandbox_whose_driver_is_gone_says_so(
    tmp_path: Path, plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, wanted = _an_oci_runtime(), plan()
    first = _drivers(tmp_path, name)
    await first.start()
    handle = await first.create(wanted)
    await first.close()
    monkeypatch.setattr("serai.runtime.oci.program.SYSTEM_PATH", "")
    monkeypatch.setenv("PATH", "")
    second = _drivers(tmp_path)
    await second.start()
    try:
        assert await second.alive(handle)
        await second.stop(handle)
        with pytest.raises(RuntimeProblem, match=f"{name} is not installed: apt install"):
            await second.create(wanted)
        await second.destroy(wanted.id, None)
        left = [str(p) for p in tmp_path.rglob("*") if wanted.id in p.name]
        assert (await second.leftovers(), left) == ([], [])
    finally:
        await second.close()


@pytest.mark.parametrize("driver", ["crun", "runc", "runsc", "bwrap"])
async def test_without_root_drivers_work_and_say_what_is_weaker(driver: str) -> None:
    if not is_host_root() or not find(driver):
        pytest.skip(f"needs root, to become somebody else, and {driver}")
    if driver == "bwrap":
        said = subprocess.run([str(find("bwrap")), "--help"], capture_output=True, text=True)
        if "--overlay-src" not in said.stdout + said.stderr:
            pytest.skip("needs bubblewrap 0.11, which can mount overlays")
    async with rootless_sandbox(driver) as (handle, isolation):
        assert handle.level == ("gvisor" if driver == "runsc" else "namespaces-rootless")
        assert "DEGRADED: one user only" in isolation
        assert await output(handle, "id -u; echo x > /usr/f; pwd") == "0\n/blaxel"


def test_the_tree_needs_nothing_of_the_image(tmp_path: Path) -> None:
    """In a root with no other file at all: no C library, no shell, no Python."""
    if os.geteuid() != 0:
        pytest.skip("needs root, for chroot")
    from serai.runtime.guest import tree

    built = tree.build(tmp_path, "serai.sandboxd.main")
    assert tree.build(tmp_path, "serai.sandboxd.main") == built
    at = f"/{built.name}"
    code = "from serai.sandboxd.main import preload; preload(); print('served')"
    command = [f"{at}/bin/ld.so", "--library-path", f"{at}/lib", f"{at}/bin/python3"]
    done = subprocess.run(
        [*command, "-I", "-S", "-c", code],
        env={},
        capture_output=True,
        text=True,
        preexec_fn=lambda: os.chroot(built.parent),
        cwd="/",
    )
    assert (done.stdout, done.stderr) == ("served\n", "")
    shutil.rmtree(built)
