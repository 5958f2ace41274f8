"""MCP servers: sessions, streams and WebSockets reach the instance that knows them."""

import base64
import itertools
import os
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from platform_server import KEY, Server, today

from .apps import deploy, deployment, until

pytestmark = pytest.mark.sandbox
numbers = itertools.count()
SESSIONS = """
import http.server, json, os, secrets, time
ME = secrets.token_hex(4)
MINE = set()
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass
    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        session = self.headers.get("Mcp-Session-Id")
        if session is None:
            session = secrets.token_hex(8)
            MINE.add(session)
            time.sleep(0.3)
        data = json.dumps({"me": ME, "mine": session in MINE, "path": self.path}).encode()
        self.send_response(200)
        self.send_header("Mcp-Session-Id", session)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def do_GET(self):
        if self.headers.get("upgrade") == "websocket":
            self.connection.sendall(b"HTTP/1.1 101 Switching Protocols\\r\\n"
                                    b"Connection: Upgrade\\r\\nUpgrade: websocket\\r\\n\\r\\n")
            while data := self.connection.recv(100):
                self.connection.sendall(data.upper())
            self.close_connection = True
            return
        time.sleep(60)
class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
Server(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
"""


@pytest.fixture
def name(quick: httpx.Client) -> Iterator[str]:
    """A function with up to three instances."""
    fresh = f"function-{next(numbers)}"
    body = deployment(fresh, SESSIONS, runtime={"maxScale": 3})
    deploy(quick, body, "functions")
    yield fresh
    quick.delete(f"/v0/functions/{fresh}")


def test_a_session_stays_with_its_instance(quick: httpx.Client, name: str) -> None:
    def ask(**headers: str) -> tuple[str, dict[str, Any]]:
        answer = quick.post(f"/main/functions/{name}/mcp", content=b"{}", headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.headers["mcp-session-id"], answer.json()

    opened = [ask() for _ in range(3)]
    assert {told["path"] for _, told in opened} == {"/mcp"}
    for session, first in opened:
        _, again = ask(**{"Mcp-Session-Id": session})
        assert (again["me"], again["mine"]) == (first["me"], True)


def test_a_websocket_passes(quick_server: Server, name: str) -> None:
    key = base64.b64encode(os.urandom(16)).decode()
    head = (
        f"GET /main/functions/{name}/ws?token={KEY} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
        f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", quick_server.port), timeout=30) as client:
        client.sendall(head.encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += client.recv(4096)
        assert b" 101 " in answer
        client.sendall(b"hello")
        assert client.recv(100) == b"HELLO"


def test_running_time_is_on_the_bill(quick: httpx.Client, name: str) -> None:
    [account] = quick.get("/v0/accounts").json()
    params = today(groupBy="billing_dimension", resourceName=name)

    def billed() -> bool:
        quick.post(f"/main/functions/{name}/mcp", content=b"{}", headers={"Mcp-Session-Id": "x"})
        found = quick.get(f"/v0/accounts/{account['id']}/metrics", params=params).json()["data"]
        used = {each["billingDimension"]: each["summary"]["usage"] for each in found}
        return used.get("mcp_server_compute_runtime_gbs", 0) > 0.05

    until(billed)
