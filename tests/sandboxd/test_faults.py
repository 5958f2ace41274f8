"""What must hold when clients and processes misbehave."""

import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from .client import Sandbox, UnixConnection, eventually, running
from .test_files import form


def test_output_flood_stays_bounded(sandbox: Sandbox) -> None:
    before = sandbox.memory_kb()
    answer = sandbox.run("echo first >&2; head -c 200000000 /dev/zero | tr '\\0' 'x'; echo end")
    assert answer["stdout"].endswith("xend\n")
    assert "dropped" in answer["stdout"][:80]
    assert answer["stderr"] == "first\n"
    assert len(answer["stdout"]) <= 4 * 1024 * 1024 + 100
    assert sandbox.memory_kb() - before < 30_000


def test_tiny_alternating_writes_stay_bounded(sandbox: Sandbox) -> None:
    before = sandbox.memory_kb()
    script = "import os\nfor i in range(150000):\n os.write(1,b'o')\n os.write(2,b'e')"
    answer = sandbox.run(f'python3 -c "{script}"')
    assert answer["exitCode"] == 0
    assert sandbox.memory_kb() - before < 60_000


def test_many_logs_share_one_budget(sandbox: Sandbox) -> None:
    for _ in range(20):
        sandbox.run("head -c 4000000 /dev/zero | tr '\\0' y")
    kept = sum(len(p["stdout"]) for p in sandbox.call("GET", "/process").json)
    assert kept < 40 * 1024 * 1024
    assert sandbox.memory_kb() < 150_000


def test_slow_reader_blocks_nobody(sandbox: Sandbox) -> None:
    sandbox.start("while :; do head -c 1000000 /dev/zero | tr '\\0' z; echo; done", name="noisy")
    stuck = []
    for _ in range(5):
        connection = UnixConnection(sandbox.api)
        connection.request("GET", "/process/noisy/logs/stream")
        stuck.append((connection, connection.getresponse()))
    time.sleep(1)
    before = sandbox.memory_kb()
    for _ in range(10):
        assert sandbox.run("echo fine")["stdout"] == "fine\n"
    assert sandbox.memory_kb() - before < 40_000
    sandbox.call("DELETE", "/process/noisy/kill")
    rest = stuck[0][1].read()
    assert b"dropped" in rest
    for connection, _ in stuck:
        connection.close()


def test_client_that_leaves_a_streaming_exec(sandbox: Sandbox) -> None:
    connection = UnixConnection(sandbox.api)
    body = json.dumps({"command": "echo on; sleep 1.2; echo off", "name": "left"})
    connection.request("POST", "/process", body, {"Accept": "text/event-stream"})
    response = connection.getresponse()
    assert b"on" in response.readline()
    response.close()
    connection.close()
    assert sandbox.wait("left")["stdout"] == "on\noff\n"


def test_waiting_calls_whose_client_died_are_dropped(sandbox: Sandbox) -> None:
    before = open_files(sandbox)
    body = b'{"command": "sleep 30", "waitForCompletion": true}'
    for _ in range(10):
        with sandbox.raw() as raw:
            size = len(body)
            raw.sendall(b"POST /process HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % size + body)
            time.sleep(0.02)
    sleeping = [p for p in sandbox.call("GET", "/process").json if p["status"] == "running"]
    assert len(sleeping) == 10
    eventually(lambda: open_files(sandbox) <= before + 2 * len(sleeping))
    for process in sleeping:
        sandbox.call("DELETE", f"/process/{process['pid']}/kill")


def open_files(sandbox: Sandbox) -> int:
    return len(list(Path(f"/proc/{sandbox.pid}/fd").iterdir()))


def test_streams_that_are_left_leak_nothing(sandbox: Sandbox) -> None:
    sandbox.start("sleep 60", name="quiet")
    before = open_files(sandbox)
    for path in ("/process/quiet/logs/stream", "/watch/filesystem//tmp", "/process/quiet/wait"):
        for _ in range(10):
            raw = sandbox.raw()
            raw.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            raw.close()
    sandbox.call("DELETE", "/process/quiet/kill")
    eventually(lambda: open_files(sandbox) <= before)


def test_orphans_are_reaped(sandbox: Sandbox) -> None:
    sandbox.run("(setsid sh -c 'sleep 0.2' >/dev/null 2>&1 &) ; (sh -c 'sleep 0.3 & sleep 0.1' &)")
    sandbox.run("for i in 1 2 3 4 5 6 7 8; do (sleep 0.2 &) ; done")

    def zombies() -> list[str]:
        children = Path(f"/proc/{sandbox.pid}/task/{sandbox.pid}/children").read_text().split()
        return [c for c in children if "\nState:\tZ" in Path(f"/proc/{c}/status").read_text()]

    time.sleep(0.6)
    eventually(lambda: not zombies())


def test_environment_of_the_api_cannot_be_read_by_others(sandbox: Sandbox) -> None:
    status = Path(f"/proc/{sandbox.pid}/environ")
    assert status.stat().st_uid == 0
    assert sandbox.run("exit 0")["exitCode"] == 0


def test_many_at_once(sandbox: Sandbox) -> None:
    connections = []
    for number in range(40):
        connection = UnixConnection(sandbox.api)
        body = {"command": f"sleep 0.2; echo {number}", "waitForCompletion": True}
        connection.request("POST", "/process", json.dumps(body))
        connections.append(connection)
    for number, connection in enumerate(connections):
        assert json.loads(connection.getresponse().read())["stdout"] == f"{number}\n"
        connection.close()


def port_stream(sandbox: Sandbox, port: str) -> tuple[socket.socket, bytes]:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(20)
    client.connect(str(sandbox.port))
    client.sendall(port.encode() + b"\n")
    answer = b""
    while not answer.endswith(b"\n"):
        piece = client.recv(1)
        if not piece:
            break
        answer += piece
    return client, answer


def test_port_relay_carries_bytes_and_half_closes(sandbox: Sandbox) -> None:
    script = (
        "import socket\n"
        "s=socket.create_server(('127.0.0.1',18761))\n"
        "while True:\n"
        " c,_=s.accept()\n n=0\n"
        " while d:=c.recv(65536): n+=len(d)\n"
        " c.sendall(str(n).encode()); c.close()\n"
    )
    (sandbox.workdir / "count.py").write_text(script)
    sandbox.start("python3 count.py", name="count", waitForPorts=[18761], timeout=20)
    client, answer = port_stream(sandbox, "18761")
    assert answer == b"ok\n"
    for _ in range(200):
        client.sendall(b"x" * 100_000)
    client.shutdown(socket.SHUT_WR)
    assert client.recv(100) == b"20000000"
    assert client.recv(100) == b""
    sandbox.call("DELETE", "/process/count/kill")


def test_port_relay_applies_back_pressure(sandbox: Sandbox) -> None:
    script = (
        "import socket,time\n"
        "s=socket.create_server(('127.0.0.1',18762))\n"
        "c,_=s.accept()\n"
        "while True: c.sendall(b'x'*65536)\n"
    )
    (sandbox.workdir / "flood.py").write_text(script)
    sandbox.start("python3 flood.py", name="flood", waitForPorts=[18762], timeout=20)
    client, answer = port_stream(sandbox, "18762")
    assert answer == b"ok\n"
    before = sandbox.memory_kb()
    time.sleep(1)
    assert sandbox.memory_kb() - before < 20_000
    client.close()
    sandbox.call("DELETE", "/process/flood/kill")


def test_port_relay_errors(sandbox: Sandbox) -> None:
    assert port_stream(sandbox, "18769")[1] == b"error connection refused\n"
    assert port_stream(sandbox, "0")[1].startswith(b"error ")
    assert port_stream(sandbox, "abc")[1].startswith(b"error ")
    assert port_stream(sandbox, "9" * 40)[1].startswith(b"error ")


def test_a_killed_upload_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    with running(tmp_path) as server:
        connection = server.raw()
        head = f"PUT /filesystem/{target}/f HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n"
        head += "Content-Type: multipart/form-data; boundary=B\r\n\r\n"
        part = '--B\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
        connection.sendall((head + part).encode() + b"x" * 1_000_000)
        time.sleep(0.3)
        os.kill(server.pid, signal.SIGKILL)
        connection.close()
    assert list(target.iterdir()) == []


def test_writing_over_a_mounted_file(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "outer").write_text("a")
    (tmp_path / "inner").write_text("b")
    binding = ["mount", "--bind", str(tmp_path / "outer"), str(tmp_path / "inner")]
    if subprocess.run(binding, check=False).returncode:
        pytest.skip("this machine allows no mounts")
    try:
        answer = sandbox.call("PUT", f"/filesystem/{tmp_path}/inner", {"content": "new"})
        assert answer.status == 200, answer.body
        assert (tmp_path / "outer").read_text() == "new"
    finally:
        subprocess.run(["umount", str(tmp_path / "inner")], check=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["inner", "outer"]


def test_a_full_disk_is_named_and_keeps_the_old_file(sandbox: Sandbox, tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, check=False).returncode:
        pytest.skip("this machine allows no mounts")
    try:
        path = f"/filesystem/{tmp_path}/f"
        sandbox.call("PUT", path, {"content": "old"})
        full = sandbox.call("PUT", path, {"content": "x" * 3_000_000})
        assert (full.status, "no space left on device" in full.json["error"]) == (422, True)
        body, kind = form(("file", "f", b"x" * 3_000_000))
        full = sandbox.call("PUT", path, body, {"Content-Type": kind})
        assert (full.status, "no space left on device" in full.json["error"]) == (422, True)
        assert sandbox.call("GET", path).json["content"] == "old"
        assert [p.name for p in tmp_path.iterdir()] == ["f"]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
