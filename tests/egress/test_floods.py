"""HTTP/2 as nobody means it: what moves nothing, as fast as it can be sent."""

import asyncio
import time
from pathlib import Path

import pytest

from egress.conftest import MakeRoom
from egress.test_rules import tell
from serai.egress.pace import BURST, RATE
from serai.egress.policy import Policy, Route
from serai.egress.service import EgressService

OPENED = Policy(routes=(Route(destinations=("*",), headers={"X-A": "1"}),))
SECONDS = 4
LARGEST_KB = 80 * 1024
"""What one flood may add to the memory of the process that serves all."""

FLOOD = """
import select, socket, ssl, struct, sys, time
from h2.connection import H2Connection
import h2.events, h2.settings
kind, target, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
context = ssl.create_default_context(cafile=sys.argv[4])
context.set_alpn_protocols(["h2"])
raw = socket.create_connection((target, 443))
tls = context.wrap_socket(raw, server_hostname=target)
assert tls.selected_alpn_protocol() == "h2"
side = H2Connection()
side.initiate_connection()
tls.sendall(side.data_to_send())

def frame(what, flags, stream, body=b""):
    size = struct.pack(">I", len(body))[1:]
    return size + bytes((what, flags)) + struct.pack(">I", stream) + body

head = [(":method", "GET"), (":scheme", "https"), (":authority", target), (":path", "/slow")]
fields = side.encoder.encode(head)
number = 1
def pieces():
    global number
    if kind == "pings":
        return frame(6, 0, 0, b"12345678") * 1000
    if kind == "settings":
        return frame(4, 0, 0, struct.pack(">HI", 4, 65535)) * 1000
    if kind == "windows":
        return frame(8, 0, 0, struct.pack(">I", 1)) * 1000
    if kind == "empty":
        first, number = number == 1, 3
        begin = frame(1, 4, 1, side.encoder.encode(
            [(":method", "POST"), *head[1:3], (":path", "/")])) if first else b""
        return begin + frame(0, 0, 1) * 1000
    if kind == "continuations":
        number += 2
        return frame(1, 0, number, fields) + frame(9, 0, number, b"") * 1000
    found = b""
    for _ in range(100):
        number += 2
        found += frame(1, 5, number, side.encoder.encode(head))
        found += frame(3, 0, number, struct.pack(">I", 8))
    return found

tls.setblocking(False)
sent = received = 0
rest, end = b"", time.monotonic() + seconds
try:
    while time.monotonic() < end:
        rest = rest or pieces()
        try:
            done = tls.send(rest)
            sent, rest = sent + done, rest[done:]
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            select.select([tls], [tls], [], 0.05)
        try:
            while data := tls.recv(65536):
                received += len(data)
            else:
                break
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
except OSError as error:
    print("cut:", error, file=sys.stderr)
print(sent, received)
"""


def memory_kb(pid: int) -> int:
    """What a process has in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(row.split()[1]) for row in status.splitlines() if row.startswith("VmRSS"))


@pytest.mark.parametrize(
    "kind", ["pings", "settings", "windows", "empty", "continuations", "resets"]
)
async def test_http2_that_moves_nothing(
    egress: EgressService, make_room: MakeRoom, kind: str
) -> None:
    """It is read as slowly as agreed, and a neighbour's requests are answered meanwhile."""
    flooder, neighbour = make_room("flooder"), make_room("neighbour")
    await tell(egress, OPENED, "flooder")
    await tell(egress, OPENED, "neighbour")
    assert " 200" in neighbour.curl("https://secure.test/")
    assert egress.pid is not None
    before, begin = memory_kb(egress.pid), time.monotonic()
    arguments = (kind, "grpc.test", str(SECONDS), str(flooder._authority))
    flood = asyncio.create_task(asyncio.to_thread(flooder.python, FLOOD, *arguments))
    answers = 0
    while not flood.done():
        assert " 200" in await asyncio.to_thread(neighbour.curl, "https://secure.test/")
        answers += 1
    assert answers > 0
    done = await flood
    assert done.returncode == 0, done.stderr[-2000:]
    _, received = (int(word) for word in done.stdout.split())
    if kind in ("pings", "settings"):  # each gets an answer, which is no longer than itself
        assert 10_000 < received < (BURST + RATE * (time.monotonic() - begin)) * 1.1
    assert memory_kb(egress.pid) - before < LARGEST_KB
    assert " 200" in await asyncio.to_thread(flooder.curl, "https://secure.test/")
