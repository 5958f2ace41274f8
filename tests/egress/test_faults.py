"""Crashes, floods and clients that do not do their part."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from egress.conftest import MakeRoom
from egress.room import Room
from egress.test_rules import BLOCKED, body, tell
from egress.world import World
from serai.egress.policy import Policy, Route
from serai.egress.process import MAX_CONNECTIONS
from serai.egress.service import EgressService
from serai.egress.setup import Setup


async def test_a_killed_process_is_replaced(egress: EgressService, room: Room) -> None:
    """The new one knows the rules, and takes networks over that are attached again."""
    await tell(egress, Policy(allowed=("secure.test",)))
    old = egress.pid
    assert old is not None
    os.kill(old, signal.SIGKILL)
    async with asyncio.timeout(20):
        await egress.wait_for_restart(20)
    assert await egress.attached() == frozenset()
    assert egress.pid != old
    assert room.curl("--max-time", "1", "https://secure.test/") == ""
    room.attach()
    assert " 200" in room.curl("https://secure.test/")
    assert BLOCKED in room.curl("http://plain.test/").lower()
    assert await egress.attached() == {"room"}


async def test_the_end_of_a_sandbox_lets_its_network_go(
    egress: EgressService, make_room: MakeRoom
) -> None:
    room = make_room("short")
    assert await egress.attached() == {"short"}
    room.close()
    async with asyncio.timeout(10):
        while await egress.attached():
            await asyncio.sleep(0.02)


async def test_a_forgotten_sandbox_is_cut_off(egress: EgressService, room: Room) -> None:
    await tell(egress, Policy())
    assert " 200" in room.curl("https://secure.test/")
    egress.drop("room")
    assert await egress.attached() == frozenset()
    assert room.curl("--max-time", "1", "https://secure.test/") == ""


HOLD = """
import socket, sys, time
kept = []
for _ in range(int(sys.argv[1])):
    each = socket.socket()
    each.setblocking(False)
    try: each.connect(("192.0.0.9", 3128))
    except BlockingIOError: pass
    kept.append(each)
time.sleep(3)
"""


async def test_a_flood_of_connections(egress: EgressService, make_room: MakeRoom) -> None:
    """Neighbours go on while one sandbox takes all it can get, and it recovers."""
    flooder, neighbour = make_room("flooder"), make_room("neighbour")
    opened = Policy(routes=(Route(destinations=("*",), headers={"X-A": "1"}),))
    await tell(egress, opened, "flooder")
    await tell(egress, opened, "neighbour")
    flood = asyncio.create_task(asyncio.to_thread(flooder.python, HOLD, str(MAX_CONNECTIONS + 200)))
    async with asyncio.timeout(20):
        while not (report := await egress.report("flooder")).blocked:
            await asyncio.sleep(0.02)
    assert report.refusals[0].reason == "too_many_connections"
    assert " 200" in await asyncio.to_thread(neighbour.curl, "https://secure.test/")
    await flood
    assert " 200" in await asyncio.to_thread(flooder.curl, "https://secure.test/")


async def test_half_greetings_and_garbage(egress: EgressService, room: Room) -> None:
    """What is neither TLS nor HTTP in the end is judged without a name; nothing breaks."""
    await tell(egress, Policy(allowed=("secure.test",)))
    code = """
import socket
starts = b"\\x16\\x03\\x01\\x02\\x00", b"GET / HTTP/9.9\\r\\n\\r\\n", bytes(100), b"PRI * HTTP/2.0"
for data in starts:
    c = socket.create_connection(("plain.test", 80), 5); c.settimeout(25)
    try: c.sendall(data); c.shutdown(socket.SHUT_WR); print(c.recv(100)[:12])
    except OSError as e: print(type(e).__name__)
"""
    done = await asyncio.to_thread(room.python, code)
    assert len(done.stdout.splitlines()) == 4, done.stderr
    assert "200" not in done.stdout
    assert " 200" in room.curl("https://secure.test/")


async def test_smuggled_requests(egress: EgressService, room: Room) -> None:
    """Two lengths in one request are one too many."""
    await tell(egress, Policy(allowed=("GET:plain.test/ok", "POST:plain.test/ok")))
    code = """
import socket
c = socket.create_connection(("plain.test", 80), 5); c.settimeout(10)
c.sendall(b"POST /ok HTTP/1.1\\r\\nHost: plain.test\\r\\nContent-Length: 4\\r\\n"
          b"Transfer-Encoding: chunked\\r\\n\\r\\n0\\r\\n\\r\\n"
          b"GET /no HTTP/1.1\\r\\nHost: plain.test\\r\\n\\r\\n")
data = b""
try:
    while part := c.recv(65536): data += part
except OSError: pass
print(data.decode())
"""
    answer = room.python(code).stdout
    assert "HTTP/1.1 400" in answer
    assert "/no" not in answer


async def test_datagrams_and_pings_are_refused_at_once(egress: EgressService, room: Room) -> None:
    await tell(egress, Policy())
    code = """
import socket
for target in (("8.8.8.8", 123), ("192.0.0.9", 3128), ("224.0.0.251", 5353), ("8.8.8.8", 443)):
    try: print(socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", target))
    except OSError as e: print(type(e).__name__)
"""
    assert set(room.python(code).stdout.split()) == {"PermissionError"}


async def test_only_loopback_is_there(room: Room) -> None:
    code = "import socket; print([name for _, name in socket.if_nameindex()])"
    assert room.python(code).stdout.strip() == "['lo']"


async def test_rooms_do_not_see_each_other(egress: EgressService, make_room: MakeRoom) -> None:
    one, two = make_room("one"), make_room("two")
    for name in ("one", "two"):
        await tell(egress, Policy(), name)
    serve = (
        "import socket\nl = socket.socket(); l.bind(('0.0.0.0', 8000)); l.listen(); "
        "print(l.accept(), flush=True)"
    )
    listening = asyncio.create_task(
        asyncio.to_thread(one.run, "timeout", "3", "python3", "-c", serve)
    )
    for target in ("192.0.0.8:8000", "8.8.8.8:8000", "127.0.0.1:8000"):
        words = ("curl", "-s", "--max-time", "1", f"http://{target}/")
        assert (await asyncio.to_thread(two.run, *words)).stdout == ""
    assert (await listening).stdout == ""


DNS = """
import dns.message, dns.query, dns.rdatatype, sys
for server in ("192.0.0.8", "9.9.9.9"):
    for kind in ("A", "AAAA", "HTTPS", "MX"):
        question = dns.message.make_query(sys.argv[1], kind)
        by = dns.query.tcp if sys.argv[2] == "tcp" else dns.query.udp
        answer = by(question, server, timeout=10)
        found = [each.to_text() for rrset in answer.answer for each in rrset]
        print(kind, dns.rcode.to_text(answer.rcode()), *found)
"""


@pytest.mark.parametrize("by", ["udp", "tcp"])
async def test_names_are_answered(egress: EgressService, room: Room, by: str) -> None:
    """The same from whichever server was asked; a forbidden name is not looked up anywhere."""
    await tell(egress, Policy(forbidden=("other.test",)))
    lines = room.python(DNS, "other.test", by).stdout.splitlines()
    assert lines == ["A NOERROR 192.0.0.10", "AAAA NOERROR", "HTTPS NOERROR", "MX NOERROR"] * 2
    virtual = room.python(DNS, "plain.test", by).stdout.splitlines()[0]
    assert virtual.startswith("A NOERROR 198.18.")


async def test_garbage_questions(egress: EgressService, room: Room) -> None:
    await tell(egress, Policy())
    code = """
import os, socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for size in range(0, 600, 3):
    s.sendto(os.urandom(size), ("192.0.0.8", 53))
"""
    assert room.python(code).returncode == 0
    assert body(room.curl("http://plain.test/x"))["path"] == "/x"


async def test_a_kernel_without_our_rules(egress: EgressService, make_room: MakeRoom) -> None:
    """The ports that most things need are there, still under the rules; nothing else goes out."""
    room = make_room("few", attached=False)
    assert room.attach(without_rules=True) == "ports 53, 80 and 443 only"
    await tell(egress, Policy(forbidden=("other.test",)), "few")
    assert " 200" in room.curl("https://secure.test/")
    assert " 200" in room.curl("http://plain.test/")
    assert BLOCKED in room.curl("https://other.test/").lower()
    assert " 200" in room.curl("-x", "http://192.0.0.9:3128", "https://secure.test/")
    assert room.curl("http://plain.test:8000/") == ""
    code = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(0.5)
s.sendto(b"x", ("8.8.8.8", 123))
try: print(s.recv(10))
except OSError as e: print(type(e).__name__)
"""
    assert "b'" not in room.python(code).stdout


async def test_a_long_data_directory(world: World, tmp_path: Path) -> None:
    """Paths of sockets are short; the directory that is used instead goes away again."""
    folder = tmp_path / ("long" * 30)
    service = EgressService(folder, Setup)
    assert not str(service.socket).startswith(str(folder))
    assert not service.socket.parent.exists()
    await service.start()
    room = Room("far", service.socket, Path("/dev/null"))
    assert room.attach() == "all ports"
    room.close()
    await service.close()
    assert not service.socket.parent.exists()
