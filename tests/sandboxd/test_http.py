"""The HTTP server itself: framing, keep-alive, pipelining, odd requests."""

import json
import socket

import pytest

from .client import Sandbox, UnixConnection


def exchange(sandbox: Sandbox, data: bytes, *, half_close: bool = True) -> bytes:
    with sandbox.raw() as client:
        client.sendall(data)
        if half_close:
            client.shutdown(socket.SHUT_WR)
        received = b""
        while piece := client.recv(65536):
            received += piece
        return received


def test_health(sandbox: Sandbox) -> None:
    answer = sandbox.call("GET", "/health")
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    health = answer.json
    assert health["status"] == "ok"
    assert health["lastUpgrade"] == {"status": "idle", "step": "none", "version": ""}
    expected = {"gitCommit", "buildTime", "goVersion", "os", "arch", "uptime", "upgradeCount"}
    assert expected <= health.keys()


def test_headers_on_every_answer(sandbox: Sandbox) -> None:
    for path in ("/health", "/nope", "/process/zzz"):
        headers = sandbox.call("GET", path).headers
        assert headers["access-control-allow-origin"] == "*"
        assert headers["cache-control"] == "no-cache, no-store, must-revalidate"
        assert headers["x-content-type-options"] == "nosniff"


def test_unknown_routes_are_plain_text(sandbox: Sandbox) -> None:
    for method, path in [
        ("GET", "/nope"),
        ("PATCH", "/process"),
        ("GET", "/port/3000/x"),
        ("DELETE", "/mcp"),
        ("GET", "/filesystem"),
    ]:
        answer = sandbox.call(method, path)
        assert (answer.status, answer.body) == (404, b"404 page not found"), path
        assert answer.headers["content-type"] == "text/plain"


@pytest.mark.parametrize(
    "path",
    [
        "/process/%FF",
        "/process/%FF/logs/stream",
        "/filesystem/%FF%FE",
        "/filesystem-find/%FF",
        "/network/process/%C2%B2/ports",
        "/network/process/" + "9" * 5000 + "/ports",
        "/filesystem-multipart/%FF/parts",
        "/%FF",
        "/filesystem-find/.?maxResults=" + "9" * 5000,
        "/process/x/wait?timeout=nan",
    ],
)
def test_odd_paths_get_an_ordinary_answer(sandbox: Sandbox, path: str) -> None:
    assert sandbox.call("GET", path).status in (200, 400, 404)


def test_options_head_and_redirects(sandbox: Sandbox) -> None:
    assert sandbox.call("OPTIONS", "/any/thing").status == 204
    for path in ("/health", "/process/zzz", "/filesystem/zzz", "/filesystem/tree/x"):
        answer = sandbox.call("HEAD", path)
        assert (answer.status, answer.body) == (200, b"")
    assert sandbox.call("HEAD", "/nope").status == 404
    moved = sandbox.call("GET", "/process/")
    assert (moved.status, moved.headers["location"]) == (301, "/process")
    assert sandbox.call("POST", "/process/", "{}").status == 307


def test_keep_alive(sandbox: Sandbox) -> None:
    connection = UnixConnection(sandbox.api)
    for _ in range(5):
        connection.request("GET", "/health")
        assert json.loads(connection.getresponse().read())["status"] == "ok"
        connection.request("PUT", "/nope", "unread body")
        assert connection.getresponse().read() == b"404 page not found"
    connection.close()


def test_pipelining_keeps_order(sandbox: Sandbox) -> None:
    wanted = b""
    for number in range(50):
        body = json.dumps({"command": f"echo {number}", "waitForCompletion": True}).encode()
        size = len(body)
        wanted += b"POST /process HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + body
    received = exchange(sandbox, wanted + b"GET /nope HTTP/1.1\r\nHost: x\r\n\r\n")
    at = [received.index(f'"command":"echo {number}"'.encode()) for number in range(50)]
    assert at == sorted(at)
    assert received.endswith(b"404 page not found")


def test_chunked_request_byte_by_byte(sandbox: Sandbox) -> None:
    body = b'{"command": "echo chunked", "waitForCompletion": true}'
    data = b"POST /process HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    data += b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    with sandbox.raw() as client:
        for byte in data:
            client.sendall(bytes([byte]))
        assert b"chunked" in client.recv(65536)


def test_expect_continue(sandbox: Sandbox) -> None:
    head = b"PUT /filesystem/e.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 15\r\n"
    with sandbox.raw() as client:
        client.sendall(head + b"Expect: 100-continue\r\n\r\n")
        assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b'{"content":"e"}')
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
    refused = exchange(sandbox, head.replace(b"/filesystem/e.txt", b"/nope")
                       + b"Expect: 100-continue\r\n\r\n", half_close=False)  # fmt: skip
    assert refused.startswith(b"HTTP/1.1 404")
    assert b"Connection: close" in refused


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /process HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
    ],
)
def test_malformed_requests(sandbox: Sandbox, data: bytes) -> None:
    answer = exchange(sandbox, data)
    assert answer.startswith(b"HTTP/1.1 400")
    assert b'{"error":"malformed' in answer


def test_limits(sandbox: Sandbox) -> None:
    long = b"GET /health HTTP/1.1\r\nX: " + b"y" * 400_000 + b"\r\n\r\n"
    assert b" 431 " in exchange(sandbox, long, half_close=False)[:40]
    answer = sandbox.call("POST", "/process", b" " * (17 * 1024 * 1024))
    assert answer.status == 413
    assert "error" in answer.json


def test_http_1_0_and_close(sandbox: Sandbox) -> None:
    answer = exchange(sandbox, b"GET /health HTTP/1.0\r\n\r\n", half_close=False)
    assert answer.startswith(b"HTTP/1.1 200")
    listing = exchange(sandbox, b"GET /process HTTP/1.0\r\n\r\n", half_close=False)
    assert b"Transfer-Encoding" not in listing
    assert isinstance(json.loads(listing.partition(b"\r\n\r\n")[2]), list)
    closing = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert exchange(sandbox, closing, half_close=False).startswith(b"HTTP/1.1 200")


def test_client_that_never_finishes_its_body(sandbox: Sandbox) -> None:
    with sandbox.raw() as client:
        client.sendall(
            b"PUT /filesystem/cut.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{"
        )
    assert sandbox.call("GET", "/health").status == 200
    assert sandbox.call("GET", "/filesystem/cut.txt").status == 404
