"""Tunnels of real sandboxes, by the sandbox API on a real server."""

import base64
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from egress.test_sandboxes import Box, egress_pid, settings, until
from egress.test_tunnels import SERVE
from egress.wireguard_peer import ADDRESS, PAGE, WireguardPeer
from egress.world import World
from platform_server import Server
from serai.runtime.host import is_host_root

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(not is_host_root(), reason="needs root"),
]
GET = f"curl -s -m 10 --noproxy '*' http://{ADDRESS}/"


def body(config: dict[str, Any]) -> dict[str, str]:
    """A configuration as the API takes it."""
    return {"config": base64.b64encode(json.dumps(config).encode()).decode()}


class Tunnelled(Box):
    """A sandbox whose tunnel can be changed."""

    def connect(self, config: dict[str, Any]) -> httpx.Response:
        """Ask for a tunnel."""
        path = f"/main/sandboxes/{self.name}/network/tunnel/config"
        return self.api.put(path, json=body(config))

    def disconnect(self) -> httpx.Response:
        """Ask for its end."""
        return self.api.delete(f"/main/sandboxes/{self.name}/network/tunnel")

    def serve(self) -> None:
        """Start a web server on port 8000."""
        wanted = {"command": f"python3 -c '{SERVE}'", "waitForPorts": [8000]}
        path = f"/main/sandboxes/{self.name}/process"
        self.api.post(path, json=wanted).raise_for_status()


def started(world: World, peer: WireguardPeer, folder: Path, **environ: str) -> Server:
    """A server that knows the peer."""
    server = Server(folder / "data", **environ)
    server.data_dir.mkdir()
    known = settings(world, folder) + f'"peer.test" = "127.0.0.1:{peer.port}"\n'
    (server.data_dir / "network.toml").write_text(known)
    return server.start()


@pytest.fixture(scope="module")
def shared(
    world: World, peer: WireguardPeer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    server = started(world, peer, tmp_path_factory.mktemp("tunnels"), SERAI_STANDBY_SECONDS="1")
    yield server
    server.stop()


@pytest.fixture
def make_box(shared: Server) -> Iterator[Callable[..., Tunnelled]]:
    made: list[Tunnelled] = []

    def make(name: str, network: Any = None) -> Tunnelled:
        made.append(Tunnelled(shared.client, name, network))
        return made[-1]

    yield make
    for box in made:
        box.close()


MakeBox = Callable[..., Tunnelled]


def test_both_ends_reach_each_other(
    make_box: MakeBox, peer: WireguardPeer, shared: Server, world: World
) -> None:
    box = make_box("tunnelled")
    made = box.connect(peer.config())
    assert (made.status_code, made.json()["message"]) == (
        200,
        "Tunnel configuration updated successfully",
    ), made.text
    assert box.run(GET) == f"{PAGE} to {peer.other}"
    box.serve()
    assert peer.get(f"http://{peer.other}:8000/") == f"from inside to {ADDRESS}"
    world.seen.clear()
    assert box.run("curl -s -o /dev/null -w '%{http_code}' http://plain.test/") == "200"
    inside = box.run("cat /proc/net/dev; grep -c . /proc/net/route; ls /dev/net 2>&1")
    assert "wg0:" in inside
    assert "tun" not in inside
    assert box.api.get("/main/sandboxes/tunnelled/network/tunnel/config").status_code == 404
    ended = box.disconnect()
    assert (ended.status_code, ended.json()["message"]) == (200, "Tunnel disconnected")
    assert box.run(GET) == ""
    assert "wg0" not in box.run("cat /proc/net/dev")
    again = box.disconnect()
    assert (again.status_code, again.json()["error"]) == (400, "no WireGuard client is running")


WRONG = [
    ({"private_key": "c2hvcnQ="}, "private_key"),
    ({"peer_public_key": base64.b64encode(bytes(32)).decode()}, "keys"),
    ({"local_ip": "here"}, "local_ip"),
    ({"local_ip": "127.0.0.5/8"}, "local_ip"),
    ({"local_ip": "192.0.0.9/24"}, "local_ip"),
    ({"peer_endpoint": "nowhere"}, "peer_endpoint"),
    ({"peer_endpoint": "peer.test:0"}, "peer_endpoint"),
    ({"peer_endpoint": "127.1:51820"}, "peer_endpoint"),
    ({"peer_endpoint": "0x7f000001:51820"}, "peer_endpoint"),
    ({"peer_endpoint": "fd00::1:51820"}, "peer_endpoint"),
    ({"peer_endpoint": "127.0.0.1:51820"}, "peer_endpoint"),
    ({"peer_endpoint": "nowhere.invalid:51820"}, "not known"),
    ({"allowed_ips": ["127.0.0.0/9"]}, "allowed_ips"),
    ({"allowed_ips": ["everything"]}, "allowed_ips"),
    ({"interface_name": "../lo"}, "interface_name"),
    ({"interface_name": "lo"}, "interface_name"),
    ({"interface_name": "a-very-long-name"}, "interface_name"),
    ({"mtu": 67}, "mtu"),
    ({"local_ip": "fd00::2/64", "mtu": 1000}, "mtu"),
    ({"persistent_keepalive": -1}, "persistent_keepalive"),
    ({"route_all": "yes"}, "route_all"),
]


def test_what_is_wrong_is_named_and_changes_nothing(
    make_box: MakeBox, peer: WireguardPeer, shared: Server
) -> None:
    box = make_box("careful")
    assert box.connect(peer.config(unknown=["field"])).status_code == 200
    path = "/main/sandboxes/careful/network/tunnel/config"
    for wanted, says in (({}, "config"), ({"config": ""}, "config"), ({"config": 1}, "config")):
        refused = box.api.put(path, json=wanted)
        assert (refused.status_code, says in refused.json()["error"]) == (400, True), refused.text
    for text in ("%%", "e30=", base64.b64encode(b"[]").decode()):
        refused = box.api.put(path, json={"config": text})
        assert refused.status_code == 422, refused.text
        assert refused.json()["error"].startswith("invalid tunnel config: ")
    for changes, named in WRONG:
        refused = box.connect(peer.config(**changes))
        assert refused.status_code == 422, (changes, refused.text)
        assert named in refused.json()["error"], (changes, refused.text)
        assert peer.config()["private_key"] not in refused.text
    assert box.run(GET) == f"{PAGE} to {peer.other}"


def test_the_sandboxs_rules_hold_for_the_peer(make_box: MakeBox, peer: WireguardPeer) -> None:
    box = make_box("ruled", {"allowedDomains": ["secure.test"]})
    refused = box.connect(peer.config())
    assert (refused.status_code, "peer.test" in refused.json()["error"]) == (422, True)
    assert box.report()["refusals"][0]["host"] == "peer.test"
    assert box.disconnect().status_code == 400
    assert box.update({"allowedDomains": ["peer.test"]}).status_code == 200
    assert box.connect(peer.config()).status_code == 200
    assert box.run(GET) == f"{PAGE} to {peer.other}"
    assert box.update({"allowedDomains": ["secure.test"]}).status_code == 200
    assert box.run(GET.replace("-m 10", "-m 2")) == ""
    assert box.update({"allowedDomains": ["peer.test"]}).status_code == 200
    until(lambda: box.run(GET) != "")


def test_a_tunnel_survives_standby_upgrade_and_a_killed_egress_process(
    make_box: MakeBox, peer: WireguardPeer, shared: Server
) -> None:
    box = make_box("steady")
    assert box.connect(peer.config()).status_code == 200
    until(lambda: box.api.get("/v0/sandboxes/steady").json().get("state") == "STANDBY")
    assert box.run(GET) == f"{PAGE} to {peer.other}"
    box.api.post("/main/sandboxes/steady/upgrade", json={"version": "develop"}).raise_for_status()
    until(lambda: box.api.get("/main/sandboxes/steady/health").json()["upgradeCount"] == 1)
    assert box.run(GET) == f"{PAGE} to {peer.other}"
    os.kill(egress_pid(shared), signal.SIGKILL)
    until(lambda: box.run(GET) == f"{PAGE} to {peer.other}")


def test_a_tunnel_is_made_again_after_a_crash_and_a_restart(
    world: World, peer: WireguardPeer, tmp_path: Path
) -> None:
    server = started(world, peer, tmp_path)
    kept = server.data_dir / "tunnels"
    try:
        box = Tunnelled(server.client, "lasting")
        assert box.connect(peer.config()).status_code == 200
        assert box.run(GET) == f"{PAGE} to {peer.other}"
        [file] = kept.iterdir()
        assert file.stat().st_mode & 0o777 == 0o600
        (kept / "gone").write_bytes(b"of a sandbox that has ended")
        server.kill()
        server.start()
        until(lambda: box.run(GET) == f"{PAGE} to {peer.other}")
        assert list(kept.iterdir()) == [file]
        server.stop()
        server.start()
        until(lambda: box.run(GET) == f"{PAGE} to {peer.other}")
        secret = peer.config()["private_key"]
        written = [server.log, *(each for each in server.data_dir.rglob("*.log")), file]
        written += server.data_dir.glob("*.db*")
        for path in written:
            assert secret.encode() not in path.read_bytes()
            assert peer.other_private not in path.read_bytes()
        box.close()
        until(lambda: list(kept.iterdir()) == [])
    finally:
        server.stop()
