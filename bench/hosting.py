"""Agents: the first request, warm requests beside the same program without us, and a switch."""

import asyncio
import http.client
import json
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench.platform import KEY, Platform, first_processes, free_port, running
from bench.report import Row

FIRST_MS, OVERHEAD_MS, RATE, SECONDS = 600, 1.0, 500, 6
WARM_REQUESTS = 400
PROGRAM = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    def log_message(self, *_): pass
    def do_GET(self):
        data = os.environ.get("WHO", "").encode()
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512
Server(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
"""


def run(rounds: int) -> list[Row]:
    """Medians over HTTP."""
    return [*_first(rounds), *_warm(), _switch()]


def _first(rounds: int) -> list[Row]:
    quick = {"SERAI_STANDBY_SECONDS": "0.3", "SERAI_INSTANCE_STOP_SECONDS": "0.3"}
    with running(**quick) as platform:
        deploy(platform, "lazy", "x")
        times = []
        for _ in range(rounds):
            while platform.process and first_processes(platform.process.pid):
                time.sleep(0.1)
            begin = time.perf_counter()
            ask(platform, "lazy")
            times.append((time.perf_counter() - begin) * 1000)
    own = statistics.median(_start_alone() for _ in range(rounds))
    first = statistics.median(times)
    goal = f"at most {FIRST_MS} ms more"
    beside = ("the program alone", own)
    return [
        Row("first request, scaled to zero", first, "ms", beside, goal, first - own <= FIRST_MS)
    ]


def _start_alone() -> float:
    begin = time.perf_counter()
    with alone() as port:
        fetch(http.client.HTTPConnection("127.0.0.1", port), "/")
    return (time.perf_counter() - begin) * 1000


@contextmanager
def alone() -> Iterator[int]:
    """The program without us; its port."""
    port = free_port()
    environ = os.environ | {"PORT": str(port), "WHO": "x"}
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], env=environ)
    try:
        while True:
            try:
                fetch(http.client.HTTPConnection("127.0.0.1", port), "/")
                break
            except OSError:
                time.sleep(0.002)
        yield port
    finally:
        process.kill()
        process.wait()


def _warm() -> list[Row]:
    with running() as platform, alone() as port:
        deploy(platform, "warm", "x")
        ours = http.client.HTTPConnection("127.0.0.1", platform.port)
        theirs = http.client.HTTPConnection("127.0.0.1", port)
        pairs = [
            (_timed(ours, "/main/agents/warm"), _timed(theirs, "/")) for _ in range(WARM_REQUESTS)
        ]
    through = statistics.median(pair[0] for pair in pairs)
    direct = statistics.median(pair[1] for pair in pairs)
    goal = f"at most {OVERHEAD_MS:g} ms more"
    met = through - direct <= OVERHEAD_MS
    return [Row("warm request, one connection", through, "ms", ("direct", direct), goal, met)]


def _timed(connection: http.client.HTTPConnection, path: str) -> float:
    begin = time.perf_counter()
    fetch(connection, path)
    return (time.perf_counter() - begin) * 1000


def fetch(connection: http.client.HTTPConnection, path: str) -> bytes:
    """GET; fails on anything but 200."""
    connection.request("GET", path, headers={"Authorization": f"Bearer {KEY}"})
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{answer.status}: {body[:300]!r}")
    return body


def _switch() -> Row:
    with running() as platform:
        deploy(platform, "busy", "blue")
        lost, sent, rate = asyncio.run(_load(platform))
    name = f"lost in a switch at {rate:,.0f} requests/s, of {sent:,}"
    return Row(name, lost, "", None, "none", lost == 0)


async def _load(platform: Platform) -> tuple[int, int, float]:
    """Requests on a steady clock, while another revision takes over: lost, sent, per second."""
    queue: asyncio.Queue[None] = asyncio.Queue()
    seen: list[str] = []
    workers = [asyncio.create_task(_worker(platform.port, queue, seen)) for _ in range(32)]
    begin = time.perf_counter()
    switch = asyncio.create_task(asyncio.to_thread(_later, platform))
    for number in range(RATE * SECONDS):
        await asyncio.sleep(max(0.0, begin + number / RATE - time.perf_counter()))
        queue.put_nowait(None)
    await switch
    await queue.join()
    took = time.perf_counter() - begin
    for worker in workers:
        worker.cancel()
    if not {"blue", "green"} <= set(seen):
        raise RuntimeError(f"no switch was seen: {set(seen)}")
    return seen.count("lost"), len(seen), len(seen) / took


def _later(platform: Platform) -> None:
    time.sleep(SECONDS / 3)
    deploy(platform, "busy", "green", method="PUT")


async def _worker(port: int, queue: "asyncio.Queue[None]", seen: list[str]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = (
        f"GET /main/agents/busy HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode()
    )
    while True:
        await queue.get()
        try:
            writer.write(head)
            lines = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(lines.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            body = (await reader.readexactly(length)).decode()
            seen.append(body if b" 200 " in lines.split(b"\r\n")[0] else "lost")
        except (OSError, EOFError, ValueError):
            seen.append("lost")
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        queue.task_done()


def deploy(platform: Platform, name: str, who: str, method: str = "POST") -> None:
    """Deploy the program as an agent, and wait until it serves."""
    envs = [{"name": "WHO", "value": who}]
    runtime = {"image": "blaxel/py-app:latest", "command": ["python3", "-c", PROGRAM]}
    spec = {"runtime": runtime | {"memory": 512, "envs": envs}}
    path = "/v0/agents" if method == "POST" else f"/v0/agents/{name}"
    call(platform, method, path, {"metadata": {"name": name}, "spec": spec})
    while True:
        found = call(platform, "GET", f"/v0/agents/{name}")
        if found["status"] == "FAILED":
            raise RuntimeError(found["events"][-1]["message"])
        try:
            if found["status"] == "DEPLOYED" and ask(platform, name) == who:
                return
        except OSError:
            pass
        time.sleep(0.05)


def ask(platform: Platform, name: str) -> str:
    """Call an agent."""
    request = urllib.request.Request(f"{platform.url}/main/agents/{name}")
    request.add_header("Authorization", f"Bearer {KEY}")
    with urllib.request.urlopen(request) as answer:
        return str(answer.read().decode())


def call(platform: Platform, method: str, path: str, body: Any = None) -> Any:
    """Call the management API."""
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(platform.url + path, data, method=method)
    request.add_header("Authorization", f"Bearer {KEY}")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)
