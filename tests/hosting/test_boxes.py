"""Boxes: a command in one, its lines, its end, its ports, and what is left of it."""

import asyncio
import os
from collections.abc import Callable

import pytest

from serai.hosting.boxes import Box, Boxes, BoxFailed, BoxPlan, Entry
from serai.hosting.runs import Ending, Run
from serai.kernel.lines import LogLine

from .conftest import Lines

pytestmark = pytest.mark.sandbox
LABEL = LogLine(
    at_ns=0, workspace="main", resource_type="agent", resource="echo", source="run", text=""
)
SERVER = """
import http.server, os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: (print("leaving", flush=True), os._exit(0)))
print("hello", os.environ["GUEST"], os.environ["PORT"], flush=True)
print("a complaint", file=sys.stderr, flush=True)
at = ("0.0.0.0", int(os.environ["PORT"]))
http.server.HTTPServer(at, http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def plan(**fields: object) -> BoxPlan:
    defaults: dict[str, object] = {
        "id": os.urandom(6).hex(),
        "name": "echo",
        "image": "blaxel/py-app:latest",
        "memory_mb": 512,
        "environment": {"GUEST": "ada", "PORT": "8123"},
    }
    return BoxPlan(**{**defaults, **fields})  # type: ignore[arg-type]


def python(source: str, **fields: object) -> Entry:
    return Entry(command=("python3", "-c", source), **fields)  # type: ignore[arg-type]


async def until(happened: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not happened():
            await asyncio.sleep(0.02)


async def served(boxes: Boxes) -> tuple[Box, Run]:
    box = await boxes.open(plan())
    run = await box.run(python(SERVER), LABEL)
    async with asyncio.timeout(60):
        while not await box.accepts(8123):
            assert not run.ended.done(), run.tail
            await asyncio.sleep(0.02)
    return box, run


async def test_a_server_in_a_box(boxes: Boxes, lines: Lines) -> None:
    box, run = await served(boxes)
    assert await run.ports() == [8123]
    assert not await box.accepts(8124)
    reader, writer = await asyncio.open_unix_connection(box.handle.port_socket)
    writer.write(b"8123\nGET / HTTP/1.0\r\n\r\n")
    assert await reader.readline() == b"ok\n"
    assert b" 200 " in await reader.readline()
    writer.close()
    await until(lambda: len(lines.kept) >= 3)
    assert lines.texts("stdout") == ["hello ada 8123"]
    assert lines.texts("stderr")[0] == "a complaint"
    assert {line.resource for line in lines.kept} == {"echo"}
    moments = [line.at_ns for line in lines.kept]
    assert moments == sorted(set(moments))
    await box.remove(run, grace=10)
    assert run.ended.result().code == 0
    assert lines.texts("stdout")[-1] == "leaving"
    assert await boxes.runtime.leftovers() == []


async def test_a_command_that_ends_tells_how(boxes: Boxes, lines: Lines) -> None:
    box = await boxes.open(plan())
    run = await box.run(python("import sys; print('no'); sys.exit(3)"), LABEL)
    ending = await asyncio.wait_for(run.ended, 60)
    assert ending == Ending(code=3)
    assert list(run.tail) == ["no"]
    assert ending.words == "ended with exit code 3"


async def test_commands_in_one_box_have_their_own_variables(boxes: Boxes, lines: Lines) -> None:
    box = await boxes.open(plan())
    source = "import os; print(os.environ['GUEST'], os.environ['TASK'])"
    for task in ("1", "2"):
        entry = python(source, name=f"task-{task}", environment={"TASK": task})
        await asyncio.wait_for((await box.run(entry, LABEL)).ended, 60)
    assert lines.texts("stdout") == ["ada 1", "ada 2"]


async def test_words_are_no_shell_text(boxes: Boxes, lines: Lines) -> None:
    box = await boxes.open(plan())
    run = await box.run(Entry(command=("echo", "$HOME; echo two")), LABEL)
    await asyncio.wait_for(run.ended, 60)
    assert lines.texts("stdout") == ["$HOME; echo two"]


async def test_a_command_that_ignores_sigterm_is_killed(boxes: Boxes, lines: Lines) -> None:
    box = await boxes.open(plan())
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True)"
    run = await box.run(python(f"{stubborn}; time.sleep(600)"), LABEL)
    await until(lambda: lines.kept)
    await run.stop(0.3)
    assert run.ended.result().stopped


async def test_the_end_of_a_box_is_the_end_of_its_command(boxes: Boxes) -> None:
    box, run = await served(boxes)
    await boxes.runtime.stop(box.handle)
    assert (await asyncio.wait_for(run.ended, 60)).code is None
    with pytest.raises(BoxFailed):
        await box.run(python("pass"), LABEL)


async def test_a_command_goes_on_while_nobody_follows_it(boxes: Boxes, lines: Lines) -> None:
    box, run = await served(boxes)
    await until(lambda: run.seen == len(lines.kept) >= 2)
    await run.close()
    before = len(lines.kept)
    again = await boxes.adopt(box.handle)
    assert again is not None
    followed = await again.follow("app", LABEL, seen=before)
    assert followed is not None
    assert await again.follow("other", LABEL) is None
    await followed.stop(10)
    assert lines.texts("stdout")[-1] == "leaving"
    assert lines.texts("stdout").count("hello ada 8123") == 1
    await again.remove()
    assert await boxes.adopt(box.handle) is None


async def test_a_suspended_box_stands_and_goes_on(boxes: Boxes) -> None:
    box, run = await served(boxes)
    await box.suspend()
    await box.resume()
    assert await box.accepts(8123)
    assert not run.ended.done()


async def test_a_command_that_cannot_start_says_why(boxes: Boxes) -> None:
    box = await boxes.open(plan())
    with pytest.raises(BoxFailed, match="working directory"):
        await box.run(python("pass", workdir="/no/such/place"), LABEL)
