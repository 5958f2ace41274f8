"""What every runtime driver must do, seen through the port alone."""

import asyncio
from pathlib import Path

import pytest
from conftest import MakePlan, MakeRuntime
from sandbox_shell import output, shell

from serai.runtime.port import Runtime, RuntimeProblem, SandboxHandle, UnknownImage

pytestmark = pytest.mark.sandbox


async def test_a_sandbox_runs_what_it_was_planned_with(runtime: Runtime, plan: MakePlan) -> None:
    handle = await runtime.create(plan(hostname="blue-inn", environment={"GUEST": "ada"}))
    assert await runtime.alive(handle)
    assert await output(handle, "hostname; echo $GUEST; id -u; pwd") == "blue-inn\nada\n0\n/blaxel"


async def test_an_image_that_is_ready_says_how_it_starts(runtime: Runtime, plan: MakePlan) -> None:
    found = await runtime.library.config(plan().image)
    assert found.workdir.startswith("/")
    assert all(isinstance(each, str) for each in (*found.entrypoint, *found.cmd))
    with pytest.raises(UnknownImage):
        await runtime.library.config("nobody/has-this:1")


async def test_files_can_be_written_anywhere_and_outlive_a_stop(
    runtime: Runtime, plan: MakePlan
) -> None:
    wanted = plan()
    places = ["/", "/usr/local/lib/", "/tmp/", "/root/", "/home/user/", "/app/", "/blaxel/"]
    files = [f"{place}note" for place in places]
    handle = await runtime.create(wanted)
    await output(handle, " && ".join(f"echo kept > {file}" for file in files))
    await output(handle, "rm /etc/services")
    await runtime.stop(handle)
    handle = await runtime.create(wanted)
    assert await output(handle, f"cat {' '.join(files)}") == "\n".join(["kept"] * len(files))
    assert (await shell(handle, "cat /etc/services"))[0] != 0


async def test_stop_ends_every_process_and_may_be_repeated(
    runtime: Runtime, plan: MakePlan
) -> None:
    handle = await runtime.create(plan())
    await output(handle, "setsid sleep 4321 >/dev/null 2>&1 &")
    await runtime.stop(handle)
    assert not await runtime.alive(handle)
    assert not _running_on_host("sleep 4321")
    await runtime.stop(handle)
    assert handle.id in await runtime.leftovers()
    with pytest.raises(OSError):
        await asyncio.open_unix_connection(handle.api_socket)


async def test_destroy_leaves_nothing_and_may_be_repeated(
    runtime: Runtime, plan: MakePlan, data_dir: Path
) -> None:
    handle = await runtime.create(plan())
    await output(handle, "mkdir -p /blaxel/a/b && chmod 000 /blaxel/a && echo x > /usr/new")
    await runtime.destroy(handle.id, handle)
    await runtime.destroy(handle.id, handle)
    await runtime.destroy(handle.id, None)
    assert await runtime.leftovers() == []
    assert not await runtime.alive(handle)
    assert [p for p in data_dir.rglob("*") if handle.id in p.name] == []
    assert not Path(handle.api_socket).exists()
    assert not [group for group in _groups() if handle.id in group]
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    below = [point for point in points if Path(point).is_relative_to(data_dir)]
    assert [point for point in below if point != str(data_dir / "pool")] == []


async def test_destroy_removes_trees_made_to_resist_it(runtime: Runtime, plan: MakePlan) -> None:
    handle = await runtime.create(plan(memory_mb=4096))
    script = (
        "import os\n"
        "for _ in range(1500): os.mkdir('deeper'); os.chdir('deeper')\n"
        "open('bottom', 'w').close()\n"
    )
    await output(handle, f'cd /blaxel && ln -s / up && python3 -c "{script}"')
    await runtime.destroy(handle.id, handle)
    assert await runtime.leftovers() == []
    assert Path("/etc/passwd").exists()


async def test_creating_again_hands_out_the_running_sandbox(
    runtime: Runtime, plan: MakePlan
) -> None:
    wanted = plan()
    first, second = await asyncio.gather(runtime.create(wanted), runtime.create(wanted))
    assert first == second
    assert await runtime.alive(first)


async def test_creating_with_another_plan_replaces_the_run(
    runtime: Runtime, plan: MakePlan
) -> None:
    first = await runtime.create(plan(id="same", environment={"N": "1"}))
    await output(first, "echo kept > /blaxel/file")
    second = await runtime.create(plan(id="same", environment={"N": "2"}))
    assert not await runtime.alive(first)
    assert await output(second, "echo $N; cat /blaxel/file") == "2\nkept"
    await runtime.stop(first)
    assert await runtime.alive(second)
    assert await output(second, "echo still here") == "still here"


async def test_twenty_at_once(runtime: Runtime, plan: MakePlan) -> None:
    plans = [plan(environment={"N": str(number)}) for number in range(20)]
    handles = await asyncio.gather(*map(runtime.create, plans))
    seen = await asyncio.gather(*(output(handle, "echo $N") for handle in handles))
    assert seen == [str(number) for number in range(20)]
    await asyncio.gather(*(runtime.destroy(handle.id, handle) for handle in handles))
    assert await runtime.leftovers() == []


@pytest.mark.parametrize("name", ["base-image", "blaxel/base-image", "sandbox/base-image:latest"])
async def test_names_of_the_base_image(runtime: Runtime, plan: MakePlan, name: str) -> None:
    handle = await runtime.create(plan(image=name))
    assert await runtime.alive(handle)


async def test_an_image_that_is_there_is_ready_at_once(runtime: Runtime) -> None:
    await runtime.library.ready("blaxel/base-image:latest", 0.5)
    assert "blaxel/base-image:latest" in [info.reference for info in runtime.library.infos()]
    with pytest.raises(UnknownImage):
        await runtime.library.ready("blaxel/no-such-image:latest", 20)


@pytest.mark.parametrize(
    "name",
    [
        "blaxel/no-such-image:latest",
        "blaxel/base-image:1.2",
        "base-image:",
        "evil/base-image",
        "",
        "a/b/base-image",
    ],
)
async def test_an_unknown_image_names_the_known_ones(
    runtime: Runtime, plan: MakePlan, name: str
) -> None:
    with pytest.raises(UnknownImage, match="blaxel/base-image:latest"):
        await runtime.create(plan(image=name))
    assert await runtime.leftovers() == []


@pytest.mark.parametrize("sandbox_id", ["", "..", "a/b", "UPPER", "x" * 33])
async def test_ids_that_are_no_ids_are_refused(
    runtime: Runtime, plan: MakePlan, sandbox_id: str
) -> None:
    with pytest.raises(RuntimeProblem, match="id"):
        await runtime.create(plan(id=sandbox_id))
    with pytest.raises(RuntimeProblem, match="id"):
        await runtime.destroy(sandbox_id, None)


async def test_ports_inside_are_reached_through_the_port_socket(
    runtime: Runtime, plan: MakePlan
) -> None:
    handle = await runtime.create(plan())
    await output(handle, "echo hello > index.html; python3 -m http.server 80 >/dev/null 2>&1 &")
    for _ in range(200):
        reader, writer = await asyncio.open_unix_connection(handle.port_socket)
        writer.write(b"80\n")
        if await reader.readline() == b"ok\n":
            break
        await asyncio.sleep(0.05)
    writer.write(b"GET /index.html HTTP/1.0\r\n\r\n")
    assert (await reader.read()).endswith(b"hello\n")
    writer.close()


async def test_a_second_runtime_finds_the_sandboxes_of_the_first(
    runtime: Runtime, make_runtime: MakeRuntime, plan: MakePlan, data_dir: Path
) -> None:
    handle = await runtime.create(plan())
    await runtime.close()
    second = make_runtime(data_dir)
    await second.start()
    try:
        assert await second.leftovers() == [handle.id]
        assert await second.alive(handle)
        assert await output(handle, "echo hi") == "hi"
        await second.destroy(handle.id, None)
        assert not await second.alive(handle)
    finally:
        await second.close()


COUNTER = "setsid sh -c 'while :; do echo x >> /tmp/count; sleep 0.01; done' >/dev/null 2>&1 &"


async def test_a_suspended_sandbox_stands_and_goes_on_where_it_was(
    runtime: Runtime, plan: MakePlan, data_dir: Path
) -> None:
    if runtime.level == "container":
        pytest.skip("files of containers are the engine's: nothing to watch from outside")
    handle = await runtime.create(plan())
    await output(handle, COUNTER)
    (count,) = await _found(data_dir, "count")
    for _ in range(3):
        assert not await runtime.suspended(handle)
        await runtime.suspend(handle)
        await runtime.suspend(handle)
        assert await runtime.suspended(handle)
        assert await runtime.alive(handle)
        before = count.stat().st_size
        await asyncio.sleep(0.1)
        assert count.stat().st_size == before
        waiting = asyncio.create_task(output(handle, "echo here"))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await runtime.resume(handle)
        await runtime.resume(handle)
        assert await waiting == "here"
        await asyncio.sleep(0.1)
        assert count.stat().st_size > before


async def test_a_suspended_sandbox_is_stopped_replaced_and_destroyed_like_any_other(
    runtime: Runtime, plan: MakePlan
) -> None:
    wanted = plan(id="slept")
    for end in ("stop", "replace", "create", "destroy"):
        handle = await runtime.create(wanted)
        await output(handle, "setsid sleep 4322 >/dev/null 2>&1 &")
        await runtime.suspend(handle)
        if end == "stop":
            await runtime.stop(handle)
        elif end == "replace":
            handle = await runtime.create(plan(id="slept", environment={"N": "2"}))
            assert await output(handle, "echo $N") == "2"
        elif end == "create":
            assert await runtime.create(wanted) == handle
            assert await output(handle, "echo awake") == "awake"
            await runtime.stop(handle)
        else:
            await runtime.destroy(handle.id, None)
        assert not _running_on_host("sleep 4322")
    assert await runtime.leftovers() == []


async def test_a_second_runtime_sees_what_is_suspended(
    runtime: Runtime, make_runtime: MakeRuntime, plan: MakePlan, data_dir: Path
) -> None:
    asleep, awake = await runtime.create(plan()), await runtime.create(plan())
    await runtime.suspend(asleep)
    await runtime.close()
    second = make_runtime(data_dir)
    await second.start()
    try:
        assert await second.suspended(asleep)
        assert not await second.suspended(awake)
        await second.resume(asleep)
        assert await output(asleep, "echo hi") == "hi"
        await second.suspend(asleep)
        await second.destroy(asleep.id, asleep)
        await second.destroy(awake.id, awake)
        assert await second.leftovers() == []
    finally:
        await second.close()


async def test_what_has_ended_cannot_be_suspended(runtime: Runtime, plan: MakePlan) -> None:
    handle = await runtime.create(plan())
    await runtime.stop(handle)
    with pytest.raises(RuntimeProblem, match="ended"):
        await runtime.suspend(handle)
    assert not await runtime.suspended(handle)
    await runtime.resume(handle)


async def _found(data_dir: Path, name: str) -> list[Path]:
    for _ in range(200):
        if found := list(data_dir.rglob(f"upper/**/{name}")):
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(f"no file {name}")


async def test_a_foreign_handle_is_refused(runtime: Runtime) -> None:
    handle = SandboxHandle(id="abc", api_socket="/a", port_socket="/b", state="{}")
    with pytest.raises(RuntimeProblem, match="abc"):
        await runtime.alive(handle)


def _running_on_host(command: str) -> bool:
    wanted = command.replace(" ", "\0") + "\0"
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_text() == wanted:
                return True
        except OSError:
            continue
    return False


def _groups() -> set[str]:
    return {str(p) for p in Path("/sys/fs/cgroup").glob("**/serai-*/*") if p.is_dir()}
