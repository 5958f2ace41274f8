"""Servers inside that answer as no honest one would, towards the gateway and its clients."""

import contextlib
import socket
import time
from pathlib import Path

import httpx
import pytest

from platform_server import Server

from .attacker import Attacker, until

PATIENCE = 1.0
ENDLESS = {"endless_body", "drop_by_drop", "silent", "endless_trailers"}
"""What a client has to give up by itself: it may be slow, or long, on purpose."""
OPAQUE = {"strange_coding"}
"""A coding that nobody knows is a body to the end of the connection."""
HONEST = {"two_answers", "longer_than_said", "strange_status", "our_cookies"}
"""A whole answer stands at the beginning."""
MOST_BYTES = 1 << 20
MEMORY_MB = 40


@pytest.fixture
def ports(evil: Attacker) -> dict[str, int]:
    """The ways to answer, and the port of each."""
    body = {"command": evil.upload("bad_server.py"), "name": "bad"}
    assert evil.api.post(f"{evil.base}/process", json=body).status_code == 200
    logs = f"{evil.base}/process/bad/logs"
    until(lambda: "silent" in evil.api.get(logs).json()["stdout"])
    names = evil.api.get(logs).json()["stdout"].split()
    return {name: 9001 + number for number, name in enumerate(names)}


def test_answers_that_lie(evil: Attacker, server: Server, ports: dict[str, int]) -> None:
    before = resident(server)
    for way, port in ports.items():
        for _ in range(
            1 if way in ENDLESS else 2
        ):  # a connection that is used again would bring the rest of the first
            check(evil, way, port)
    assert evil.is_well()
    assert resident(server) < before + MEMORY_MB


def check(evil: Attacker, way: str, port: int) -> None:
    """One answer: whole and honest, or an error of ours, and never what was smuggled in."""
    status, body = 0, b""
    timeout = httpx.Timeout(PATIENCE if way in ENDLESS else 20)
    try:
        with evil.api.stream("GET", f"{evil.base}/port/{port}/", timeout=timeout) as answer:
            status = answer.status_code
            assert "x-evil" not in answer.headers, way
            assert "serai" not in answer.headers.get("set-cookie", ""), way
            assert "clear-site-data" not in answer.headers, way
            begin = time.monotonic()
            for piece in answer.iter_raw():
                body += piece
                if len(body) > MOST_BYTES or time.monotonic() - begin > PATIENCE:
                    break
    except httpx.HTTPError:
        assert way not in HONEST, way
    assert b"EVIL" not in body, way
    if way in HONEST:
        assert body == b"ok", way
    elif way not in ENDLESS | OPAQUE and status == 200:
        assert body in (b"", b"ok"), way


def resident(server: Server) -> float:
    """MB that the server process holds."""
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def test_answers_that_never_come(evil: Attacker, server: Server, ports: dict[str, int]) -> None:
    """Clients that wait for them keep nobody else from theirs."""
    lines = [f"GET {evil.base}/port/{ports['silent']}/ HTTP/1.1", "Host: x"]
    lines += [f"{name}: {value}" for name, value in evil.api.headers.items() if name != "host"]
    request = "\r\n".join([*lines, "", ""]).encode()
    with contextlib.ExitStack() as stack:
        for _ in range(150):
            place = ("127.0.0.1", server.port)
            client = stack.enter_context(socket.create_connection(place, 10))
            client.sendall(request)
        assert evil.is_well()
