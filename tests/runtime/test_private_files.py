"""Files that only some users of the host may read are in no sandbox."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from conftest import MakePlan, embedded
from hypothesis import given
from hypothesis import strategies as st
from sandbox_shell import output, shell

from serai.runtime.embedded import EmbeddedRuntime
from serai.runtime.scan import private_below

CREATOR = Path(__file__).with_name("creating_process.py")
PUBLIC = ["link", "public", "tool"]


def _fill(corner: Path) -> None:
    """Files of root and of another user, a directory, names that are no text; and PUBLIC."""
    for name in ("public", "key", "two\nlines", "other", os.fsdecode(b"raw\xff")):
        (corner / name).write_text("text")
        (corner / name).chmod(0o644 if name == "public" else 0o600)
    os.chown(corner / "other", 65534, 65534)
    (corner / "vault").mkdir()
    (corner / "vault/inner").write_text("text")
    (corner / "vault").chmod(0o700)
    (corner / "tool").write_text("text")
    (corner / "tool").chmod(0o4755)
    (corner / "link").symlink_to("public")


async def _seen(runtime: EmbeddedRuntime, plan: MakePlan, folder: Path) -> list[str]:
    """What a new sandbox finds in ``folder``."""
    handle = await runtime.create(plan())
    try:
        return (await output(handle, f"ls -A {folder}")).split()
    finally:
        await runtime.destroy(handle.id, handle)


async def _until(runtime: EmbeddedRuntime, plan: MakePlan, folder: Path, names: list[str]) -> None:
    """Wait for new sandboxes to find just ``names``; looking steps back behind all other work."""
    deadline = time.monotonic() + 90
    while (seen := await _seen(runtime, plan, folder)) != names:
        assert time.monotonic() < deadline, f"a new sandbox still sees {seen}"
        await asyncio.sleep(0.05)


@pytest.mark.sandbox
async def test_the_first_sandbox_ever_sees_none(
    tmp_path: Path, plan: MakePlan, corner: Path
) -> None:
    _fill(corner)
    runtime = embedded(tmp_path / "data")
    await runtime.start()
    try:
        handle = await runtime.create(plan())
        assert (await output(handle, f"ls -A {corner}")).split() == PUBLIC
        for path in ("key", "other", "vault", "vault/inner", "'two\nlines'"):
            assert (await shell(handle, f"cat {corner}/{path} || ls {corner}/{path}"))[0] != 0
        assert await output(handle, f"cat {corner}/link {corner}/tool") == "texttext"
        for path in (corner, corner.parent, corner.parent.parent):
            there = path.stat()
            expected = f"{stat.S_IMODE(there.st_mode):o} {there.st_uid} {there.st_gid}"
            assert await output(handle, f"stat -c '%a %u %g' {path}") == expected
        await output(handle, f"cd {corner}; echo mine > key; mkdir vault; rm public")
        assert await output(handle, f"cat {corner}/key; ls -A {corner}/vault") == "mine"
        assert (corner / "key").read_text() == (corner / "public").read_text() == "text"
        await runtime.destroy(handle.id, handle)
    finally:
        await runtime.close()


@pytest.mark.sandbox
@pytest.mark.timeout(300)
async def test_later_starts_look_again(tmp_path: Path, plan: MakePlan, corner: Path) -> None:
    runtime = embedded(tmp_path)
    await runtime.start()
    handles = [old := await runtime.create(plan())]
    assert await _seen(runtime, plan, corner) == []
    await runtime.close()
    _fill(corner)
    runtime = embedded(tmp_path)
    await runtime.start()
    try:
        await _until(runtime, plan, corner, PUBLIC)
        handles.append(young := await runtime.create(plan()))
        await runtime.close()
        (corner / "key").chmod(0o644)
        for _ in range(2):  # The second start prunes the layers that the first one replaced.
            runtime = embedded(tmp_path)
            await runtime.start()
            await _until(runtime, plan, corner, ["key", *PUBLIC])
            await runtime.close()
        assert (await output(young, f"ls -A {corner}")).split() == PUBLIC
        assert await output(old, "ls -A /usr/local/etc") == ""
    finally:
        for handle in handles:
            await runtime.destroy(handle.id, handle)


@pytest.mark.sandbox
async def test_the_last_scan_serves_before_the_next(
    tmp_path: Path, plan: MakePlan, corner: Path
) -> None:
    _fill(corner)
    runtime = embedded(tmp_path)
    await runtime.start()
    assert await _seen(runtime, plan, corner) == PUBLIC
    for _ in range(3):
        await runtime.close()
        runtime = embedded(tmp_path)
        await runtime.start()
        assert await _seen(runtime, plan, corner) == PUBLIC
    await runtime.close()


@pytest.mark.sandbox
@pytest.mark.parametrize("moment", ["layers/usr-*", "private.new", "private.json"])
async def test_a_crash_while_looking_is_repaired(
    tmp_path: Path, plan: MakePlan, corner: Path, moment: str
) -> None:
    _fill(corner)
    with _creator(tmp_path) as creator:
        # what stands there only for a moment may be missed: the end of the scan will do then
        ends = (moment, "private.json")
        while creator.poll() is None and not any(list(tmp_path.glob(end)) for end in ends):
            await asyncio.sleep(0.001)
        os.killpg(creator.pid, signal.SIGKILL)
    runtime = embedded(tmp_path)
    await runtime.start()
    try:
        assert await _seen(runtime, plan, corner) == PUBLIC
    finally:
        for sandbox_id in await runtime.leftovers():
            await runtime.destroy(sandbox_id, None)
        await runtime.close()


@pytest.mark.sandbox
@pytest.mark.parametrize("harm", ["", '{"rules":1,"pl', '{"rules":0,"place":"","found":{}}'])
async def test_a_broken_result_is_no_result(
    tmp_path: Path, plan: MakePlan, corner: Path, harm: str
) -> None:
    _fill(corner)
    (tmp_path / "private.json").write_text(harm)
    (tmp_path / "layers/.draft-usr/local/share" / corner.name).mkdir(parents=True)
    runtime = embedded(tmp_path)
    await runtime.start()
    try:
        assert await _seen(runtime, plan, corner) == PUBLIC
    finally:
        await runtime.close()


@pytest.mark.sandbox
async def test_closing_while_looking_leaves_no_process(tmp_path: Path, plan: MakePlan) -> None:
    runtime = embedded(tmp_path)
    await runtime.start()
    waiting = asyncio.create_task(runtime.create(plan()))
    await asyncio.sleep(0)
    await runtime.close()
    await asyncio.gather(waiting, return_exceptions=True)
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    commands = [Path(f"/proc/{child}/cmdline").read_bytes() for child in children]
    assert not [command for command in commands if b"runtime.scan" in command]


def _creator(data_dir: Path) -> "subprocess.Popen[bytes]":
    path = [str(CREATOR.parent), *(entry for entry in sys.path if entry)]
    return subprocess.Popen(
        [sys.executable, str(CREATOR), str(data_dir)],
        stdout=subprocess.DEVNULL,
        env={"PYTHONPATH": os.pathsep.join(path), "PATH": os.defpath},
        start_new_session=True,
        cwd="/",
    )


def _private(folder: Path, most: int = 1000) -> list[str]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        return private_below(descriptor, known=("known",), most=most)
    finally:
        os.close(descriptor)


MODES = st.sampled_from([0o755, 0o644, 0o600, 0o640, 0o711, 0o744, 0o750])
PATHS = st.lists(st.sampled_from(["a", "b", "c", "known"]), min_size=1, max_size=4).map("/".join)


@given(tree=st.dictionaries(PATHS, MODES, max_size=12), most=st.integers(0, 4))
def test_the_scan_names_all_that_is_private(tree: dict[str, int], most: int) -> None:
    """And with no bound in its way, nothing else."""
    with TemporaryDirectory() as name:
        top = Path(name)
        for path in sorted(tree, key=len, reverse=True):
            if not (top / path).exists():
                (top / path).parent.mkdir(parents=True, exist_ok=True)
                (top / path).write_text("text")
        for path in sorted(tree, key=len, reverse=True):
            (top / path).chmod(tree[path])
        wanted = _expected(top)
        assert _private(top) == wanted
        bounded = set(_private(top, most))
        for path in wanted:
            assert bounded & {path, *map(str, Path(path).parents)}
        assert all(not bounded & {*map(str, Path(path).parents)} for path in bounded)


def _expected(top: Path) -> list[str]:
    hidden: list[str] = []
    for path in sorted(top.rglob("*")):
        relative = path.relative_to(top)
        above = {str(each) for each in (relative, *relative.parents)}
        needed = 0o005 if path.is_dir() else 0o004
        if not above & {"known", *hidden} and path.stat().st_mode & needed != needed:
            hidden.append(str(relative))
    return sorted(hidden)


def test_the_scan_follows_no_links_and_is_bounded(tmp_path: Path) -> None:
    secret = tmp_path / "outside"
    secret.mkdir(mode=0o755)
    (secret / "key").touch(0o600)
    top = tmp_path / "top"
    (top / "many").mkdir(parents=True)
    (top / "folder").symlink_to(secret)
    (top / "self").symlink_to(".")
    for number in range(5):
        (top / "many" / str(number)).touch(0o600)
    os.mkfifo(top / "pipe", 0o600)
    assert _private(top) == [*(f"many/{number}" for number in range(5)), "pipe"]
    assert _private(top, most=3) == ["many", "pipe"]
    deep = top
    for _ in range(150):
        deep = deep / "d"
        deep.mkdir()
    assert _private(top)[0].count("d/") == 101
