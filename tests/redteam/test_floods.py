"""Output without end: of processes, of terminals, and to clients that do not read."""

import asyncio
import time
from urllib.parse import urlsplit

import aiohttp
import pytest

from platform_server import KEY, Server

from .attacker import Attacker, until
from .test_files import memory_of_api

FLOOD_SECONDS = 3
LOG_MB = 64
"""What the output of all processes may cost together: twice what the API keeps."""


def test_processes_that_print_without_end(evil: Attacker, server: Server) -> None:
    """Gigabytes: memory and disk stay small, and the newest of it can be read."""
    evil.run("true")
    before, disk = memory_of_api(evil), written(evil)
    for number in range(4):
        evil.start(f"timeout {FLOOD_SECONDS} yes $(printf %0500d {number})", name=f"flood-{number}")
    evil.start(f"timeout {FLOOD_SECONDS} cat /dev/urandom", name="random")
    evil.start(f"timeout {FLOOD_SECONDS} sh -c 'while :; do printf x; done'", name="drops")
    end = time.monotonic() + FLOOD_SECONDS
    while time.monotonic() < end:
        assert evil.api.get(f"{evil.base}/health").status_code == 200
        time.sleep(0.2)
    until(lambda: all(each["status"] != "running" for each in processes(evil)))
    assert memory_of_api(evil) < before + LOG_MB
    assert written(evil) < disk + 1024
    logs = evil.api.get(f"{evil.base}/process/flood-1/logs").json()["stdout"]
    assert logs.endswith("01\n")
    assert len(logs) < 5 << 20
    assert evil.is_well()


def processes(evil: Attacker) -> list[dict[str, str]]:
    """All of its processes, as the API tells them."""
    found: list[dict[str, str]] = evil.api.get(f"{evil.base}/process").json()
    return found


def written(evil: Attacker) -> int:
    """KB on its disk, outside of what comes from the image."""
    done = evil.run("du -skc /var/log /tmp /root /run 2>/dev/null | tail -1")
    return int(done["stdout"].split()[0])


def test_a_follower_who_does_not_read(evil: Attacker, server: Server) -> None:
    name = evil.start("yes everything | head -c 2000000000")
    before = memory_of_api(evil)
    with evil.api.stream("GET", f"{evil.base}/process/{name}/logs/stream") as stream:
        assert stream.status_code == 200
        time.sleep(2)
        assert memory_of_api(evil) < before + LOG_MB
        assert evil.is_well()
    assert evil.api.delete(f"{evil.base}/process/{name}/kill").status_code in (200, 404)


@pytest.mark.parametrize("reads", [True, False])
async def test_terminals_that_print_without_end(
    evil: Attacker, server: Server, reads: bool
) -> None:
    """Escape sequences as fast as they come; who watches may read or not."""
    headers = {"X-Blaxel-Authorization": f"Bearer {KEY}"}
    url = f"{server.url.replace('http', 'ws')}{evil.base}/terminal/ws?sessionId=flood"
    before = memory_of_api(evil)
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.ws_connect(url, max_msg_size=1 << 20) as socket,
    ):
        escapes = r"\\033[2J\\033]0;evil\\007\\033[?1049h\\033[9999999b\\033P\\033\\134\\377\\376"
        await socket.send_json({"type": "input", "data": f"yes \"$(printf '{escapes}')\"\n"})
        end = time.monotonic() + FLOOD_SECONDS
        received = 0
        while time.monotonic() < end and received < 20 << 20:
            if not reads:
                assert evil.is_well()
                time.sleep(0.2)
                continue
            message = await socket.receive(timeout=10)
            assert message.type == aiohttp.WSMsgType.TEXT
            received += len(message.data)
        assert received > 1 << 16 or not reads
        assert memory_of_api(evil) < before + LOG_MB
    assert evil.is_well()


async def opened(server: Server, evil: Attacker, session: str) -> asyncio.StreamWriter:
    """A connection to a terminal, without a client library that would keep it to the rules."""
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(server.url).port)
    head = (
        f"GET {evil.base}/terminal/ws?sessionId={session} HTTP/1.1\r\nHost: x\r\n"
        f"X-Blaxel-Authorization: Bearer {KEY}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    writer.write(head.encode())
    assert b" 101 " in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
    return writer


PIECES = {
    "unfinished": b"\x82\xff" + (1 << 20).to_bytes(8, "big") + bytes(4 + (1 << 20) - 1),
    "fragments": b"\x02\xfe\xff\xff" + bytes(4 + 65535) + (b"\x00\x80" + bytes(4)) * 10000,
    "pings": (b"\x89\xfd" + bytes(4 + 125)) * 8000,
    "nested": b"\x81\xff" + (1 << 19).to_bytes(8, "big") + bytes(4) + b"[" * (1 << 19),
}


@pytest.mark.parametrize("kind", PIECES)
async def test_many_websockets_that_never_end(evil: Attacker, server: Server, kind: str) -> None:
    """Messages that are never finished, and clients that do not read what they ask for."""
    evil.run("true")
    before = memory_of_api(evil)
    writers = [await opened(server, evil, f"s{number % 4}") for number in range(90)]
    for writer in writers:
        writer.write(PIECES[kind])
    drains = (asyncio.wait_for(writer.drain(), 5) for writer in writers)
    await asyncio.gather(*drains, return_exceptions=True)
    for _ in range(5):
        assert await asyncio.to_thread(evil.is_well)
    assert memory_of_api(evil) < before + LOG_MB
    for writer in writers:
        writer.transport.abort()
    until(evil.is_well)
