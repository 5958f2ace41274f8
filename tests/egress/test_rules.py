"""Domains, methods and paths, as programs inside meet them."""

import asyncio
import json

import pytest

from egress.conftest import MakeRoom
from egress.room import Room
from egress.world import BANNER, World
from serai.egress.policy import Policy
from serai.egress.service import EgressService

BLOCKED = "proxy-error: firewall_blocked"


async def tell(egress: EgressService, policy: Policy, name: str = "room") -> None:
    """Put rules, and wait until they hold."""
    egress.put(name, policy)
    await egress.attached()


def body(answer: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(answer[answer.index("{") :])
    return found


async def test_without_rules_names_are_reached(egress: EgressService, room: Room) -> None:
    await tell(egress, Policy())
    assert body(room.curl("https://secure.test/a"))["path"] == "/a"
    assert body(room.curl("http://plain.test/b"))["path"] == "/b"
    report = await egress.report("room")
    assert (report.allowed, report.blocked) == (2, 0)
    assert report.received_bytes > 100


async def test_nothing_is_reached_before_the_rules_are_known(
    egress: EgressService, make_room: MakeRoom
) -> None:
    stranger = make_room("stranger")
    assert "403" in stranger.curl("http://plain.test/")
    assert (await egress.report("stranger")).blocked == 1


@pytest.mark.parametrize(
    "address",
    ["127.0.0.2", "10.0.0.1", "169.254.169.254", "100.64.0.1", "192.168.1.1", "[fd00:ec2::254]"],
)
async def test_addresses_of_this_side_are_refused(
    egress: EgressService, room: Room, address: str
) -> None:
    await tell(egress, Policy())
    if address == "127.0.0.2":
        answer = room.run("curl", "-s", "-i", "-x", "http://192.0.0.9:3128", f"http://{address}/")
        assert "Proxy-Error: address_refused" in answer.stdout
    else:
        assert room.curl(f"http://{address}/") == ""
    report = await egress.report("room")
    assert report.blocked == 1
    assert report.refusals[0].reason == "address_refused"


async def test_allowed_domains(egress: EgressService, room: Room, world: World) -> None:
    await tell(egress, Policy(allowed=("secure.test", "*.wide.test")))
    world.seen.clear()
    assert " 200" in room.curl("https://secure.test/")
    assert " 200" in room.curl("https://x.wide.test/")
    for url in ("https://other.test/", "http://plain.test/", "http://unknown.example/"):
        assert BLOCKED in room.curl(url).lower(), url
    assert {each["headers"]["host"] for each in world.seen} == {"secure.test", "x.wide.test"}


async def test_forbidden_wins(egress: EgressService, room: Room) -> None:
    await tell(egress, Policy(allowed=("*.test",), forbidden=("other.test",)))
    assert " 200" in room.curl("https://secure.test/")
    assert BLOCKED in room.curl("https://other.test/").lower()


async def test_methods_and_paths(egress: EgressService, room: Room, world: World) -> None:
    rules = Policy(
        allowed=("GET:secure.test/data/", "POST:secure.test/in*"),
        forbidden=("secure.test/data/secret",),
    )
    await tell(egress, rules)
    world.seen.clear()
    base = "https://secure.test"
    assert " 200" in room.curl(f"{base}/data/one?token=/data/secret")
    assert " 200" in room.curl("-d", "x", f"{base}/inbox")
    blocked = [
        (f"{base}/data",),
        ("-X", "DELETE", f"{base}/data/one"),
        (f"{base}/data/secret",),
        ("--path-as-is", f"{base}/data/x/../secret"),
        ("--path-as-is", f"{base}/data/%2e%2e/%64ata//secret"),
        ("--path-as-is", f"{base}/data/../other"),
        ("--path-as-is", f"{base}/data/..%2fother"),
    ]
    for words in blocked:
        assert BLOCKED in room.curl(*words).lower(), words
    assert [each["path"] for each in world.seen] == ["/data/one?token=/data/secret", "/inbox"]
    refusals = (await egress.report("room")).refusals
    assert refusals[0].host == "secure.test"
    assert all("token" not in each.path for each in refusals)


async def test_each_request_of_a_connection_is_judged(egress: EgressService, room: Room) -> None:
    await tell(egress, Policy(allowed=("GET:plain.test/ok",)))
    code = (
        "import socket; c=socket.create_connection(('plain.test',80));"
        "c.sendall(b'GET /ok HTTP/1.1\\r\\nHost: plain.test\\r\\n\\r\\n'"
        "b'GET /no HTTP/1.1\\r\\nHost: plain.test\\r\\n\\r\\n');"
        "data=b''\n"
        "while part:=c.recv(65536): data+=part\n"
        "print(data.decode())"
    )
    answer = room.python(code).stdout
    assert answer.index("HTTP/1.1 200") < answer.index("HTTP/1.1 403")


async def test_a_host_header_cannot_lie(egress: EgressService, room: Room, world: World) -> None:
    """What a request says it is for is what it is judged by, and where it goes."""
    await tell(egress, Policy(allowed=("plain.test", "GET:secure.test/x")))
    world.seen.clear()
    assert BLOCKED in room.curl("-H", "Host: other.test", "http://plain.test/").lower()
    assert " 421" in room.curl("-H", "Host: other.test", "https://secure.test/x")
    assert world.seen == []


async def test_names_of_tls_are_judged(egress: EgressService, room: Room) -> None:
    """The name that TLS asks for counts, not the one that was looked up."""
    await tell(egress, Policy(allowed=("secure.test",)))
    words = ("-k", "--connect-to", "other.test:443:secure.test:443", "https://other.test/")
    assert BLOCKED in room.curl(*words).lower()
    await tell(egress, Policy(allowed=("other.test",)))
    words = ("--connect-to", "other.test:443:secure.test:443", "https://other.test/")
    assert BLOCKED not in room.curl(*words).lower()


async def test_addresses_nobody_was_told_are_refused(egress: EgressService, room: Room) -> None:
    await tell(egress, Policy(forbidden=("other.test",)))
    code = (
        "import socket\n"
        "c=socket.create_connection(('93.184.215.14', 8000), 5); c.settimeout(10)\n"
        "c.sendall(b'\\0\\1 not http')\n"
        "try: print(c.recv(10))\n"
        "except OSError as e: print(type(e).__name__)"
    )
    assert room.python(code).stdout.strip() == "ConnectionResetError"
    assert (await egress.report("room")).refusals[0].reason == "name_unknown"


async def test_a_server_that_speaks_first(egress: EgressService, room: Room) -> None:
    code = (
        "import socket; c=socket.create_connection(('first.test', 25), 5); c.settimeout(10);"
        "print(c.recv(100)); c.sendall(b'hello'); print(c.recv(100))"
    )
    for policy in (Policy(), Policy(allowed=("first.test",))):
        await tell(egress, policy)
        assert str(BANNER) in room.python(code).stdout
        assert "HELLO" in room.python(code).stdout
    await tell(egress, Policy(allowed=("secure.test",)))
    assert room.python(code).stdout == ""


async def test_only_the_proxy(egress: EgressService, room: Room) -> None:
    await tell(egress, Policy(allowed=("secure.test",), proxy_only=True))
    assert room.curl("https://secure.test/") == ""
    proxied = ("-x", "http://192.0.0.9:3128")
    assert " 200" in room.curl(*proxied, "https://secure.test/")
    assert BLOCKED in room.curl(*proxied, "https://other.test/").lower()
    assert BLOCKED in room.curl(*proxied, "http://plain.test/").lower()


async def test_proxied_plain_requests(egress: EgressService, room: Room) -> None:
    await tell(egress, Policy(allowed=("plain.test/yes",)))
    words = ("-x", "http://192.0.0.9:3128", "-H", "Proxy-Authorization: Basic eDp5")
    seen = json.loads(room.run("curl", "-s", *words, "http://plain.test/yes?q=1").stdout)
    assert seen["path"] == "/yes?q=1"
    assert "proxy-authorization" not in seen["headers"]
    assert BLOCKED in room.curl(*words, "http://plain.test/no").lower()


async def test_rules_change_under_open_connections(egress: EgressService, room: Room) -> None:
    await tell(egress, Policy())
    code = (
        "import socket; c=socket.create_connection(('first.test', 25), 5); c.settimeout(20);"
        "print(c.recv(100), flush=True)\n"
        "try: print(c.recv(100))\n"
        "except OSError as e: print(type(e).__name__)"
    )
    talking = asyncio.create_task(asyncio.to_thread(room.python, code))
    while not (await egress.report("room")).received_bytes:
        await asyncio.sleep(0.02)
    await tell(egress, Policy(forbidden=("first.test",)))
    lines = (await talking).stdout.splitlines()
    assert lines[0] == str(BANNER)
    assert lines[1] in ("b''", "ConnectionResetError")


async def test_websockets(egress: EgressService, room: Room) -> None:
    code = (
        "import asyncio, aiohttp, ssl, sys\n"
        "async def main():\n"
        "  context = ssl.create_default_context(cafile=sys.argv[1])\n"
        "  async with aiohttp.ClientSession() as s, s.ws_connect("
        "'https://secure.test/ws', ssl=context) as w:\n"
        "    await w.receive_json(); await w.send_str('hi'); print(await w.receive_str())\n"
        "asyncio.run(main())"
    )
    await tell(egress, Policy(allowed=("GET:secure.test/ws",)))
    done = room.python(code, str(room._authority))
    assert done.stdout == "you said hi\n", done.stderr


LATE = """
import socket, ssl, sys, time
c = socket.create_connection(("first.test", 25), 5); c.settimeout(20)
c.recv(100)
time.sleep(1.5)
if sys.argv[1] == "tls":
    context = ssl._create_unverified_context()
    try: context.wrap_socket(c, server_hostname=sys.argv[2])
    except OSError as e: print(type(e).__name__)
else:
    c.sendall(sys.argv[2].encode())
    try: print(c.recv(100))
    except OSError as e: print(type(e).__name__)
"""


async def test_who_waits_is_judged_all_the_same(egress: EgressService, room: Room) -> None:
    """A client that lets its server speak first cannot then ask it for another name."""
    await tell(egress, Policy(allowed=("first.test",)))
    assert "b'HELLO'" in room.python(LATE, "plain", "hello").stdout
    room.python(LATE, "tls", "other.test")
    report = await egress.report("room")
    assert [each.host for each in report.refusals] == ["other.test"]
    assert "Reset" in room.python(LATE, "plain", "GET / HTTP/1.1\r\n\r\n").stdout
