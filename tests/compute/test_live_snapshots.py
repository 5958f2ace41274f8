"""Snapshots and forks with processes and memory, of a server whose sandboxes gVisor runs."""

import contextlib
import itertools
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from compute.conftest import create
from compute.test_snapshots import fork, kept, refusal, run, snapshot, until
from platform_server import KEY, Server
from serai.runtime.host import is_host_root
from serai.runtime.oci.program import find

pytestmark = pytest.mark.sandbox
numbers = itertools.count()
IN_MEMORY = "i=0; while :; do i=$((i+1)); echo $i > /tmp/n; sleep 0.02; done"
"""Counts where nobody can read it; what it writes is only how far it is."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of this module's own, which some tests kill."""
    if "runsc" not in os.environ.get("SERAI_TEST_DRIVERS", ""):
        pytest.skip("gVisor is tested by `make test-drivers`")
    if not is_host_root() or not find("runsc"):
        pytest.skip("needs root and runsc (Debian: bookworm-backports)")
    made = Server(tmp_path_factory.mktemp("live") / "data", SERAI_RUNTIME="runsc").start()
    yield made
    made.stop()


@pytest.fixture
def api(server: Server) -> Iterator[httpx.Client]:
    with server.client_for(KEY) as client:
        client.timeout = httpx.Timeout(90)
        yield client


@pytest.fixture(autouse=True)
def nothing_left(server: Server) -> Iterator[None]:
    yield
    with server.client_for(KEY) as api:
        for one in api.get("/v0/sandboxes").json()["data"]:
            api.delete(f"/v0/sandboxes/{one['metadata']['name']}")
        for one in api.get("/v0/snapshots").json()["data"]:
            assert api.delete(f"/v0/snapshots/{one['id']}").status_code == 204
        until(lambda: not kept(server, "saved") | kept(server, "saved-memory"))
        until(lambda: not kept(server, "memory"))


@pytest.fixture
def name(api: httpx.Client) -> str:
    return f"live-{next(numbers)}"


def start(api: httpx.Client, sandbox: str, command: str, name: str) -> dict[str, Any]:
    """A process that goes on after the answer."""
    body = {"command": command, "name": name}
    begun = api.post(f"/main/sandboxes/{sandbox}/process", json=body)
    assert begun.status_code == 200, begun.text
    return dict(begun.json())


def count(api: httpx.Client, sandbox: str) -> int:
    """How far the counter is that runs there, which must go on counting."""
    first = _written(api, sandbox)
    until(lambda: _written(api, sandbox) > first)
    return first


def _written(api: httpx.Client, sandbox: str) -> int:
    """What the counter wrote last; its file is empty for a moment each time."""
    for _ in range(100):
        if written := run(api, sandbox, "cat /tmp/n || true").strip():
            return int(written)
    return 0


def test_processes_go_on_in_place_and_in_forks(
    api: httpx.Client, server: Server, name: str
) -> None:
    create(api, name)
    process = start(api, name, IN_MEMORY, "counter")
    until(lambda: count(api, name) > 20)
    made = snapshot(api, name, "counting")
    assert made["contents"] == "memory"
    assert api.get(f"/v0/snapshots/{made['id']}").json() == made
    taken = count(api, name)
    assert taken > 20, "the sandbox goes on"

    for target, path in (
        ("of-snapshot", f"snapshots/{made['id']}"),
        ("of-live", f"sandboxes/{name}"),
    ):
        answer = fork(api, path, target)
        assert (answer.status_code, answer.json()["contents"]) == (200, "memory"), answer.text
        assert count(api, target) >= 20, "no counter that began anew could be there"
        shown = api.get(f"/main/sandboxes/{target}/process/counter").json()
        assert (shown["status"], shown["pid"]) == ("running", process["pid"])
        assert (
            run(api, target, "hostname; cat /etc/hostname; echo $HOSTNAME").split() == [target] * 3
        )
        assert target in run(api, target, "cat /etc/hosts")
    ids = [run(api, each, "cat /etc/machine-id") for each in (name, "of-snapshot", "of-live")]
    drawn = [run(api, each, "head -c 16 /dev/urandom | od -An -tx1") for each in (name, "of-live")]
    assert len(set(ids)) == 3
    assert len(set(drawn)) == 2

    run(api, name, "kill -9 $(pgrep -f 'while :' | head -1); echo -1 > /tmp/n")
    before = api.get(f"/v0/sandboxes/{name}").json()["metadata"]["url"]
    done = api.post(f"/v0/sandboxes/{name}/snapshots/counting/restore")
    assert done.status_code == 200, done.text
    assert 20 <= count(api, name) < taken + 400
    assert api.get(f"/v0/sandboxes/{name}").json()["metadata"]["url"] == before
    assert run(api, name, "hostname") == name


def test_memory_goes_with_its_snapshot_and_files_with_their_last_sandbox(
    api: httpx.Client, server: Server, name: str
) -> None:
    create(api, name)
    made = snapshot(api, name)
    assert fork(api, f"snapshots/{made['id']}", "lies-on-it").json()["contents"] == "memory"
    assert (kept(server, "saved-memory"), kept(server, "memory")) == ({made["id"]}, set())
    assert api.delete(f"/v0/snapshots/{made['id']}").status_code == 204
    until(lambda: not kept(server, "saved-memory"))
    assert kept(server, "saved") == {made["id"]}
    assert run(api, "lies-on-it", "hostname") == "lies-on-it"
    assert api.delete("/v0/sandboxes/lies-on-it").status_code == 200
    until(lambda: not kept(server, "saved"))


def test_what_a_request_meets_while_a_snapshot_is_taken(api: httpx.Client, name: str) -> None:
    create(api, name)
    start(api, name, IN_MEMORY, "counter")
    run(api, name, "mkfifo /tmp/tube")
    taken: list[dict[str, Any]] = []
    waiting: list[httpx.Response] = []

    def wait() -> None:
        body = {"command": "sleep 1000", "name": "long", "waitForCompletion": True}
        with api_of(api) as own:
            waiting.append(own.post(f"/main/sandboxes/{name}/process", json=body))

    patient = threading.Thread(target=wait)
    patient.start()
    until(lambda: "long" in api.get(f"/main/sandboxes/{name}/process").text)
    taker = threading.Thread(target=lambda: taken.append(snapshot(api, name)))
    taker.start()
    answers = []
    with api_of(api) as other:
        while taker.is_alive():
            answers.append(other.get(f"/main/sandboxes/{name}/process/counter").status_code)
    taker.join()
    patient.join()
    assert set(answers) == {200}, "those that come meanwhile wait"
    assert [one.status_code for one in waiting] == [503], waiting[0].text
    assert "snapshot" in waiting[0].json()["error"]
    long = api.get(f"/main/sandboxes/{name}/process/long").json()
    assert long["status"] == "running", "only the request has ended"
    assert taken[0]["contents"] == "memory"
    assert count(api, name)


def api_of(api: httpx.Client) -> httpx.Client:
    """Another client with the same rights."""
    return httpx.Client(base_url=api.base_url, headers=api.headers, timeout=60, trust_env=False)


SERVER = """
import http.server, socket, socketserver
listener = socket.create_server(("127.0.0.1", 4001))
client = socket.create_connection(("127.0.0.1", 4001))
held, _ = listener.accept()
local = socket.socket(socket.AF_UNIX)
local.bind("/tmp/own.sock")
local.listen()
said = 0

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        global said
        said += 1
        client.sendall(b"%3d" % said)
        body = held.recv(3)
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(body)

socketserver.ThreadingTCPServer(("127.0.0.1", 4000), Answer).serve_forever()
"""


def test_sockets_within_a_sandbox_stay_connected(api: httpx.Client, name: str) -> None:
    create(api, name)
    path = f"/main/sandboxes/{name}/filesystem/%2Ftmp%2Fserver.py"
    assert api.put(path, json={"content": SERVER}).status_code == 200
    start(api, name, "python3 /tmp/server.py", "server")
    until(lambda: asked(api, name).strip().isdigit())
    said = int(asked(api, name))
    made = snapshot(api, name)
    assert made["contents"] == "memory"
    assert int(asked(api, name)) == said + 1
    assert fork(api, f"snapshots/{made['id']}", "other").json()["contents"] == "memory"
    assert int(asked(api, "other")) == said + 1
    assert int(asked(api, name)) == said + 2
    assert run(api, "other", "test -S /tmp/own.sock && echo there || echo gone") == "there"


def asked(api: httpx.Client, sandbox: str) -> str:
    """What the server on port 4000 answers."""
    return api.get(f"/main/sandboxes/{sandbox}/port/4000/").text


def test_what_cannot_be_kept_is_refused_or_left_out(api: httpx.Client, name: str) -> None:
    create(api, name)
    start(api, name, "exec 3>/tmp/gone && rm /tmp/gone && touch /tmp/held; sleep 1000", "holder")
    until(lambda: "held" in run(api, name, "ls /tmp"))
    made = snapshot(api, name)
    assert made["contents"] == "files", "a file that was deleted and is open cannot be saved"
    path = f"/v0/sandboxes/{name}/snapshots"
    insisted = api.post(path, json={"contents": "memory"})
    assert refusal(insisted) == (409, "SNAPSHOT_WITHOUT_MEMORY")
    assert "deleted" in insisted.json()["message"]
    assert refusal(fork(api, f"sandboxes/{name}", "no", contents="memory")) == (
        409,
        "SNAPSHOT_WITHOUT_MEMORY",
    )
    assert api.get("/v0/sandboxes/no").status_code == 404
    more = fork(api, f"snapshots/{made['id']}", "no", contents="memory")
    assert refusal(more) == (409, "SNAPSHOT_WITHOUT_MEMORY")
    assert api.post(path, json={"contents": "everything"}).status_code == 400
    assert len(api.get(path).json()) == 1

    api.delete(f"/main/sandboxes/{name}/process/holder/kill")
    until(lambda: api.post(path, json={"contents": "memory"}).status_code == 200)
    files = api.post(path, json={"contents": "files"}).json()
    assert files["contents"] == "files"
    memory = next(one for one in api.get(path).json() if one["contents"] == "memory")
    only = fork(api, f"snapshots/{memory['id']}", "plain", contents="files")
    assert only.json()["contents"] == "files"
    assert run(api, "plain", "ls /proc | grep -c '^[0-9]'") != ""


def test_a_sandbox_that_stands_by_is_kept_and_stands_again(
    api: httpx.Client, server: Server, name: str
) -> None:
    create(api, name)
    start(api, name, IN_MEMORY, "counter")
    until(lambda: count(api, name) > 5)
    until(lambda: api.get(f"/v0/sandboxes/{name}").json()["state"] == "STANDBY")
    made = snapshot(api, name)
    assert made["contents"] == "memory"
    assert api.get(f"/v0/sandboxes/{name}").json()["state"] == "STANDBY"
    assert fork(api, f"snapshots/{made['id']}", "awake").status_code == 200
    assert count(api, "awake") > 5
    assert count(api, name) > 5


@pytest.mark.parametrize("seconds", [0.1, 0.35, 0.7])
def test_a_server_that_dies_meanwhile_leaves_a_sandbox_that_goes_on(
    server: Server, seconds: float, name: str
) -> None:
    api = server.client
    create(api, name)
    start(api, name, IN_MEMORY, "counter")
    until(lambda: count(api, name) > 5)

    def ask() -> None:
        with contextlib.suppress(httpx.HTTPError):
            api_of(api).post(f"/v0/sandboxes/{name}/snapshots", json={"contents": "memory"})

    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(seconds)
    server.kill()
    asking.join()
    server.start()
    assert count(api, name) > 5
    assert api.get(f"/main/sandboxes/{name}/process/counter").json()["status"] == "running"
    found = api.get(f"/v0/sandboxes/{name}/snapshots").json()
    until(lambda: kept(server, "saved") == {one["id"] for one in found})
    until(lambda: kept(server, "saved-memory") == {one["id"] for one in found})
    for one in [*found, snapshot(api, name)]:
        assert (one["status"], one["contents"]) == ("ready", "memory")
        assert fork(api, f"snapshots/{one['id']}", "copy").json()["contents"] == "memory"
        assert count(api, "copy") > 5
        api.delete("/v0/sandboxes/copy")


@pytest.mark.parametrize("with_server", [False, True])
def test_a_checkpoint_that_is_killed_leaves_a_sandbox_that_goes_on(
    server: Server, with_server: bool, name: str
) -> None:
    api = server.client
    create(api, name)
    start(api, name, IN_MEMORY, "counter")
    start(api, name, "head -c 200000000 /dev/urandom > /dev/shm/big; sleep 1000", "big")
    until(lambda: count(api, name) > 5)
    answers: list[httpx.Response] = []

    def ask() -> None:
        with contextlib.suppress(httpx.HTTPError), api_of(api) as own:
            path = f"/v0/sandboxes/{name}/snapshots"
            answers.append(own.post(path, json={"contents": "memory"}))

    taker = threading.Thread(target=ask)
    taker.start()
    found = checkpointing(server)
    if with_server:
        server.kill()
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    taker.join()
    if with_server:
        server.start()
    else:
        assert refusal(answers[0]) == (409, "SNAPSHOT_WITHOUT_MEMORY"), answers[0].text
    assert count(api, name) > 5
    assert snapshot(api, name)["contents"] == "memory"


def checkpointing(server: Server) -> list[int]:
    """The process that has a checkpoint made of a sandbox of a server, and its helper."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = path.read_bytes()
                if b"\0checkpoint\0" in words and os.fsencode(server.data_dir) in words:
                    stat = path.with_name("stat").read_text()
                    return [int(stat.rpartition(")")[2].split()[1]), int(path.parent.name)]
    raise AssertionError("no checkpoint is made")


def test_connections_to_the_world_end_and_new_ones_are_made(api: httpx.Client, name: str) -> None:
    """The egress process is where the world begins."""
    create(api, name)
    held = (
        "import socket; s = socket.create_connection(('192.0.0.9', 3128), 10);"
        "open('/tmp/open', 'w').close()\n"
        "try: print('ended', s.recv(1) == b'')\n"
        "except OSError: print('ended', True)"
    )
    path = f"/main/sandboxes/{name}/filesystem/%2Ftmp%2Fheld.py"
    assert api.put(path, json={"content": held.replace(", 10)", ")")}).status_code == 200
    start(api, name, "python3 /tmp/held.py", "held")
    until(lambda: "yes" in run(api, name, "test -e /tmp/open && echo yes || true"))
    assert snapshot(api, name)["contents"] == "memory"
    until(lambda: "ended True" in api.get(f"/main/sandboxes/{name}/process/held/logs").text)
    assert fork(api, f"sandboxes/{name}", "away").json()["contents"] == "memory"
    connect = "import socket; socket.create_connection(('192.0.0.9', 3128), 10); print('there')"
    for sandbox in (name, "away"):
        assert run(api, sandbox, f'python3 -c "{connect}"') == "there"
