"""Archives of what a sandbox changed, uploaded to a storage that its network reaches."""

import io
import json
import re
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from client_venv import ROOT, client_venv
from platform_server import KEY, Server

from .storage_stand_in import Storage

pytestmark = pytest.mark.sandbox
SIGNED = "X-Amz-Signature=very-secret-signature"
ARCHIVE = "/main/sandboxes/{}/archive"
MANIFEST, PROCESSES = ".serai-archive/manifest.json", ".serai-archive/processes.json"


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    storage = Storage(tmp_path_factory.mktemp("storage"))
    storage.start()
    yield storage
    storage.stop()


@pytest.fixture(scope="module")
def server(storage: Storage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data_dir = tmp_path_factory.mktemp("exports") / "data"
    server = Server(data_dir, SSL_CERT_FILE=str(storage.certificate))
    server.data_dir.mkdir()
    places = {
        "store.test": storage.port,
        "tls.test": storage.tls_port,
        "wrong.test": storage.tls_port,
    }
    names = "".join(f'"{name}" = "127.0.0.1:{port}"\n' for name, port in places.items())
    (server.data_dir / "network.toml").write_text(f"[egress.hosts]\n{names}")
    yield server.start()
    server.stop()


class Box:
    """One sandbox."""

    def __init__(self, api: httpx.Client, name: str) -> None:
        self.api, self.name = api, name

    def run(self, command: str) -> str:
        """Output of a command."""
        body = {"command": command, "waitForCompletion": True, "timeout": 40}
        answer = self.call("POST", "/process", body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["logs"])

    def call(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """A call of the sandbox API."""
        path = f"/main/sandboxes/{self.name}{path}"
        return self.api.request(method, path, json=body, timeout=90)

    def export(self, **options: Any) -> httpx.Response:
        """``POST /archive/export``."""
        return self.call("POST", "/archive/export", options)

    def status(self) -> Any:
        """``GET /archive/status``."""
        return self.call("GET", "/archive/status").json()

    def until(self, test: Callable[[Any], bool]) -> Any:
        """The first status that passes."""
        for _ in range(300):
            if test(status := self.status()):
                return status
            time.sleep(0.1)
        raise AssertionError(status)


def make(api: httpx.Client, name: str) -> Box:
    body = {"metadata": {"name": name}, "spec": {"runtime": {"memory": 512}}}
    answer = api.post("/v0/sandboxes", json=body)
    assert answer.status_code == 200, answer.text
    return Box(api, name)


@pytest.fixture
def api(server: Server) -> Iterator[httpx.Client]:
    with server.client_for(KEY) as client:
        yield client


@pytest.fixture
def box(api: httpx.Client, request: pytest.FixtureRequest) -> Iterator[Box]:
    name = re.sub("[^a-z]+", "-", request.node.name.removeprefix("test_"))[:30].strip("-")
    yield make(api, name)
    api.delete(f"/v0/sandboxes/{name}")


def url(name: str) -> str:
    return f"http://store.test/{name}?{SIGNED}"


def opened(data: bytes) -> tarfile.TarFile:
    return tarfile.open(fileobj=io.BytesIO(data), encoding="utf-8", errors="surrogateescape")


def by_path(changes: list[dict[str, Any]]) -> dict[str, tuple[str, int]]:
    return {each["path"]: (each["kind"], each["size"]) for each in changes}


CHANGE = r"""
python3 - <<'END'
import os, socket
os.makedirs("/data/deep"), open("/data/plain", "w").write("hello")
os.link("/data/plain", "/data/second"); os.symlink("plain", "/data/link"); os.mkfifo("/data/pipe")
open(b"/data/\xff\xfe odd\n", "w").write("odd")
socket.socket(socket.AF_UNIX).bind("/data/socket")
with open("/data/holes", "wb") as file:
    file.truncate(5 << 20); file.seek(1 << 20); file.write(b"x" * 4096)
os.setxattr("/data/deep", "user.note", b"\x00\xff")
os.utime("/data/plain", ns=(1, 1_600_000_000_123_456_789)); os.chmod("/data/plain", 0o4751)
END
echo more >> /etc/passwd; rm /usr/bin/env; chmod 700 /srv
"""


def test_it_holds_what_changed(box: Box, storage: Storage) -> None:
    assert box.export(dryRun=True).json()["changes"] == []
    box.run(CHANGE)
    dry = box.export(dryRun=True, excludes=["/data/second*"])
    assert dry.status_code == 200, dry.text
    assert box.status() == {"state": "active"}
    changes = by_path(dry.json()["changes"])
    assert "data/second" not in changes
    dry = box.export(dryRun=True).json()
    changes = by_path(dry["changes"])
    assert changes["data/plain"] == ("added", 5)
    assert changes["data/holes"] == ("added", 5 << 20)
    assert changes["etc/passwd"][0] == "modified"
    assert changes["usr/bin/env"] == ("deleted", 0)
    assert changes["srv"] == ("modified", 0)
    assert "data/socket" not in changes
    assert "usr" not in changes
    assert "etc" not in changes
    assert "uploaded" in dry
    assert dry["uploaded"] is False

    done = box.export(url=url("whole"), headers={"x-amz-storage-class": "GLACIER_IR"})
    assert done.status_code == 200, done.text
    result = done.json()
    assert result["uploaded"] is True
    assert "changes" not in result
    data = storage.objects["/whole"]
    assert len(data) == result["size"] == dry["size"]
    assert storage.requests[-1][2]["x-amz-storage-class"] == "GLACIER_IR"
    with opened(data) as tar:
        names = [name.rstrip("/") for name in tar.getnames()]
        manifest = json.load(tar.extractfile(MANIFEST) or io.BytesIO())
        assert json.load(tar.extractfile(PROCESSES) or io.BytesIO()) == []
        plain = tar.getmember("data/plain")
        assert (plain.mode, plain.pax_headers["mtime"]) == (0o4751, "1600000000.123456789")
        assert tar.getmember("data/second").linkname == "data/plain"
        assert tar.getmember("data/link").linkname == "plain"
        assert tar.getmember("data/pipe").isfifo()
        assert tar.extractfile("data/\udcff\udcfe odd\n").read() == b"odd"  # type: ignore[union-attr]
        holes = tar.extractfile("data/holes").read()  # type: ignore[union-attr]
        assert holes == bytes(1 << 20) + b"x" * 4096 + bytes((4 << 20) - 4096)
        assert tar.getmember("data/holes").size == 5 << 20
        note = tar.getmember("data/deep").pax_headers["SCHILY.xattr.user.note"]
        assert note.encode("utf-8", "surrogateescape") == b"\x00\xff"
    assert len(data) < 1 << 20
    there = {path for path, (kind, _) in changes.items() if kind != "deleted"}
    odd = {"data/\udcff\udcfe odd\n"} | {r"data/\xff\xfe odd" + "\n"}
    assert set(names) - {MANIFEST, PROCESSES} - odd == there - odd
    gone = {path for path, (kind, _) in changes.items() if kind == "deleted"}
    assert set(manifest["deleted"]) == gone >= {"usr/bin/env"}
    assert manifest["added"] + manifest["modified"] == len(there)
    assert manifest | {"createdAt": ""} == result["manifest"] | {"createdAt": ""}


def test_it_is_frozen_until_it_is_resumed(box: Box, storage: Storage) -> None:
    graceful = "trap 'echo bye > /bye; exit' TERM; sleep 1000 & wait"
    box.call("POST", "/process", {"command": graceful})
    box.call("POST", "/process", {"command": "exec sleep 999", "name": "server"})
    result = box.export(url=url("frozen"), stopTimeoutSeconds=5).json()
    assert "server" in result["stoppedProcesses"]
    status = box.status()
    assert status["state"] == "quiesced"
    assert status["readOnlyRoot"] is False
    assert "refuses calls" in status["reason"]
    assert status["export"]["state"] == "succeeded"
    assert status["export"]["size"] == result["size"] == len(storage.objects["/frozen"])
    with opened(storage.objects["/frozen"]) as tar:
        assert tar.extractfile("bye").read() == b"bye\n"  # type: ignore[union-attr]
        kept = json.load(tar.extractfile(PROCESSES) or io.BytesIO())
    assert "server" in [each["name"] for each in kept]

    writes: list[tuple[str, str, Any]] = [
        ("POST", "/process", {"command": "true"}),
        ("PUT", "/filesystem//new", {"content": "x"}),
        ("DELETE", "/filesystem//bye", None),
        ("POST", "/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}),
        ("POST", "/upgrade", {}),
    ]
    for method, path, body in writes:
        answer = box.call(method, path, body)
        assert answer.status_code == 409, path
        assert "/archive/resume" in answer.json()["error"]
    assert box.call("GET", "/filesystem//bye").status_code == 200
    # A frozen sandbox is exported as it is, with the processes of the first time.
    again = box.export(url=url("again"))
    assert again.status_code == 200, again.text
    with opened(storage.objects["/again"]) as tar:
        assert json.load(tar.extractfile(PROCESSES) or io.BytesIO()) == kept

    assert box.call("POST", "/archive/resume").json()["state"] == "active"
    assert box.run("cat /bye") == "bye\n"
    processes = {each["name"]: each["status"] for each in box.call("GET", "/process").json()}
    assert processes["server"] == "stopped"


def test_it_goes_on_behind_the_answer(box: Box, storage: Storage) -> None:
    storage.gate.clear()
    try:
        answer = box.export(url=url("behind"), saveProcesses=False, **{"async": True})
        assert answer.status_code == 202
        assert answer.json()["state"] == "running"
        running = box.until(lambda found: "size" in found["export"])
        assert running["export"]["state"] == "running"
        assert box.export(url=url("other")).status_code == 409
        assert box.call("POST", "/archive/resume").status_code == 409
        assert box.call("GET", "/health").status_code == 200
    finally:
        storage.gate.set()
    done = box.until(lambda found: found["export"]["state"] != "running")["export"]
    assert (done["state"], done["uploaded"]) == ("succeeded", True)
    assert done["startedAt"] <= done["finishedAt"]
    assert done["size"] == len(storage.objects["/behind"])
    with opened(storage.objects["/behind"]) as tar:
        assert PROCESSES not in tar.getnames()


@pytest.mark.parametrize(
    ("path", "why"),
    [("refused", "403 (SignatureDoesNotMatch)"), ("cut", "broke")],
)
def test_a_failing_upload(box: Box, path: str, why: str) -> None:
    box.run("head -c 30000000 /dev/urandom > /big")
    answer = box.export(url=url(path))
    assert answer.status_code == 500
    assert why in answer.json()["error"]
    status = box.status()
    assert status["state"] == "quiesced"
    assert status["export"]["state"] == "failed"
    assert status["export"]["error"] == answer.json()["error"]
    assert status["export"]["uploaded"] is False
    assert "secret" not in answer.text + json.dumps(status)
    assert "store.test" not in answer.text
    assert box.export(url=url("second-try")).status_code == 200


def test_in_parts(box: Box, storage: Storage) -> None:
    box.run("head -c 3000000 /dev/urandom > /big")
    parts = [url(f"part{number}") for number in range(5)]
    target = {"partUrls": parts, "completeUrl": url("complete"), "partSize": 1 << 20}
    few = target | {"partUrls": parts[:2], "abortUrl": url("abort")}
    assert "do not hold" in box.export(multipart=few).json()["error"]
    result = box.export(multipart=target)
    assert result.status_code == 200, result.text
    pieces = [storage.objects[f"/part{number}"] for number in range(3)]
    assert [len(each) for each in pieces[:2]] == [1 << 20] * 2
    assert sum(map(len, pieces)) == result.json()["size"]
    assert b'<PartNumber>3</PartNumber><ETag>"' in storage.completed[-1]
    with opened(b"".join(pieces)) as tar:
        assert tar.getmember("big").size == 3000000
    bad = target | {"partUrls": [parts[0], url("refused")], "abortUrl": url("abort")}
    bad["partSize"] = 2 << 20
    assert "part 2 with 403" in box.export(multipart=bad).json()["error"]
    assert storage.requests[-1][:2] == ("DELETE", f"/abort?{SIGNED}")


def test_what_is_refused(box: Box, storage: Storage) -> None:
    for options, word in (
        ({}, "url is required"),
        ({"url": "ftp://store.test/x"}, "http:// or https://"),
        ({"url": "http://127.0.0.1/secret"}, "must not lead"),
        ({"url": "http://169.254.169.254/secret"}, "must not lead"),
        ({"url": "http://user:secret@store.test/"}, "no user"),
        ({"url": url("x"), "headers": {"Content-Length": "1"}}, "Content-Length"),
        ({"url": url("x"), "headers": {"a": "b\r\nc: d"}}, "headers"),
        ({"url": url("x"), "stopTimeoutSeconds": -1}, "stopTimeoutSeconds"),
        ({"multipart": {"partUrls": [], "completeUrl": url("x"), "partSize": 1}}, "partUrls"),
    ):
        answer = box.export(**options)  # type: ignore[arg-type]
        assert answer.status_code == 400, answer.text
        assert word in answer.json()["error"]
        assert "secret" not in answer.text
    assert box.status() == {"state": "active"}
    before = len(storage.requests)
    for place in (f"http://10.0.0.1:{storage.port}/x", "http://forbidden.invalid/x"):
        answer = box.export(url=place)
        assert answer.status_code == 500, answer.text
        assert box.status()["export"]["state"] == "failed"
    assert len(storage.requests) == before


def test_over_tls(box: Box, storage: Storage) -> None:
    box.run("echo sealed > /sealed")
    result = box.export(url=f"https://tls.test/sealed?{SIGNED}")
    assert result.status_code == 200, result.text
    with opened(storage.objects["/sealed"]) as tar:
        assert tar.extractfile("sealed").read() == b"sealed\n"  # type: ignore[union-attr]
    answer = box.export(url=f"https://wrong.test/other?{SIGNED}")
    assert answer.status_code == 500
    assert "certificate" in answer.json()["error"]
    assert "/other" not in storage.objects


def test_with_the_models_of_the_official_sdk(box: Box, storage: Storage, server: Server) -> None:
    box.run("echo told > /told")
    python = client_venv() / "bin/python"
    program = ROOT / "tests/clients/programs/archive_of_changes.py"
    place = f"{server.url}/main/sandboxes/{box.name}"
    done = subprocess.run(
        [python, program, place, KEY, url("by-sdk")], capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"done {len(storage.objects['/by-sdk'])}\n"


def test_a_server_that_stops_meanwhile(storage: Storage, tmp_path: Path) -> None:
    server = Server(tmp_path / "data", SERAI_ON_STOP="suspend")
    server.data_dir.mkdir()
    names = f'"store.test" = "127.0.0.1:{storage.port}"'
    (server.data_dir / "network.toml").write_text(f"[egress.hosts]\n{names}\n")
    storage.gate.clear()
    try:
        with server.start().client_for(KEY) as api:
            box = make(api, "stopped")
            assert box.export(url=url("stopped"), **{"async": True}).status_code == 202
            box.until(lambda found: "size" in found["export"])
            server.stop()
            server.start()
            status = box.until(lambda found: found["export"]["state"] != "running")
            assert status["export"]["state"] == "failed"
            assert "stopped" in status["export"]["error"]
            assert status["state"] == "quiesced"
            assert box.call("POST", "/archive/resume").json()["state"] == "active"
            assert box.run("echo back") == "back\n"
    finally:
        storage.gate.set()
        server.stop()


def test_several_layers_are_one(box: Box, api: httpx.Client, storage: Storage) -> None:
    box.run("mkdir /kept && echo one > /kept/one && echo two > /kept/two && rm /usr/bin/env")
    made = api.post(f"/v0/sandboxes/{box.name}/snapshots", json={})
    assert made.status_code in (200, 201, 202), made.text
    box.run("rm /kept/two")
    name = made.json().get("id") or made.json()["metadata"]["name"]
    restored = api.post(f"/v0/sandboxes/{box.name}/snapshots/{name}/restore", json={}, timeout=90)
    assert restored.status_code in (200, 202), restored.text
    box.run("rm /kept/one; echo three > /kept/three")
    hidden = box.run("cd /usr/share && ls base-files; rm -r base-files; mkdir base-files").split()
    changes = by_path(box.export(dryRun=True).json()["changes"])
    assert changes["kept/two"] == ("added", 4)
    assert changes["kept/three"] == ("added", 6)
    assert "kept/one" not in changes
    assert changes["usr/bin/env"] == ("deleted", 0)
    for each in hidden:
        assert changes[f"usr/share/base-files/{each}"][0] == "deleted"
    assert hidden
