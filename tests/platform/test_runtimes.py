"""Choosing the driver of sandboxes for a whole server, and `serai doctor`."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from platform_server import COMMAND, Server, environment
from serai.runtime.host import is_host_root
from serai.runtime.oci.program import find

pytestmark = pytest.mark.sandbox


def test_each_sandbox_tells_its_level_and_keeps_its_driver(
    new_server: Callable[..., Server],
) -> None:
    if not find("crun"):
        pytest.skip("needs crun (Debian package of that name)")
    server = new_server(SERAI_RUNTIME="crun").start()
    health = server.client.get("/health").json()
    assert (health["runtime"], health["isolationLevel"]) == ("crun", _level())
    ready = server.logged(event="ready")
    assert (ready["runtime"], ready["isolation_level"]) == ("crun", _level())
    made = server.client.post("/v0/sandboxes", json={"metadata": {"name": "one"}, "spec": {}})
    assert made.json()["isolation"] == _level()
    assert _run(server, "echo kept > /blaxel/file; cat /proc/1/comm") == "sandboxd\n"
    server.stop()

    server.environ["SERAI_RUNTIME"] = "embedded"
    server.start()
    assert server.client.get("/health").json()["runtime"] == "embedded"
    assert _run(server, "cat /blaxel/file; test -d /.serai && echo tree") == "kept\ntree\n"
    shown = server.client.get("/v0/sandboxes/one").json()
    assert shown["isolation"] == _level()
    assert server.client.delete("/v0/sandboxes/one").status_code == 200


def test_a_runtime_that_cannot_run_stops_the_start(new_server: Callable[..., Server]) -> None:
    server = new_server()
    socket = f"unix://{server.data_dir}/none.sock"
    done = server.run("up", SERAI_RUNTIME="docker", DOCKER_HOST=socket)
    assert done.returncode == 1
    assert "apt install docker.io" in done.stderr
    assert "serai doctor" in done.stderr
    wrong = server.run("up", "--runtime", "lxc")
    assert wrong.returncode == 2
    assert "embedded, runc, crun, runsc, bwrap, docker, podman" in wrong.stderr


def test_doctor_tries_everything_and_leaves_nothing(new_server: Callable[..., Server]) -> None:
    server = new_server()
    command = [*COMMAND, "doctor", *server.options(), "--runtime", "podman", "--json"]
    environ = environment(CONTAINER_HOST=f"unix://{server.data_dir}/none.sock")
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert report["fit"] is False
    found = {each["name"]: each for each in report["findings"]}
    assert found["podman"]["state"] == "missing"
    assert found["podman"]["required"] is True
    assert "podman system service" in found["podman"]["fix"]
    assert found["Python"]["state"] == "works"
    if is_host_root():
        assert found["embedded"]["state"] in {"works", "degraded"}
        assert found["overlay mounts"]["state"] == "works"
        has_device = Path("/dev/net/tun").exists()
        assert found["tunnels"]["state"] == ("works" if has_device else "degraded")
    assert {"Drivers", "Kernel", "Programs", "Surroundings"} == {
        each["group"] for each in report["findings"]
    }
    weaker = [each for each in found.values() if each["state"] != "works"]
    assert [each["name"] for each in weaker if not each.get("fix")] == []
    assert not server.data_dir.exists()
    assert [path.name for path in server.data_dir.parent.iterdir() if "doctor" in path.name] == []


def _level() -> str:
    return "namespaces" if is_host_root() else "namespaces-rootless"


def _run(server: Server, command: str) -> str:
    url = server.client.get("/v0/sandboxes/one").json()["metadata"]["url"]
    body = {"command": f"sh -c '{command}'", "waitForCompletion": True}
    answer = server.client.post(f"{url}/process", json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["stdout"])
