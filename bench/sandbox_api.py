"""The API inside a sandbox: what a command, a small file, a large file and an idle sandbox cost."""

import http.client
import json
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from bench.platform import KEY, Platform, Skipped, first_processes, running
from bench.report import Row

CLIENT = Path(".cache/clients/py-0.4.24/bin/python")
SIZE = 256 << 20
PIECE = 1 << 20
IDLE = 50
HEADERS = {"X-Blaxel-Authorization": f"Bearer {KEY}"}
PROGRAM = """
import asyncio, json, sys, time
from blaxel.core import SandboxInstance

async def timed(rounds, call):
    times = []
    for number in range(rounds + 10):
        begin = time.perf_counter()
        await call()
        if number >= 10:
            times.append((time.perf_counter() - begin) * 1000)
    return times

async def main(rounds):
    sandbox = await SandboxInstance.get("bench")
    command = {"command": "true", "wait_for_completion": True}
    print(json.dumps({
        "exec": await timed(rounds, lambda: sandbox.process.exec(command)),
        "write": await timed(rounds, lambda: sandbox.fs.write("/tmp/small", "x" * 1000)),
        "read": await timed(rounds, lambda: sandbox.fs.read("/tmp/small")),
    }))

asyncio.run(main(int(sys.argv[1])))
"""
PLAIN_SERVER = """
import os, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    client, _ = listener.accept()
    if client.recv(1) == b"g":
        with open(sys.argv[1], "rb") as file:
            client.sendfile(file)
    else:
        buffer = bytearray(1 << 20)
        with open(sys.argv[1], "wb") as file:
            while size := client.recv_into(buffer):
                file.write(memoryview(buffer)[:size])
            file.flush()
        client.sendall(b"k")
    client.close()
"""


def run(rounds: int) -> list[Row]:
    """Figures of one server in one run.

    Raises:
        Skipped: the client's environment is missing.
    """
    if not CLIENT.exists():
        raise Skipped("the SDK is not installed; run `make clients`")
    with running() as platform:
        idle = _idle(platform)
        platform.post("/v0/sandboxes", "bench", {"runtime": {"memory": 8192}})
        small = _through_sdk(platform, rounds * 20)
        with _plain_server() as plain:
            large = [
                _speed("upload of 256 MB", rounds, lambda: _upload(platform), lambda: _send(plain)),
                _speed("download of it", rounds, lambda: _download(platform), lambda: _get(plain)),
            ]
    return [*small, *large, idle]


def _through_sdk(platform: Platform, rounds: int) -> list[Row]:
    serai = str(Path(sys.executable).with_name("serai"))
    client = [str(CLIENT), "-c", PROGRAM, str(rounds)]
    done = subprocess.run(
        [serai, "exec", *platform.options, "--", *client],
        env={"SERAI_ADMIN_API_KEY": KEY, "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    times = {
        name: statistics.median(each)
        for name, each in json.loads(done.stdout.splitlines()[-1]).items()
    }
    bare = _times(rounds, lambda: subprocess.run(["/bin/sh", "-c", "true"], check=True))
    return [
        _within("exec of `true` with wait, p50", times["exec"], 8, ("a local subprocess", bare)),
        _within("write 1 kB, p50", times["write"], 2, None),
        _within("read 1 kB, p50", times["read"], 2, None),
    ]


def _within(name: str, value: float, most: float, baseline: tuple[str, float] | None) -> Row:
    return Row(name, value, "ms", baseline, f"{most:g} ms", value <= most)


def _times(rounds: int, call: Callable[[], object]) -> float:
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        call()
        times.append((time.perf_counter() - begin) * 1000)
    return statistics.median(times)


def _speed(name: str, rounds: int, ours: Callable[[], object], plain: Callable[[], object]) -> Row:
    size = SIZE / 1e6
    value, bare = (size / _times(rounds, call) * 1000 for call in (ours, plain))
    return Row(name, value, "MB/s", ("a bare socket", bare), "300 MB/s", value >= 300)


def _connection(platform: Platform) -> http.client.HTTPConnection:
    place = urlsplit(platform.url)
    return http.client.HTTPConnection(place.hostname or "", place.port)


def _upload(platform: Platform) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
    tail = b"\r\n--b--\r\n"
    connection = _connection(platform)
    connection.putrequest("PUT", "/main/sandboxes/bench/filesystem//tmp/large")
    length = str(len(head) + SIZE + len(tail))
    kind = {"Content-Type": "multipart/form-data; boundary=b", "Content-Length": length}
    for name, value in (HEADERS | kind).items():
        connection.putheader(name, value)
    connection.endheaders(head)
    data = bytes(PIECE)
    for _ in range(SIZE // PIECE):
        connection.send(data)
    connection.send(tail)
    answer = connection.getresponse()
    if answer.status != 200:
        raise RuntimeError(answer.read().decode())
    connection.close()


def _download(platform: Platform) -> None:
    connection = _connection(platform)
    headers = HEADERS | {"Accept": "application/octet-stream"}
    connection.request("GET", "/main/sandboxes/bench/filesystem//tmp/large", headers=headers)
    answer = connection.getresponse()
    buffer, size = bytearray(PIECE), 0
    while got := answer.readinto(buffer):
        size += got
    if size != SIZE:
        raise RuntimeError(f"{answer.status}: {size} bytes")
    connection.close()


@contextmanager
def _plain_server() -> Iterator[int]:
    """The least that a server can do: bytes of a socket into a file, and back."""
    with tempfile.TemporaryDirectory(prefix="serai-bench-") as folder:
        command = [sys.executable, "-c", PLAIN_SERVER, str(Path(folder) / "large")]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.kill()
            server.wait()


def _send(port: int) -> None:
    data = bytes(PIECE)
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"p")
        for _ in range(SIZE // PIECE):
            client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        client.recv(1)


def _get(port: int) -> None:
    buffer = bytearray(PIECE)
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"g")
        while client.recv_into(buffer):
            pass


def _idle(platform: Platform) -> Row:
    """What an idle sandbox has that no other has: its API's own pages, from the kernel."""
    for number in range(IDLE):
        platform.post("/v0/sandboxes", f"idle-{number}", {"runtime": {"memory": 512}})
    time.sleep(1)
    assert platform.process is not None
    found = [_own_kb(pid) for pid in first_processes(platform.process.pid)]
    if len(found) < IDLE:
        raise RuntimeError(f"{len(found)} of {IDLE} sandboxes found")
    name = f"memory of one of {IDLE} idle"
    value = statistics.median(found) / 1024
    return Row(name, value, "MB", None, "5 MB", value <= 5)


def _own_kb(pid: int) -> int:
    told = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(size) for size in re.findall(r"Private_(?:Clean|Dirty):\s+(\d+)", told))
