"""Port monitors: a server inside hears when a process begins to listen."""

import http.server
import json
import threading
from collections.abc import Iterator

import pytest

from serai.kernel.errors import BadRequest
from serai.sandboxd.monitors import parse_callback

from .client import Sandbox, eventually

LISTEN = "import socket,time\ns=socket.create_server(('127.0.0.1',{port}))\ntime.sleep(60)\n"


class Ear(http.server.ThreadingHTTPServer):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Hearing)
        self.heard: list[tuple[str, object]] = []


class Hearing(http.server.BaseHTTPRequestHandler):
    server: Ear

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.heard.append((self.path, json.loads(body)))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def ear() -> Iterator[Ear]:
    server = Ear()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def listen(sandbox: Sandbox, name: str, port: int, before: str = "") -> int:
    script = sandbox.workdir / f"{name}.py"
    script.write_text(LISTEN.format(port=port))
    return int(sandbox.start(f"{before} python3 {script}", name=name)["pid"])


def test_new_ports_are_told_once(sandbox: Sandbox, ear: Ear) -> None:
    pid = listen(sandbox, "late", 18771, "sleep 0.7;")
    body = {"callback": f"http://localhost:{ear.server_port}/opened?by=me"}
    for _ in range(2):
        answer = sandbox.call("POST", f"/network/process/{pid}/monitor", body)
        assert answer.json == {"message": "Port monitoring started", "path": ""}
    eventually(lambda: ear.heard)
    assert ear.heard == [("/opened?by=me", {"pid": pid, "port": 18771})]
    ended = sandbox.call("DELETE", f"/network/process/{pid}/monitor")
    assert ended.json["message"] == "Port monitoring stopped"
    assert sandbox.call("DELETE", f"/network/process/{pid}/monitor").status == 200
    sandbox.call("DELETE", "/process/late/kill")
    assert len(ear.heard) == 1


def test_open_ports_are_told_too_and_dead_receivers_ignored(sandbox: Sandbox, ear: Ear) -> None:
    pid = listen(sandbox, "open", 18772)
    ports = f"/network/process/{pid}/ports"
    eventually(lambda: sandbox.call("GET", ports).json["ports"])
    for port in (1, ear.server_port):
        body = {"callback": f"http://127.0.0.1:{port}/"}
        assert sandbox.call("POST", f"/network/process/{pid}/monitor", body).status == 200
    eventually(lambda: ear.heard)
    sandbox.call("DELETE", "/process/open/kill")


@pytest.mark.parametrize(
    "callback",
    ["", "x", "https://localhost/", "http://example.com/", "http://localhost:99999/",
     "http://u:p@localhost/", "http://localhost/a b", "http://localhost/\r\nX: y", "http://é/"],
)  # fmt: skip
def test_callbacks_that_are_refused(sandbox: Sandbox, callback: str) -> None:
    answer = sandbox.call("POST", "/network/process/1/monitor", {"callback": callback})
    assert answer.status == 400
    assert "callback" in answer.json["error"]
    with pytest.raises(BadRequest):
        parse_callback(callback)


def test_what_is_no_pid(sandbox: Sandbox) -> None:
    body = {"callback": "http://localhost/"}
    assert sandbox.call("POST", "/network/process/x/monitor", body).status == 400
    assert sandbox.call("DELETE", "/network/process/x/monitor").status == 400
    gone = sandbox.call("POST", "/network/process/4194303/monitor", body)
    assert gone.status == 200, "a process that is not there has no ports to tell"
