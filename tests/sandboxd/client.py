"""A real sandbox API in a process of its own, reached over its Unix sockets."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("sandbox", timeout=60)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(str(self.path))


class Answer:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Sandbox:
    """One server and the ways to talk to it."""

    def __init__(self, api: Path, port: Path, pid: int, workdir: Path) -> None:
        self.api, self.port, self.pid, self.workdir = api, port, pid, workdir

    def open(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> http.client.HTTPResponse:
        connection = UnixConnection(self.api)
        data = body if body is None or isinstance(body, bytes | str) else json.dumps(body)
        connection.request(method, path, data, headers or {})
        return connection.getresponse()

    def call(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Answer:
        response = self.open(method, path, body, headers)
        try:
            return Answer(response)
        finally:
            response.close()

    def run(self, command: str, **fields: Any) -> Any:
        answer = self.call(
            "POST", "/process", {"command": command, "waitForCompletion": True, **fields}
        )
        assert answer.status == 200, answer.body
        return answer.json

    def start(self, command: str, **fields: Any) -> Any:
        answer = self.call("POST", "/process", {"command": command, **fields})
        assert answer.status == 200, answer.body
        return answer.json

    def raw(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(20)
        connection.connect(str(self.api))
        return connection

    def memory_kb(self) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return next(int(row.split()[1]) for row in status.splitlines() if row.startswith("VmRSS"))

    def wait(self, identifier: str, seconds: int = 20) -> Any:
        return self.call("GET", f"/process/{identifier}/wait?timeout={seconds}").json


@contextmanager
def running(directory: Path, *options: str) -> Iterator[Sandbox]:
    api, port, workdir = directory / "api", directory / "port", directory / "work"
    workdir.mkdir()
    arguments = ["--api-socket", str(api), "--port-socket", str(port)]
    arguments += ["--workdir", str(workdir), "--home", str(directory)]
    server = subprocess.Popen(
        [sys.executable, "-m", "serai.sandboxd", *arguments, *options],
        env={**os.environ, "FROM_CONFIG": "yes", "TMPDIR": str(directory)},
    )
    try:
        for _ in range(500):
            if port.exists():
                break
            time.sleep(0.01)
        yield Sandbox(api, port, server.pid, workdir)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(20)


def eventually(check: Any, seconds: float = 10) -> Any:
    """The first true answer of a check, tried again and again."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := check():
            return value
        time.sleep(0.02)
    raise AssertionError("it never came true")
