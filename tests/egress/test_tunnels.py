"""Tunnels of a sandbox's network, to a peer that is not ours."""

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from egress.conftest import MakeRoom
from egress.room import Room
from egress.wireguard_peer import ADDRESS, ADDRESS_6, NETWORK_6, OTHER_6, PAGE, WireguardPeer
from serai.compute.tunnels import link_of, plan_of
from serai.egress.policy import Policy
from serai.egress.service import EgressService
from serai.egress.setup import TunnelRefused
from serai.wire.tunnels import TunnelConfig, read_tunnel

GET = ("curl", "-sS", "--noproxy", "*")
SERVE = """
import http.server, sys
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(("from inside to " + self.client_address[0]).encode())
http.server.HTTPServer(("", 8000), Page).serve_forever()
"""
RESOLVE = """
import sys, dns.message, dns.query
question = dns.message.make_query(sys.argv[1], "A")
print(dns.query.udp(question, "192.0.0.8", timeout=10).answer[0][0])
"""
ECHO = """
import socket, sys
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.settimeout(20)
sender.sendto(b"a datagram", (sys.argv[1], 53))
print(sender.recv(100).decode())
"""
STRAY = """
import socket, sys
peer, other = sys.argv[1:]
for source, target in (("10.1.2.3", peer), ("127.0.0.1", peer), ("", other), ("", peer)):
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.settimeout(20)
    sender.bind((source, 0))
    try:
        sender.sendto(bytes(1000), (target, 53))
    except OSError:
        pass
print(len(sender.recv(2000)))
"""


def checked(config: dict[str, Any]) -> TunnelConfig:
    """A configuration as it comes over the wire."""
    return read_tunnel(base64.b64encode(json.dumps(config).encode()).decode())


async def connect(
    egress: EgressService, room: Room, peer: WireguardPeer, policy: Policy, **changes: Any
) -> None:
    """A room with rules and a tunnel."""
    config = checked(peer.config(**changes))
    egress.put(room.name, policy)
    await egress.tunnel(room.name, plan_of(config))
    said = room.tunnel(link_of(config))
    assert said == "connected", said[-500:]


async def eventually(check: Callable[[], bool]) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + 60
    while not await asyncio.to_thread(check):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


def page(room: Room, address: str = ADDRESS, seconds: int = 20) -> str:
    """What the peer's page says to the room; empty where it is not reached."""
    return room.run(*GET, "--max-time", str(seconds), f"http://{address}/").stdout


@contextmanager
def served(room: Room) -> Iterator[None]:
    """A web server in the room, on port 8000 of every address."""
    server = subprocess.Popen(room.command(sys.executable, "-c", SERVE))
    try:
        while room.run(*GET, "http://127.0.0.1:8000/").returncode:
            assert server.poll() is None
        yield
    finally:
        server.kill()
        server.wait()


async def test_both_ends_reach_each_other(
    egress: EgressService, room: Room, peer: WireguardPeer
) -> None:
    peer.seen.clear()
    await connect(egress, room, peer, Policy())
    assert page(room) == f"{PAGE} to {peer.other}"
    big = room.run(*GET, "-o", "/dev/null", "-w", "%{size_download}", f"http://{ADDRESS}/big")
    assert big.stdout == str(4 << 20)
    assert room.python(ECHO, ADDRESS).stdout.strip() == "echo of a datagram"
    with served(room):
        assert peer.get(f"http://{peer.other}:8000/") == f"from inside to {ADDRESS}"
    assert PAGE.encode() not in b"".join(peer.seen)
    assert {int.from_bytes(each[:4], "little") for each in peer.seen} <= {1, 2, 3, 4}
    report = await egress.report(room.name)
    assert report.received_bytes > 4 << 20
    assert report.connections == 0


async def test_the_peer_reaches_nothing_but_the_sandbox(
    egress: EgressService, room: Room, peer: WireguardPeer
) -> None:
    """Neither what listens for the sandbox's own connections, nor the world behind it."""
    await connect(egress, room, peer, Policy())
    assert page(room)
    peer.run("ip", "route", "replace", "default", "dev", "wg0")
    for target in (f"{peer.other}:80", f"{peer.other}:9", "192.0.0.9:3128", "198.18.0.1:80"):
        assert peer.run(*GET, "-m", "1", f"http://{target}/").returncode in (7, 28), target
    question = peer.run(*GET, "-m", "1", "-o", "/dev/null", f"telnet://{peer.other}:53")
    assert question.returncode in (7, 28)
    report = await egress.report(room.name)
    assert (report.connections, report.allowed, report.blocked) == (0, 0, 0)


async def test_nothing_else_goes_through(
    egress: EgressService, room: Room, peer: WireguardPeer
) -> None:
    """Only packets from the sandbox's own address to what the peer stands for."""
    await connect(egress, room, peer, Policy(), allowed_ips=[f"{ADDRESS}/32"])
    peer.seen.clear()
    assert room.python(STRAY, ADDRESS, "10.87.0.9").stdout.strip() == "1008"
    assert len([each for each in peer.seen if len(each) > 1000]) == 2  # a datagram and its echo


@pytest.mark.parametrize(
    ("policy", "endpoint", "says"),
    [
        (Policy(allowed=("other.test",)), "peer.test:{port}", "firewall_blocked"),
        (Policy(forbidden=("peer.test",)), "peer.test:{port}", "firewall_blocked"),
        (Policy(allowed=("GET:peer.test/only",)), "peer.test:{port}", "firewall_blocked"),
        (Policy(closed=True), "peer.test:{port}", "firewall_blocked"),
        (Policy(proxy_only=True), "peer.test:{port}", "proxy_required"),
        (Policy(allowed=("other.test",)), "1.1.1.1:51820", "name_unknown"),
        (Policy(forbidden=("1.1.1.1",)), "[::ffff:1.1.1.1]:51820", "name_unknown"),
        (Policy(forbidden=("peer.test",)), "PEER.test.:{port}", "firewall_blocked"),
        (Policy(), "127.0.0.1:{port}", "not on the internet"),
        (Policy(), "[::ffff:127.0.0.1]:{port}", "not on the internet"),
        (Policy(), "169.254.169.254:80", "not on the internet"),
        (Policy(), "10.0.0.1:51820", "not on the internet"),
        (Policy(), "224.0.0.1:51820", "not on the internet"),
        (Policy(), "nowhere.invalid:51820", "not known"),
    ],
)
async def test_the_peer_is_a_destination_like_any_other(
    egress: EgressService,
    room: Room,
    peer: WireguardPeer,
    policy: Policy,
    endpoint: str,
    says: str,
) -> None:
    peer.seen.clear()
    egress.put(room.name, policy)
    config = checked(peer.config(peer_endpoint=endpoint.format(port=peer.port)))
    with pytest.raises(TunnelRefused, match=says):
        await egress.tunnel(room.name, plan_of(config))
    assert "did not take" in room.tunnel(link_of(config))
    assert room.run("ip", "link", "show", "wg0").returncode
    assert peer.seen == []


async def test_new_rules_cut_a_tunnel_and_let_it_go_on(
    egress: EgressService, room: Room, peer: WireguardPeer
) -> None:
    await connect(egress, room, peer, Policy(allowed=("peer.test",)))
    assert page(room)
    egress.put(room.name, Policy(allowed=("other.test",)))
    await egress.report(room.name)
    before = len(peer.seen)
    assert page(room, seconds=2) == ""
    assert [each for each in peer.seen[before:] if each[0] == 1] == []
    assert (await egress.report(room.name)).refusals[0].host == "peer.test"
    egress.put(room.name, Policy(allowed=("peer.test",)))
    await eventually(lambda: page(room, seconds=2) != "")


async def test_everything_may_go_to_the_peer(
    egress: EgressService, room: Room, peer: WireguardPeer
) -> None:
    """All but loopback and what the platform answers itself; and all as before afterwards."""
    peer.run("ip", "address", "add", "203.0.113.7/32", "dev", "lo")
    await connect(egress, room, peer, Policy(), allowed_ips=["0.0.0.0/0"], route_all=True)
    with served(room):
        assert page(room, "127.0.0.1:8000") == "from inside to 127.0.0.1"
    address = room.python(RESOLVE, "plain.test").stdout.strip()
    plain = ("--resolve", f"plain.test:80:{address}", "http://plain.test/")
    assert "200 OK" in room.curl(*plain)
    report = await egress.report(room.name)
    assert page(room, "203.0.113.7") == f"{PAGE} to {peer.other}"
    assert (await egress.report(room.name)).connections == report.connections
    await egress.tunnel(room.name, None)
    assert room.tunnel(None) == "removed"
    assert page(room, "203.0.113.7", 2) == ""
    assert (await egress.report(room.name)).connections == report.connections + 1
    assert "200 OK" in room.curl(*plain)


async def test_a_tunnel_may_be_of_ipv6(
    egress: EgressService, room: Room, peer: WireguardPeer
) -> None:
    inside = {"local_ip": f"{OTHER_6}/64", "allowed_ips": [NETWORK_6]}
    await connect(egress, room, peer, Policy(), **inside)
    assert page(room, f"[{ADDRESS_6}]") == f"{PAGE} to {OTHER_6}"
    assert "200 OK" in room.curl("http://plain.test/")


async def test_a_tunnel_is_replaced(
    egress: EgressService, make_room: MakeRoom, peer: WireguardPeer
) -> None:
    room = make_room("replaced")
    await connect(
        egress, room, peer, Policy(), peer_public_key=base64.b64encode(b"k" * 32).decode()
    )
    assert page(room, seconds=1) == ""
    await connect(egress, room, peer, Policy(), interface_name="vpn", persistent_keepalive=0)
    assert page(room) == f"{PAGE} to {peer.other}"
    links = room.run("ip", "-o", "link").stdout
    assert ("vpn:" in links, "wg0:" in links) == (True, False)


async def test_without_an_egress_process_nothing_leaks(
    egress: EgressService, room: Room, peer: WireguardPeer
) -> None:
    config = checked(peer.config(allowed_ips=["0.0.0.0/0"], route_all=True))
    await connect(egress, room, peer, Policy(), allowed_ips=["0.0.0.0/0"], route_all=True)
    assert page(room)
    first = egress.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await egress.wait_for_restart(30)
    await asyncio.to_thread(room.attach)
    assert page(room, "203.0.113.7", 2) == ""
    assert (await egress.report(room.name)).connections == 0
    await egress.tunnel(room.name, plan_of(config), judged=False)
    assert room.tunnel(link_of(config), anew=False) == "connected"
    await eventually(lambda: page(room, seconds=5) == f"{PAGE} to {peer.other}")


async def test_a_peer_that_comes_back_is_found(
    egress: EgressService, room: Room, peer: WireguardPeer
) -> None:
    peer.deaf = True
    try:
        await connect(egress, room, peer, Policy())
        assert page(room, seconds=1) == ""
    finally:
        peer.deaf = False
    await eventually(lambda: page(room, seconds=10) != "")


EARLIER = """
import sys
from serai.runtime import netlink, network
netlink._TABLE = "serai2"
network.enter(int(sys.argv[1]), "user")
network.enter(int(sys.argv[1]), "net")
rules = netlink.Ruleset()
rules.chain("in", netlink.HOOK_IN, -150, [])
rules.chain("out", netlink.HOOK_OUT, 0, [])
rules.apply()
"""


async def test_rules_of_an_earlier_version_go(
    egress: EgressService, make_room: MakeRoom, peer: WireguardPeer
) -> None:
    """They would drop what comes by a tunnel, as everything they do not know."""
    room = make_room("earlier")
    subprocess.run([sys.executable, "-c", EARLIER, str(room.pid)], check=True, timeout=30)
    assert page(room, seconds=1) == ""
    await connect(egress, room, peer, Policy())
    assert page(room) == f"{PAGE} to {peer.other}"
