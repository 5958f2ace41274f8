"""Sandboxes whose files come from an image, with the real sandbox API inside."""

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from oci_images import BUSYBOX, ImageFiles, busybox_image, entry, static_busybox, tar
from serai.runtime.embedded import EmbeddedRuntime
from serai.runtime.port import RuntimeProblem, SandboxHandle, SandboxPlan
from serai.runtime.roots.policy import Policy
from serai.runtime.roots.provider import Images

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all: the first start looks for private files."""
    return tmp_path_factory.mktemp("images") / "data"


@pytest.fixture
async def runtime(data_dir: Path) -> AsyncIterator[EmbeddedRuntime]:
    made = EmbeddedRuntime(data_dir, policy=Policy(registries=()))
    await made.start()
    yield made
    for sandbox_id in await made.leftovers():
        await made.destroy(sandbox_id, None)
    await made.close()


Add = Callable[[ImageFiles, str], Awaitable[str]]


@pytest.fixture
def add(runtime: EmbeddedRuntime, tmp_path: Path) -> Add:
    """Imports an image under a name; answers its digest."""

    async def add(files: ImageFiles, name: str) -> str:
        folder = files.write(tmp_path / os.urandom(4).hex())
        images = of(runtime)
        return (await images.maker.take_in(folder, name, "", lambda text: None)).digest

    return add


def of(runtime: EmbeddedRuntime) -> Images:
    assert runtime.library.images is not None
    return runtime.library.images


def plan(image: str, **fields: Any) -> SandboxPlan:
    given: dict[str, Any] = {"id": os.urandom(6).hex(), "hostname": "inn", "environment": {}}
    return SandboxPlan(image=image, **({**given, "memory_mb": 512} | fields))


async def call(handle: SandboxHandle, method: str, path: str, body: Any = None) -> Any:
    connector = aiohttp.UnixConnector(path=handle.api_socket)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.request(method, f"http://sandbox{path}", json=body) as answer,
    ):
        content = await answer.json(content_type=None)
        assert answer.status < 300, content
        return content


async def run(handle: SandboxHandle, command: str) -> str:
    done = await call(handle, "POST", "/process", {"command": command, "waitForCompletion": True})
    assert done["exitCode"] == 0, done
    return str(done["stdout"]).strip()


async def test_an_image_of_one_static_binary(runtime: EmbeddedRuntime, add: Add) -> None:
    """No shell, no Python, no C library, no /tmp, no /etc: the sandbox API needs none of it."""
    await add(busybox_image(WorkingDir="/srv/here"), "tests/static:1")
    handle = await runtime.create(plan("tests/static:1"))
    assert await run(handle, "/busybox pwd") == "/srv/here"
    seen = (await run(handle, "/busybox ls /")).split()
    assert "busybox" in seen
    assert "bin" not in seen
    assert "usr" not in seen
    assert await run(handle, "/busybox id -u") == "0"
    assert await run(handle, "/busybox stat -c %a /tmp") == "1777"
    await call(handle, "PUT", "/filesystem//tmp/note", {"content": "kept"})
    assert (await call(handle, "GET", "/filesystem//tmp/note"))["content"] == "kept"
    names = [item["name"] for item in (await call(handle, "GET", "/filesystem//"))["files"]]
    assert "busybox" in names
    assert (await call(handle, "GET", "/health"))["status"] == "ok"
    assert "inn" in await run(handle, "/busybox cat /etc/hosts")


async def test_layers_whiteouts_and_the_images_own_files(
    runtime: EmbeddedRuntime, add: Add
) -> None:
    shell = [
        entry("bin", type=b"5"),
        entry("bin/busybox", static_busybox(), mode=0o755),
        entry("bin/sh", type=b"2", linkname="busybox"),
    ]
    lower = tar(*shell, entry("data/old", b"1"), entry("data/kept", b"2"), entry("srv/x", b"3"))
    middle = tar(entry("data/.wh.old"), entry("srv/.wh..wh..opq"), entry("srv/y", b"4", uid=7))
    upper = tar(entry("data/new", b"5"), entry("etc/passwd", b"root:x:0:0::/:/bin/sh\n"))
    files = ImageFiles(lower, middle, upper, Env=["GREETING=hello there", "PATH=/bin"])
    await add(files, "tests/layers:1")
    wanted = plan("tests/layers:1", environment={"OWN": "mine"})
    handle = await runtime.create(wanted)
    assert await run(handle, "busybox ls /data") == "kept\nnew"
    assert await run(handle, "busybox ls /srv") == "y"
    assert await run(handle, "busybox stat -c %u /srv/y") == ("7" if os.geteuid() == 0 else "0")
    assert await run(handle, "echo $GREETING, $OWN, $HOME") == "hello there, mine, /root"
    await run(handle, "echo changed > /data/kept; busybox rm /data/new")
    other = await runtime.create(plan("tests/layers:1"))
    assert await run(other, "busybox cat /data/kept /data/new") == "25"
    await runtime.stop(handle)
    handle = await runtime.create(wanted)
    assert await run(handle, "busybox cat /data/kept; busybox ls /data") == "changed\nkept"


async def test_an_entry_point_runs_and_is_waited_for(runtime: EmbeddedRuntime, add: Add) -> None:
    files = busybox_image(
        Entrypoint=["/busybox", "httpd", "-f"], Cmd=["-p", "8000", "-h", "/"], Env=["PATH=/"]
    )
    await add(files, "tests/server:1")
    handle = await runtime.create(plan("tests/server:1"))
    known = await call(handle, "GET", "/process")
    assert [(each["name"], each["status"]) for each in known] == [("entrypoint", "running")]


async def test_a_sandbox_keeps_its_image_while_the_name_moves_on(
    runtime: EmbeddedRuntime, add: Add, data_dir: Path
) -> None:
    def version(text: bytes) -> ImageFiles:
        binary = entry("busybox", static_busybox(), mode=0o755)
        return ImageFiles(tar(binary), tar(entry("version", text)))

    images = of(runtime)
    first = await add(version(b"one"), "tests/moving:1")
    wanted = plan("tests/moving:1")
    handle = await runtime.create(wanted)
    second = await add(version(b"two"), "tests/moving:1")
    assert first != second
    images.prune()
    assert await run(handle, "/busybox cat /version") == "one"
    await runtime.stop(handle)
    images.prune()
    handle = await runtime.create(wanted)
    assert await run(handle, "/busybox cat /version") == "one"
    fresh = await runtime.create(plan("tests/moving:1"))
    assert await run(fresh, "/busybox cat /version") == "two"
    await runtime.close()
    again = EmbeddedRuntime(data_dir)
    await again.start()
    try:
        assert await again.alive(handle)
        await again.stop(handle)
        handle = await again.create(wanted)
        assert await run(handle, "/busybox cat /version") == "one"
        await again.destroy(handle.id, handle)
        assert of(again).store.image(first) is not None
        assert of(again).prune() > 0
        assert of(again).store.image(first) is None
        assert of(again).store.image(second) is not None
    finally:
        await again.close()


async def test_saved_files_and_copies_stay_with_their_image(
    runtime: EmbeddedRuntime, add: Add
) -> None:
    def version(text: bytes) -> ImageFiles:
        binary = entry("busybox", static_busybox(), mode=0o755)
        return ImageFiles(tar(binary), tar(entry("version", text)))

    await add(version(b"one"), "tests/saved:1")
    handle = await runtime.create(plan("tests/saved:1"))
    await run(handle, "/busybox sh -c 'echo mine > /note'")
    await runtime.files.save(handle.id, "kept")
    copied = plan("tests/saved:1")
    await runtime.files.copy(handle.id, copied.id)
    await add(version(b"two"), "tests/saved:1")
    await runtime.destroy(handle.id, handle)
    of(runtime).prune()
    fork = await runtime.create(plan("tests/saved:1", files_from=("kept",)))
    assert await run(fork, "/busybox cat /version /note") == "onemine"
    assert await run(await runtime.create(copied), "/busybox cat /version /note") == "onemine"
    await runtime.files.drop("kept")


async def test_hostile_images_are_refused_with_a_reason(runtime: EmbeddedRuntime, add: Add) -> None:
    for number, members in enumerate(
        (
            [entry("proc", type=b"2", linkname="/tmp")],
            [entry("dev", b"a file")],
            [entry("sys", type=b"2", linkname="../../..")],
        )
    ):
        binary = entry("busybox", static_busybox(), mode=0o755)
        await add(ImageFiles(tar(binary, *members)), f"tests/hostile:{number}")
        with pytest.raises(RuntimeProblem, match="no directory"):
            await runtime.create(plan(f"tests/hostile:{number}"))
    assert await runtime.leftovers() == []


async def test_a_working_directory_that_is_a_descriptor_of_ours(
    runtime: EmbeddedRuntime, add: Add
) -> None:
    """``/proc/self/fd`` of the process that enters it would lead to what no path leads to."""
    binary = entry("busybox", static_busybox(), mode=0o755)
    for number in range(3, 14):
        link = entry("way", type=b"2", linkname=f"/proc/self/fd/{number}")
        await add(ImageFiles(tar(binary, link), WorkingDir="/way"), f"tests/way:{number}")
        with pytest.raises(RuntimeProblem, match=r"leads out|exists|No such file"):
            await runtime.create(plan(f"tests/way:{number}"))
    assert await runtime.leftovers() == []


async def test_what_an_image_lacks_altogether(runtime: EmbeddedRuntime, add: Add) -> None:
    await add(ImageFiles(tar(entry("only", b"a file"))), "tests/empty:1")
    handle = await runtime.create(plan("tests/empty:1"))
    assert (await call(handle, "GET", "/filesystem//only"))["content"] == "a file"
    with pytest.raises(AssertionError, match="no such file"):
        await run(handle, "ls")


async def test_an_image_that_is_not_here_is_no_reason_to_hang(runtime: EmbeddedRuntime) -> None:
    with pytest.raises(RuntimeProblem, match="there is no image"):
        await runtime.library.ready("tests/never:1", 5)
    with pytest.raises(RuntimeProblem, match=r"not pulled from registry\.example"):
        await runtime.library.ready("registry.example/x:1", 5)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
async def test_without_root_the_files_are_ours(tmp_path: Path) -> None:
    """The store of another user, made and run by a process of theirs."""
    import subprocess
    import sys

    python = shutil.which("python3", path="/usr/local/bin:/usr/bin")
    if python is None or not BUSYBOX.exists():
        pytest.skip("needs a Python of the system, and busybox-static")
    home = Path("/tmp") / f"serai-test-{os.urandom(4).hex()}"
    home.mkdir(mode=0o755)
    files = ImageFiles(
        tar(
            entry("busybox", static_busybox(), mode=0o755, uid=3),
            entry("old", b"1"),
            entry("srv/old", b"1"),
        ),
        tar(entry(".wh.old"), entry("srv/.wh..wh..opq"), entry("secret", b"s", mode=0o600)),
    )
    files.write(home / "layout")
    os.chmod(home, 0o777)
    try:
        done = subprocess.run(
            [python, str(Path(__file__).parent / "creating_of_image.py"), str(home)],
            user=65534,
            group=65534,
            extra_groups=[],
            env={"PATH": os.defpath, "HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=False,
        )
        if "ModuleNotFoundError" in done.stderr or "ImportError" in done.stderr:
            pytest.skip(f"{python} cannot run Serai here: {done.stderr[-200:]}")
        assert done.stdout.splitlines() == ["0", "busybox", "0 600", ""], done.stderr
    finally:
        shutil.rmtree(home)
