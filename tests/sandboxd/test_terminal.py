"""Terminals over WebSocket: shared, kept, bounded, and ended with all they started."""

import asyncio
import base64
import contextlib
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import urlencode

import aiohttp
import pytest

from .client import Sandbox, eventually, running


class Shell:
    """One WebSocket client; ``seen`` is all the output it got."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.seen = ""

    async def type(self, text: str) -> None:
        await self.socket.send_str(json.dumps({"type": "input", "data": text}))

    async def until(self, text: str, seconds: float = 10) -> str:
        """Read until output contains the text; frames are documented JSON with a newline."""
        async with asyncio.timeout(seconds):
            while text not in self.seen:
                frame = await self.socket.receive_str()
                assert frame.endswith("\n")
                message = json.loads(frame)
                assert message["type"] == "output", message
                self.seen += message["data"]
        return self.seen


Open = Callable[..., contextlib.AbstractAsyncContextManager[Shell]]


@pytest.fixture
async def shell(sandbox: Sandbox) -> AsyncIterator[Open]:
    connector = aiohttp.UnixConnector(path=str(sandbox.api))
    async with aiohttp.ClientSession(connector=connector) as session:

        @contextlib.asynccontextmanager
        async def connect(**query: object) -> AsyncIterator[Shell]:
            query = {"shell": "/bin/sh", **query}
            url = f"http://sandbox/terminal/ws?{urlencode(query)}"
            async with session.ws_connect(url, max_msg_size=0) as socket:
                yield Shell(socket)

        yield connect


async def ended(shell: Shell) -> aiohttp.WSMsgType:
    """Skip output until the server closes."""
    async with asyncio.timeout(10):
        while (message := await shell.socket.receive()).type == aiohttp.WSMsgType.TEXT:
            shell.seen += json.loads(message.data)["data"]
    return message.type


async def test_a_shell_on_a_terminal_of_its_own(shell: Open, sandbox: Sandbox) -> None:
    async with shell(sessionId="own", cols=101, rows=33) as one:
        await one.type("test -t 0 && stty size; echo $TERM $FROM_CONFIG; pwd\n")
        await one.type("echo pid=$$,last-$((1+1))\n")
        seen = await one.until("last-2")
        assert "33 101" in seen
        assert "xterm" in seen
        assert " yes\r\n" in seen
        assert str(sandbox.workdir) in seen
        pid = seen.rsplit("pid=", 1)[1].split(",")[0]
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        assert fields[2:4] == [pid, pid], "group and session"
        assert fields[4] != "0", "a controlling terminal"
        await one.type("exit\n")
        assert await ended(one) == aiohttp.WSMsgType.CLOSE


async def test_resize_reaches_programs(shell: Open) -> None:
    async with shell(sessionId="size", cols="0", rows="nonsense") as one:
        await one.type("stty size\n")
        await one.until("24 80")
        for bad in ({"cols": 0, "rows": 5}, {"cols": "x", "rows": 5}, {"rows": 5}):
            await one.socket.send_str(json.dumps({"type": "resize", **bad}))
        for junk in ("", "[]", '{"type":"other"}', '{"type":"input"}', "\0"):
            await one.socket.send_str(junk)
        await one.socket.send_bytes(b'{"type":"resize","cols":120,"rows":40}')
        await one.type("echo now $(stty size)\n")
        await one.until("now 40 120")
        await one.type("exit\n")


async def test_interrupt_stops_the_foreground_program(shell: Open) -> None:
    async with shell(sessionId="int") as one:
        await one.type("sleep 100; echo over=$?\n")
        await asyncio.sleep(0.2)
        await one.type("\x03")
        await one.type("echo still-$((40+2))\n")
        await one.until("still-42")
        await one.type("exit\n")


async def test_a_terminal_outlives_its_clients_and_is_shared(shell: Open) -> None:
    async with shell(sessionId="shared") as one:
        await one.type("KEPT=treasure; echo first-$KEPT\n")
        await one.until("first-treasure")
    async with shell(sessionId="shared") as two, shell(sessionId="shared") as three:
        assert "first-treasure" in await two.until("first-treasure"), "what was printed before"
        assert two.seen.startswith("\x1b[0m")
        await three.type("echo again-$KEPT-$((1+1))\n")
        await two.until("again-treasure-2")
        await three.until("again-treasure-2")
        await two.type("exit\n")
        assert await ended(two) == await ended(three) == aiohttp.WSMsgType.CLOSE
    async with shell(sessionId="shared") as four:
        await four.type("echo new-${KEPT:-nothing}\n")
        await four.until("new-nothing")
        await four.type("exit\n")


async def test_characters_are_never_split(shell: Open) -> None:
    async with shell(sessionId="text") as one:
        await one.type("python3 -c \"print('é€𝄞' * 30000)\"; echo; echo finish-$((1+1))\n")
        seen = await one.until("finish-2")
        assert "\ufffd" not in seen
        assert seen.count("𝄞") == 30001, "every one of them, and the command's echo"
        await one.type("exit\n")


async def test_ending_the_shell_ends_what_ignores_every_signal(shell: Open) -> None:
    ignoring = "trap '' HUP INT TERM QUIT; echo deaf=$$,$((1+1)); while :; do sleep 0.1; done"
    async with shell(sessionId="deaf") as one:
        await one.type(f'sh -c "{ignoring.replace("$", chr(92) + "$")}" &\n')
        await one.until(",2")
        pid = one.seen.rsplit("deaf=", 1)[1].split(",")[0]
        assert Path(f"/proc/{pid}").exists()
        await one.type("exit\n")
        await ended(one)
    eventually(lambda: not Path(f"/proc/{pid}/cmdline").exists())


async def test_a_flood_is_bounded_and_blocks_nobody(shell: Open, sandbox: Sandbox) -> None:
    async with shell(sessionId="flood") as slow, shell(sessionId="flood") as quick:
        await quick.type("printf '\\033[31m'; yes \"$(printf '\\033[1;32m\\033]0;x\\007flood')\"\n")
        await quick.until("flood\r\n\x1b[1;32m")
        before = sandbox.memory_kb()
        started = time.monotonic()
        while time.monotonic() - started < 1.0:
            assert sandbox.call("GET", "/health").status == 200
            await quick.socket.receive()
        assert sandbox.memory_kb() - before < 20_000
        await quick.type("\x03")
        await quick.type("echo calm-$((1+1))\n")
        await quick.until("calm-2")
        assert "calm-2" in await slow.until("calm-2"), "it skips what is gone, and sees the end"
        assert "\x1b[0m" in slow.seen
        await quick.type("exit\n")


async def test_input_that_nobody_reads_waits(shell: Open, sandbox: Sandbox) -> None:
    before = sandbox.memory_kb()
    async with shell(sessionId="stuck") as one:
        await one.type("stty raw -echo; echo ready-$((1+1)); sleep 1; cat | wc -c\n")
        await one.until("ready-2")
        text = json.dumps({"type": "input", "data": "z" * 500_000})
        sending = asyncio.ensure_future(_send_many(one, text, 8))
        await asyncio.sleep(0.5)
        assert sandbox.memory_kb() - before < 12_000
        assert sandbox.run("echo fine")["stdout"] == "fine\n"
        await sending
    async with shell(sessionId="stuck") as two:
        await two.until("ready-2")
    os.kill(session_leader(sandbox, "cat"), 9)


async def _send_many(one: Shell, text: str, count: int) -> None:
    for _ in range(count):
        await one.socket.send_str(text)


def session_leader(sandbox: Sandbox, name: str) -> int:
    """The session that a program of the sandbox belongs to."""

    def found() -> int:
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                head, _, rest = path.read_text().rpartition(")")
                if head.endswith(f"({name}") and (leader := int(rest.split()[3])):
                    parent = Path(f"/proc/{leader}/stat").read_text().rpartition(")")[2].split()[1]
                    if int(parent) == sandbox.pid:
                        return leader
        return 0

    return int(eventually(found))


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"shell": "/nope"}, "fork/exec /nope: no such file or directory"),
        ({"shell": "/etc/passwd"}, "fork/exec /etc/passwd"),
        ({"workingDir": "/no/such"}, "/no/such"),
        ({"sessionId": "x" * 200}, "sessionId"),
    ],
)
async def test_what_cannot_start_is_told(shell: Open, query: dict[str, str], says: str) -> None:
    async with shell(**{"sessionId": "bad", **query}) as one:
        message = json.loads(await one.socket.receive_str())
        assert message["type"] == "error"
        assert says in message["data"]
        assert (await one.socket.receive()).type == aiohttp.WSMsgType.CLOSE


async def test_there_are_only_so_many(shell: Open) -> None:
    async with contextlib.AsyncExitStack() as stack:
        shells = [await stack.enter_async_context(shell(sessionId=f"n{n}")) for n in range(32)]
        for one in shells:
            await one.type("echo ready-$((1+1))\n")
            await one.until("ready-2")
        async with shell(sessionId="over") as more:
            assert "32 terminals" in json.loads(await more.socket.receive_str())["data"]
        for one in shells:
            await one.type("exit\n")
            await ended(one)
    async with shell(sessionId="over") as more:
        await more.type("echo room-$((1+1)); exit\n")
        await more.until("room-2")


async def test_what_nobody_watches_ends(tmp_path: Path) -> None:
    with running(tmp_path, "--terminal-idle", "0.6") as sandbox:
        connector = aiohttp.UnixConnector(path=str(sandbox.api))
        async with aiohttp.ClientSession(connector=connector) as session:
            async with session.ws_connect("http://x/terminal/ws?shell=/bin/sh") as socket:
                one = Shell(socket)
                await one.type("trap '' HUP; echo pid=$$,$((1+1))\n")
                pid = (await one.until(",2")).rsplit("pid=", 1)[1].split(",")[0]
                await asyncio.sleep(1.2)
                assert Path(f"/proc/{pid}").exists(), "somebody watches"
            eventually(lambda: not Path(f"/proc/{pid}/cmdline").exists())


async def test_the_time_for_which_everything_stood_does_not_count(tmp_path: Path) -> None:
    with running(tmp_path, "--terminal-idle", "4") as sandbox:
        connector = aiohttp.UnixConnector(path=str(sandbox.api))
        async with aiohttp.ClientSession(connector=connector) as session:
            async with session.ws_connect("http://x/terminal/ws?shell=/bin/sh") as socket:
                await Shell(socket).type("MINE=kept\n")
            os.kill(sandbox.pid, signal.SIGSTOP)
            await asyncio.sleep(5)
            os.kill(sandbox.pid, signal.SIGCONT)
            await asyncio.sleep(0.5)
            async with session.ws_connect("http://x/terminal/ws?shell=/bin/sh") as socket:
                one = Shell(socket)
                await one.type("echo still-$MINE\n")
                await one.until("still-kept")


async def test_a_client_that_dies_while_it_waits(tmp_path: Path) -> None:
    with running(tmp_path, "--terminal-idle", "0.6") as sandbox:
        connector = aiohttp.UnixConnector(path=str(sandbox.api))
        async with aiohttp.ClientSession(connector=connector) as session:
            socket = await session.ws_connect("http://x/terminal/ws?shell=/bin/sh")
            one = Shell(socket)
            await one.type("stty raw -echo; echo ready-$$,$((1+1)); exec sleep 100\n")
            pid = (await one.until(",2")).rsplit("ready-", 1)[1].split(",")[0]
            text = json.dumps({"type": "input", "data": "z" * 500_000})
            sending = asyncio.ensure_future(_send_many(one, text, 8))
            await asyncio.sleep(0.3)
            assert not sending.done(), "its input waits"
            sending.cancel()
            assert socket._response.connection is not None
            assert socket._response.connection.transport is not None
            socket._response.connection.transport.abort()
            await asyncio.sleep(0.1)
            eventually(lambda: not Path(f"/proc/{pid}/cmdline").exists())


HANDSHAKE = (
    "GET /terminal/ws?shell=/bin/sh&sessionId=raw HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
    "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
)
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def masked(opcode: int, data: bytes) -> bytes:
    """A client's frame; the mask is all zeros, so the data stays readable."""
    assert len(data) < 126
    return bytes((0x80 | opcode, 0x80 | len(data))) + bytes(4) + data


def test_the_handshake_of_the_standard(sandbox: Sandbox) -> None:
    with sandbox.raw() as raw:
        raw.sendall(HANDSHAKE.format(key=KEY).encode() + masked(9, b"are you there"))
        head, _, rest = read_until(raw, b"are you there").partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
        assert b"\x8a\x0dare you there" in rest
        raw.sendall(masked(8, b"\x03\xe8bye"))
        assert b"\x88\x02\x03\xe8" in read_until(raw, b"\x88\x02\x03\xe8")


def read_until(raw: "object", mark: bytes) -> bytes:
    """What arrives until the mark is in it, or the end."""
    data = b""
    while mark not in data and (piece := raw.recv(65536)):  # type: ignore[attr-defined]
        data += piece
    return data


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x81\x01x", 1002),  # not masked
        (b"\xc1\x81\0\0\0\0x", 1002),  # a reserved bit
        (b"\x83\x80\0\0\0\0", 1002),  # an unknown opcode
        (b"\x80\x81\0\0\0\0x", 1002),  # the rest of nothing
        (b"\x09\x80\0\0\0\0", 1002),  # a fragment of a control frame
        (b"\x89\xfe\x01\x00\0\0\0\0", 1002),  # a long control frame
        (b"\x82\xff\x7f" + b"\xff" * 7 + bytes(4), 1009),  # more than there is memory
    ],
)
def test_broken_frames_end_the_connection(sandbox: Sandbox, frame: bytes, code: int) -> None:
    with sandbox.raw() as raw:
        raw.sendall(HANDSHAKE.format(key=KEY).encode() + frame)
        data = read_until(raw, b"\xff" * 99)
        at = data.rindex(b"\x88")
        assert int.from_bytes(data[at + 2 : at + 4], "big") == code


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ({}, "Bad Request"),
        ({"Upgrade": "h2c", "Connection": "Upgrade"}, "websocket"),
        ({"Sec-WebSocket-Version": "8"}, "version 13"),
        ({"Sec-WebSocket-Key": "short"}, "Sec-WebSocket-Key"),
    ],
)
def test_what_is_no_handshake(sandbox: Sandbox, headers: dict[str, str], says: str) -> None:
    full = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(b"k" * 16).decode(),
    }
    sent = {**full, **headers} if headers else {}
    answer = sandbox.call("GET", "/terminal/ws", headers=sent)
    assert answer.status == 400
    assert says in answer.json["error"]


def test_other_routes_do_not_upgrade(sandbox: Sandbox) -> None:
    with sandbox.raw() as raw:
        raw.sendall(HANDSHAKE.format(key=KEY).replace("/terminal/ws", "/health").encode())
        data = read_until(raw, b"nothing")
        assert data.startswith(b"HTTP/1.1 200 ")
        assert b"Connection: close" in data


def test_the_page_needs_nothing_from_elsewhere(sandbox: Sandbox) -> None:
    answer = sandbox.call("GET", "/terminal?token=x")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert b"http:" not in answer.body.replace(b'"http:"', b"")
    assert b"src=" not in answer.body
    assert b"//" not in answer.body.replace(b"// ", b"")
