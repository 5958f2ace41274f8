"""The network of real sandboxes, on a real server."""

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from egress.conftest import HOSTS
from egress.world import World
from oci_images import busybox_image
from platform_server import KEY, Server
from serai.runtime.host import is_host_root
from serai.runtime.oci.program import find

pytestmark = pytest.mark.sandbox
SECRET = "sk-live-never-seen-inside"
ROUTED = {
    "proxy": {
        "routing": [
            {
                "destinations": ["secure.test"],
                "headers": {"Authorization": "Bearer {{SECRET:key}}"},
                "secrets": {"key": SECRET},
            }
        ]
    }
}


def settings(world: World, folder: Path, more: str = "") -> str:
    """``network.toml`` that knows the world."""
    roots = folder / "roots.pem"
    roots.write_text(world.roots)
    places = {name: world.ports[kind] for name, kind in HOSTS.items() if kind in world.ports}
    hosts = "".join(f'"{name}" = "127.0.0.1:{port}"\n' for name, port in places.items())
    return f'[egress]\nroots = "{roots}"\n{more}\n[egress.hosts]\n{hosts}'


WANTED = "runsc" in os.environ.get("SERAI_TEST_DRIVERS", "") and find("runsc") and is_host_root()
DRIVER = {"SERAI_RUNTIME": "runsc"} if WANTED else {}
"""For `make test-drivers`: of all drivers, gVisor alone brings a network of its own."""
MakeServer = Callable[..., Server]


@pytest.fixture
def make_server(world: World, tmp_path: Path) -> Iterator[MakeServer]:
    made: list[Server] = []

    def make(more: str = "") -> Server:
        server = Server(tmp_path / f"data-{len(made)}", **DRIVER)
        server.data_dir.mkdir()
        (server.data_dir / "network.toml").write_text(settings(world, tmp_path, more))
        made.append(server.start())
        return server

    yield make
    for server in made:
        server.stop()


@pytest.fixture(scope="module")
def shared(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("egress")
    server = Server(folder / "data", **DRIVER)
    server.data_dir.mkdir()
    (server.data_dir / "network.toml").write_text(settings(world, folder))
    yield server.start()
    server.stop()


@pytest.fixture
def api(shared: Server) -> Iterator[httpx.Client]:
    with shared.client_for(KEY) as client:
        yield client


class Box:
    """One sandbox."""

    def __init__(self, api: httpx.Client, name: str, network: Any = None, **runtime: str) -> None:
        self.api, self.name = api, name
        spec: dict[str, Any] = {"runtime": {"memory": 512} | runtime}
        if network is not None:
            spec["network"] = network
        answer = api.post("/v0/sandboxes", json={"metadata": {"name": name}, "spec": spec})
        assert answer.status_code == 200, answer.text
        self.made: dict[str, Any] = answer.json()

    def run(self, command: str) -> str:
        """Output of a command, whatever its end."""
        body = {"command": command, "waitForCompletion": True, "timeout": 40}
        path = f"/main/sandboxes/{self.name}/process"
        answer = self.api.post(path, json=body, timeout=60)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["logs"])

    def update(self, network: Any) -> httpx.Response:
        """Replace its network rules."""
        body = {"metadata": self.made["metadata"], "spec": self.made["spec"] | {"network": network}}
        return self.api.put(f"/v0/sandboxes/{self.name}", json=body)

    def report(self) -> dict[str, Any]:
        """What it reached."""
        found: dict[str, Any] = self.api.get(f"/v0/sandboxes/{self.name}/egress").json()
        return found

    def close(self) -> None:
        """Delete it."""
        self.api.delete(f"/v0/sandboxes/{self.name}")


@pytest.fixture
def make_box(api: httpx.Client) -> Iterator[Callable[..., Box]]:
    made: list[Box] = []

    def make(name: str, network: Any = None, **runtime: str) -> Box:
        made.append(Box(api, name, network, **runtime))
        return made[-1]

    yield make
    for box in made:
        box.close()


MakeBox = Callable[..., Box]


def test_secrets_are_filled_outside(make_box: MakeBox, shared: Server, world: World) -> None:
    world.seen.clear()
    box = make_box("routed", ROUTED)
    answer = box.run("curl -s -i https://secure.test/charges -o /dev/null -w '%{http_code}'")
    assert answer == "200"
    assert world.seen[-1]["headers"]["authorization"] == f"Bearer {SECRET}"
    for shown in (str(box.made), box.api.get("/v0/sandboxes/routed").text):
        assert SECRET not in shown
        assert "{{SECRET:key}}" in shown
    inside = box.run(
        "env; cat /proc/1/environ | tr '\\0' '\\n'; cat /proc/*/cmdline | tr '\\0' ' '; "
        f"grep -rl {SECRET} /etc /var /root /blaxel /usr/local/share /run 2>/dev/null"
    )
    assert SECRET not in inside.replace(f"grep -rl {SECRET}", "")
    for log in (shared.log, shared.data_dir / "egress.log"):
        assert SECRET not in log.read_text()


def test_names_are_found_in_a_sandbox_of_an_image(
    make_box: MakeBox, shared: Server, world: World, tmp_path: Path
) -> None:
    layout = busybox_image().write(tmp_path / "layout")
    imported = shared.run("images", "import", str(layout), "--name", "tests/names:1")
    assert imported.returncode == 0, imported.stderr
    world.seen.clear()
    box = make_box("of-an-image", image="tests/names:1")
    box.run("/busybox wget -q -O - http://plain.test/page")
    assert world.seen[-1]["path"] == "/page"


def test_variables_and_trust(make_box: MakeBox) -> None:
    box = make_box("with-proxy", ROUTED | {"allowedDomains": ["secure.test"]})
    names = "HTTP_PROXY HTTPS_PROXY NO_PROXY NODE_EXTRA_CA_CERTS SSL_CERT_FILE"
    found = box.run(f"for name in {names}; do printenv $name; done").split()
    assert found[:2] == ["http://192.0.0.9:3128"] * 2
    assert "localhost" in found[2]
    code = "import urllib.request as u; print(u.urlopen('https://secure.test/').status)"
    assert box.run(f'python3 -c "{code}"').strip() == "200"
    assert box.run(f'env -u HTTPS_PROXY -u https_proxy python3 -c "{code}"').strip() == "200"
    plain = make_box("without-proxy")
    assert plain.run("printenv HTTPS_PROXY; printenv NODE_EXTRA_CA_CERTS") == ""
    assert plain.run("curl -s -o /dev/null -w '%{http_code}' https://secure.test/") == "200"


def test_rules_change_without_a_restart(make_box: MakeBox) -> None:
    box = make_box("changing")
    get = "curl -s -o /dev/null -w '%{http_code}' http://plain.test/"
    box.run("echo kept > /tmp/kept")
    assert box.run(get) == "200"
    assert box.update({"forbiddenDomains": ["plain.test"]}).status_code == 200
    assert box.run(get) == "403"
    assert box.update(None).status_code == 200
    assert box.run(get) == "200"
    assert box.run("cat /tmp/kept") == "kept\n"
    report = box.report()
    assert (report["allowed"], report["blocked"]) == (2, 1)
    assert report["refusals"][0]["reason"] == "firewall_blocked"
    assert report["refusals"][0]["host"] == "plain.test"
    assert report["receivedBytes"] > 0


def test_nothing_of_this_side_is_reached(make_box: MakeBox, shared: Server) -> None:
    """Loopback, the host's addresses, metadata, the control plane, a neighbour's ports."""
    box, other = make_box("curious"), make_box("neighbour")
    other.api.post(
        "/main/sandboxes/neighbour/process",
        json={"command": "python3 -m http.server 8000", "waitForPorts": [8000]},
    )
    targets = [
        f"127.0.0.1:{shared.port}",
        f"192.0.0.9:{shared.port}",
        "169.254.169.254",
        "10.0.0.1",
    ]
    targets += [f"{address}:{shared.port}" for address in _own_addresses()]
    targets += ["192.0.0.8:8000", "[::1]:8000", "[fd00:ec2::254]"]
    for target in targets:
        words = f"curl -s -m 3 --noproxy '*' -o /dev/null -w '%{{http_code}}' http://{target}/"
        assert box.run(words).strip() in ("000", "403"), target
        proxied = words.replace("--noproxy '*'", "-x http://192.0.0.9:3128")
        assert box.run(proxied).strip() in ("000", "403"), target
    assert box.run("ls /sys/class/net 2>/dev/null; cat /proc/net/dev | tail -n +3").count(
        ":"
    ) == 1 + len(DRIVER)


def _own_addresses() -> list[str]:
    text = Path("/proc/net/fib_trie").read_text()
    found = set(re.findall(r"-- (\S+)\n\s+/32 host LOCAL", text))
    return sorted(each for each in found if not each.startswith("127."))


RAW = """
import socket
try:
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    head = bytes.fromhex("450000280000000040060000") + socket.inet_aton("8.8.8.8")
    for target in ("10.0.0.1", "8.8.4.4", "169.254.169.254"):
        packet = head + socket.inet_aton(target) + bytes.fromhex("00500050") + bytes(16)
        try: s.sendto(packet, (target, 0))
        except OSError as e: print(e)
    a = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); a.bind(("lo", 0)); a.send(bytes(60))
except OSError as e: print(e)
c = socket.socket(); c.setsockopt(socket.SOL_IP, 19, 1); c.settimeout(2)
try:
    c.bind(("8.8.8.8", 4444)); c.connect(("plain.test", 80)); print("spoofed")
except OSError as e: print(e)
"""


def test_raw_packets_go_nowhere(make_box: MakeBox, world: World) -> None:
    box = make_box("raw", {"allowedDomains": ["secure.test"]})
    box.api.put(
        "/main/sandboxes/raw/filesystem/%2Ftmp%2Fraw.py", json={"content": RAW}
    ).raise_for_status()
    world.seen.clear()
    box.run("python3 /tmp/raw.py")
    assert world.seen == []
    assert box.run("curl -s -o /dev/null -w '%{http_code}' https://secure.test/") == "200"


def until(true: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.1)


def egress_pid(server: Server) -> int:
    """The egress process that this server started."""
    assert server.process is not None
    children = Path(f"/proc/{server.process.pid}/task").glob("*/children")
    for pid in " ".join(path.read_text() for path in children).split():
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        if b"serai.egress.process" in command:
            return int(pid)
    raise AssertionError("no egress process")


def test_a_killed_egress_process(make_box: MakeBox, shared: Server) -> None:
    """Sandboxes and the platform go on; a moment later so does the network, under its rules."""
    box = make_box("steady", {"allowedDomains": ["secure.test"]})
    old = egress_pid(shared)
    os.kill(old, signal.SIGKILL)
    assert box.run("echo still here") == "still here\n"
    get = "curl -s -m 5 -o /dev/null -w '%{http_code}' "
    until(lambda: box.run(f"{get} https://secure.test/") == "200")
    assert box.run(f"{get} http://plain.test/") == "403"
    assert egress_pid(shared) != old


def test_a_killed_server(make_server: MakeServer) -> None:
    """The sandbox lives on; the next server connects its network again, under its rules."""
    server = make_server()
    box = Box(server.client, "survivor", {"allowedDomains": ["secure.test"]} | ROUTED)
    box.run("echo kept > /tmp/kept")
    server.kill()
    server.start()
    assert box.run("cat /tmp/kept") == "kept\n"
    get = "curl -s -m 5 -o /dev/null -w '%{http_code}' --noproxy '*'"
    until(lambda: box.run(f"{get} https://secure.test/") == "200")
    assert box.run(f"{get} http://plain.test/") == "403"


def test_what_an_operator_opens(make_server: MakeServer) -> None:
    server = make_server("platform = true\ninternet = false\n")
    box = Box(server.client, "closed")
    get = "curl -s -m 5 -o /dev/null -w '%{http_code}'"
    assert box.run(f"{get} http://plain.test/") == "403"
    box.update({"allowedDomains": ["serai.internal", "plain.test"]})
    assert box.run(f"{get} http://plain.test/") == "200"
    assert box.run("curl -s http://serai.internal/health | head -c 14") == '{"status":"ok"'


BAD = [
    ({"allowedDomains": [" "]}, "spec.network.allowedDomains[0]"),
    ({"proxy": {"bypass": ["a\nb"]}}, "spec.network.proxy.bypass[0]"),
    ({"firewall": {"rulesets": ["none"]}}, "spec.network.firewall.rulesets"),
    ({"firewall": {"rulesets": "proxy"}}, "spec.network.firewall.rulesets"),
    ({"proxy": {"routing": [{"headers": {"A": "b"}}]}}, "routing[0].destinations"),
    ({"proxy": {"routing": [{"destinations": ["a"], "headers": {"A b": "c"}}]}}, "'A b'"),
    ({"proxy": {"routing": [{"destinations": ["a"], "headers": {"A": "b\r\nC: d"}}]}}, "'A'"),
    ({"proxy": {"routing": [{"destinations": ["a"], "headers": {"host": "b"}}]}}, "host"),
]


@pytest.mark.parametrize(("network", "named"), BAD)
def test_rules_that_cannot_be_obeyed(api: httpx.Client, network: Any, named: str) -> None:
    body = {"metadata": {"name": "bad"}, "spec": {"network": network}}
    answer = api.post("/v0/sandboxes", json=body)
    assert answer.status_code == 400
    assert named in answer.json()["message"]
