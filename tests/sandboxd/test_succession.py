"""Replacing the API while everything in the sandbox goes on."""

import asyncio
import http.client
import json
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest

from serai.runtime.guest import tree
from serai.sandboxd.handover import Handover, seal, unseal

from .client import Answer, Sandbox, UnixConnection, eventually, running

Versions = tuple[Path, str]


@pytest.fixture(scope="session")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Versions:
    """A directory of versions, and the name of the one in it."""
    built = tree.build(tmp_path_factory.mktemp("versions"), "serai.sandboxd.main")
    return built.parent, built.name


@pytest.fixture
def box(versions: Versions, tmp_path: Path) -> Iterator[Sandbox]:
    place = ("--successors", str(versions[0]))
    with running(tmp_path, "--stop-grace", "0.5", "--keepalive", "0.3", *place) as sandbox:
        yield sandbox


def upgrade(box: Sandbox, name: str, version: str = "develop") -> Any:
    """Ask for it, and wait for its end; what ``/health`` says then."""
    before = box.call("GET", "/health").json["lastUpgrade"].get("lastAttempt")
    answer = box.call("POST", "/upgrade", {"version": version}, {"X-Serai-Successor": name})
    assert answer.status == 200, answer.body

    def over() -> Any:
        health = box.call("GET", "/health").json
        last = health["lastUpgrade"]
        is_new = last.get("lastAttempt") != before
        return health if is_new and last["status"] in ("completed", "failed") else None

    return eventually(over, 90)


def completed(box: Sandbox, versions: Versions) -> Any:
    """Upgrade, and see that another program serves now."""
    health = upgrade(box, versions[1])
    last = health["lastUpgrade"]
    assert (last["status"], last["step"]) == ("completed", "completed"), last
    assert f"{versions[1]}/bin/successor" in Path(f"/proc/{box.pid}/maps").read_text()
    return health


def test_processes_their_output_and_exit_codes_survive(box: Sandbox, versions: Versions) -> None:
    before = box.call("GET", "/health").json
    box.run("echo done; exit 3", name="ended")
    started = box.start("echo begin; read it; echo $it; exit 7", name="through", stdin=True)
    health = completed(box, versions)
    assert (health["upgradeCount"], health["startedAt"]) == (1, before["startedAt"])
    assert box.call("POST", "/process/through/stdin", b"more\n").status == 200
    found = box.wait("through")
    assert (found["pid"], found["exitCode"]) == (started["pid"], 7)
    assert (found["status"], found["stdout"]) == ("failed", "begin\nmore\n")
    ended = box.call("GET", "/process/ended").json
    assert (ended["exitCode"], ended["stdout"]) == (3, "done\n")
    assert box.run("echo $FROM_CONFIG; pwd")["stdout"] == f"yes\n{box.workdir}\n"
    assert completed(box, versions)["upgradeCount"] == 2, "it can be replaced again"
    assert box.call("GET", "/process/through").json["exitCode"] == 7


def test_what_ends_meanwhile_is_collected(box: Sandbox, versions: Versions) -> None:
    """Many short processes run across the change; none is lost and none stays a zombie."""
    names = [f"short-{number}" for number in range(20)]
    for number, name in enumerate(names):
        box.start(f"sleep {number / 10}; echo {name}; exit {number}", name=name)
    completed(box, versions)
    for number, name in enumerate(names):
        found = box.wait(name)
        assert (found["exitCode"], found["stdout"]) == (number, f"{name}\n")
    children = Path(f"/proc/{box.pid}/task/{box.pid}/children")
    eventually(lambda: children.read_text() == "")


def test_timers_go_on(box: Sandbox, versions: Versions) -> None:
    box.start("sleep 1000", name="kept", keepAlive=True, timeout=3)
    fails = "test -e tried && sleep 1000; touch tried; sleep 2; exit 1"
    box.start(fails, name="again", restartOnFailure=True, maxRestarts=1)
    begin = time.monotonic()
    completed(box, versions)
    assert box.wait("kept")["status"] == "killed"
    assert time.monotonic() - begin < 60
    eventually(lambda: box.call("GET", "/process/again").json["restartCount"] == 1)
    box.call("DELETE", "/process/again")
    assert box.wait("again")["status"] == "stopped"


class Stream(threading.Thread):
    """Reads an answer to its end in the background."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        super().__init__(daemon=True)
        self.response = response
        self.body = b""
        self.start()

    def run(self) -> None:
        while data := self.response.read1(65536):
            self.body += data

    def whole(self) -> str:
        self.join(60)
        assert not self.is_alive()
        text = self.body.decode().replace("[keepalive]\n", "")
        return "".join(each for each in text.splitlines(True) if '"keepalive"' not in each)


PRINTS = "for i in $(seq 60); do echo line-$i; printf é; sleep 0.1; done"


def test_streams_go_on_without_a_gap(box: Sandbox, versions: Versions) -> None:
    """A log stream, a streaming exec, and two calls that wait; each byte comes once."""
    events = Stream(
        box.open(
            "POST",
            "/process",
            {"command": PRINTS, "name": "prints"},
            {"Accept": "text/event-stream"},
        )
    )
    lines = Stream(box.open("GET", "/process/prints/logs/stream"))
    answers: list[Answer] = []
    calls = (
        ("GET", "/process/prints/wait?timeout=60", None),
        ("POST", "/process", {"command": "sleep 6; echo $$", "waitForCompletion": True}),
    )
    waits = [
        threading.Thread(target=lambda call=call: answers.append(box.call(*call))) for call in calls
    ]
    for wait in waits:
        wait.start()
    time.sleep(0.5)
    completed(box, versions)
    wanted = "".join(f"line-{number}\né" for number in range(1, 61))
    assert lines.whole() == "".join(f"stdout:{line}\n" for line in wanted.split("\n"))
    said = [json.loads(line) for line in events.whole().splitlines()]
    assert "".join(each["data"] for each in said if each["type"] == "stdout") == wanted
    assert (said[-1]["type"], json.loads(said[-1]["data"])["exitCode"]) == ("result", 0)
    for wait in waits:
        wait.join(60)
    assert sorted(answer.json["status"] for answer in answers) == ["completed", "completed"]


def test_watches_and_idle_connections_go_on(
    box: Sandbox, versions: Versions, tmp_path: Path
) -> None:
    folder = tmp_path / "watched"
    folder.mkdir()
    idle = UnixConnection(box.api)
    idle.request("GET", "/health")
    idle.getresponse().read()
    watch = box.open("GET", f"/watch/filesystem/{folder}/**")
    (folder / "before").touch()
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.wait(0.02):
            (folder / f"file-{number}").touch()
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    completed(box, versions)
    stop.set()
    writer.join()
    (folder / "last").touch()
    seen: list[str] = []
    while "last" not in seen:
        line = watch.readline()
        assert line, "the watch has ended"
        if line != b"[keepalive]\n":
            change = json.loads(line)
            seen += [change["name"]] if change["op"] == "CREATE" else []
    written = sorted(path.name for path in folder.iterdir())
    assert sorted(seen) == written, "each file is told once"
    sock = idle.sock
    idle.request("GET", "/process")
    assert idle.getresponse().status == 200
    assert idle.sock is sock, "over the same connection"


async def test_a_terminal_and_its_client_go_on(box: Sandbox, versions: Versions) -> None:
    url = f"http://sandbox/terminal/ws?{urlencode({'sessionId': 'one', 'shell': '/bin/sh'})}"
    connector = aiohttp.UnixConnector(path=str(box.api))
    async with aiohttp.ClientSession(connector=connector) as session, session.ws_connect(url) as ws:

        async def shows(text: str) -> str:
            seen = ""
            async with asyncio.timeout(60):
                while text not in seen:
                    seen += json.loads(await ws.receive_str())["data"]
            return seen

        await ws.send_str(json.dumps({"type": "input", "data": "KEPT=still-here; echo pid-$$.\n"}))
        await shows("pid-")
        await asyncio.to_thread(completed, box, versions)
        await ws.send_str(json.dumps({"type": "input", "data": "echo $KEPT\n"}))
        await shows("still-here")
        await ws.send_str(json.dumps({"type": "input", "data": "exit\n"}))
        async with asyncio.timeout(30):
            while (await ws.receive()).type == aiohttp.WSMsgType.TEXT:
                pass


def test_connections_to_ports_go_on(box: Sandbox, versions: Versions) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.socket(socket.AF_UNIX)
        ours.settimeout(30)
        ours.connect(str(box.port))
        ours.sendall(f"{server.getsockname()[1]}\n".encode())
        assert ours.recv(16) == b"ok\n"
        theirs, _ = server.accept()
        theirs.settimeout(30)
        completed(box, versions)
        ours.sendall(b"in")
        assert theirs.recv(16) == b"in"
        theirs.sendall(b"out")
        assert ours.recv(16) == b"out"
        theirs.close()
        assert ours.recv(16) == b""
        ours.close()


def test_nobody_is_refused_meanwhile(box: Sandbox, versions: Versions) -> None:
    """New connections wait in the socket's queue; every request is answered."""
    stop, problems, served = threading.Event(), list[str](), list[int]()

    def call() -> None:
        while not stop.is_set():
            try:
                answer = box.call("PUT", f"/filesystem/{box.workdir}/f", {"content": "x"})
                served.append(answer.status)
            except OSError as error:
                problems.append(str(error))

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    try:
        completed(box, versions)
    finally:
        stop.set()
        for caller in callers:
            caller.join()
    assert not problems
    assert set(served) == {200}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda folder: (folder / "successor.json").unlink(), "cannot be read"),
        (lambda folder: (folder / "successor.json").write_text('["/nowhere"]'), "no such file"),
        (
            lambda folder: (folder / "successor.json").write_text(
                '["/bin/sh", "-c", "echo it is broken; exit 3"]'
            ),
            "it is broken",
        ),
        # It rehearses well, and then cannot be executed.
        (
            lambda folder: (folder / "successor.json").write_text(json.dumps(["{tree}/once", "x"])),
            "permission denied",
        ),
    ],
)
def test_a_version_that_does_not_work_leaves_the_old_one_serving(
    tmp_path: Path, change: Any, says: str
) -> None:
    folder = tmp_path / "versions" / "broken"
    folder.mkdir(parents=True)
    (folder / "successor.json").write_text("[]")
    (folder / "once").write_text("#!/bin/sh\nchmod a-x $0\nexit 0\n")
    (folder / "once").chmod(0o755)
    change(folder)
    with running(tmp_path, "--successors", str(folder.parent)) as box:
        box.start("sleep 2; exit 5", name="through")
        lines = Stream(box.open("GET", "/process/through/logs/stream"))
        health = upgrade(box, "broken")
        assert health["lastUpgrade"]["status"] == "failed"
        assert says in health["lastUpgrade"]["error"].lower()
        assert health["upgradeCount"] == 0
        assert box.wait("through")["exitCode"] == 5
        lines.whole()
        for name in ("../broken", "none", ""):
            assert upgrade(box, name)["lastUpgrade"]["status"] == "failed"
        assert box.run("echo fine")["stdout"] == "fine\n"


def test_the_program_cannot_be_read_by_anybody(versions: Versions) -> None:
    """It makes the kernel keep the process closed; see the decision on it."""
    program = versions[0] / versions[1] / "bin" / "successor"
    assert stat.S_IMODE(program.stat().st_mode) == 0o111


def test_what_is_handed_over_cannot_be_changed() -> None:
    file = seal(Handover(version="1"))
    for change in (
        lambda: os.pwrite(file, b"x", 0),
        lambda: os.ftruncate(file, 0),
        lambda: os.ftruncate(file, 1 << 20),
    ):
        with pytest.raises(PermissionError):
            change()
    assert unseal(file).version == "1"
    os.close(file)
    unsealed = os.memfd_create("other", os.MFD_ALLOW_SEALING)
    with pytest.raises(ValueError, match="not sealed"):
        unseal(unsealed)
    os.close(unsealed)


def test_no_descriptor_of_it_reaches_a_program(box: Sandbox, versions: Versions) -> None:
    completed(box, versions)
    listed = box.run("ls -l /proc/self/fd")["stdout"]
    assert "handover" not in listed
    assert len([line for line in listed.splitlines() if "->" in line]) <= 4, listed
