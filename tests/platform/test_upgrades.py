"""Replacing the API of running sandboxes: by ``POST /upgrade``, in every kind of sandbox."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

import serai
from platform_server import Server

NewServer = Callable[..., Server]
URL = "/main/sandboxes/{}"


def made(api: httpx.Client, name: str, **runtime: object) -> None:
    """Create a sandbox."""
    body = {"metadata": {"name": name}, "spec": {"runtime": runtime}}
    assert api.post("/v0/sandboxes", json=body).status_code == 200


def upgraded(api: httpx.Client, name: str, version: str) -> Any:
    """What ``/health`` says when an upgrade is over."""
    url = URL.format(name)
    answer = api.get(f"{url}/health")
    assert answer.status_code == 200, answer.text
    before = answer.json()["lastUpgrade"].get("lastAttempt")
    answer = api.post(f"{url}/upgrade", json={"version": version}, timeout=120)
    assert answer.status_code == 200, answer.text
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        answer = api.get(f"{url}/health", timeout=60)
        assert answer.status_code == 200, answer.text
        health = answer.json()
        last = health["lastUpgrade"]
        if last.get("lastAttempt") != before and last["status"] in ("completed", "failed"):
            return health
        time.sleep(0.1)
    raise AssertionError("no upgrade came to an end")


@pytest.mark.sandbox
def test_a_newer_platform_brings_its_api_to_running_sandboxes(
    new_server: NewServer, tmp_path: Path
) -> None:
    """The server crashes, a newer version of it starts, and the sandbox becomes as new."""
    server = new_server().start()
    made(server.client, "box")
    url = URL.format("box")
    body = {"command": "echo begin; sleep 8; echo end; exit 4", "name": "through"}
    started = server.client.post(f"{url}/process", json=body).json()
    server.client.put(f"{url}/filesystem/root/note", json={"content": "kept"})
    server.kill()
    newer = tmp_path / "newer"
    shutil.copytree(Path(serai.__file__).parent, newer / "serai")
    (newer / "serai" / "__init__.py").write_text('"""Newer."""\n\n__version__ = "9.9.9"\n')
    server.environ["PYTHONPATH"] = str(newer)
    server.start()
    assert server.client.get(f"{url}/health").json()["version"] == serai.__version__
    health = upgraded(server.client, "box", "latest")
    assert (health["version"], health["upgradeCount"]) == ("9.9.9", 1), health
    last = health["lastUpgrade"]
    assert (last["status"], last["step"]) == ("completed", "completed"), last
    found = server.client.get(f"{url}/process/through/wait", params={"timeout": 30}).json()
    assert (found["pid"], found["exitCode"]) == (started["pid"], 4)
    assert found["stdout"] == "begin\nend\n"
    assert server.client.get(f"{url}/filesystem/root/note").json()["content"] == "kept"
    again = upgraded(server.client, "box", "latest")
    assert (again["lastUpgrade"]["step"], again["upgradeCount"]) == ("skipped", 2)
    server.client.delete("/v0/sandboxes/box")


@pytest.mark.sandbox
def test_a_sandbox_stays_itself(server: Server, api: httpx.Client) -> None:
    """Its limits, its standby, its ports; and it can be replaced again."""
    made(api, "same", memory=1024)
    url = URL.format("same")
    script = "import http.server; http.server.test(http.server.SimpleHTTPRequestHandler, port=8000)"
    serve = {"command": f'python3 -c "{script}"', "name": "web", "waitForPorts": [8000]}
    assert api.post(f"{url}/process", json=serve).status_code == 200
    look = {"command": "cat /proc/self/oom_score_adj; nice; ulimit -n", "waitForCompletion": True}
    before = api.post(f"{url}/process", json=look).json()["stdout"]
    for count in (1, 2):
        health = upgraded(api, "same", "develop")
        assert (health["lastUpgrade"]["step"], health["upgradeCount"]) == ("completed", count)
        assert api.get(f"{url}/port/8000/").status_code == 200
        assert api.post(f"{url}/process", json=look).json()["stdout"] == before
    assert upgraded(api, "same", "v0.0.1")["lastUpgrade"]["status"] == "failed"
    api.delete("/v0/sandboxes/same")


SPY = """
import ctypes, os, signal, sys, time
libc = ctypes.CDLL(None, use_errno=True)
tried, got = 0, []
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    for name in ("mem", "environ", "maps", "fd", "auxv", "map_files", "stack", "syscall"):
        tried += 1
        try:
            path = f"/proc/1/{name}"
            if name in ("fd", "map_files"):
                got += [f"{name}: {each}" for each in os.listdir(path)]
            else:
                with open(path, "rb") as file:
                    got += [name] if file.read(1) else []
        except OSError:
            pass
    tried += 1
    if libc.ptrace(0x4206, 1, 0, 0) == 0:
        got.append("ptrace")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP):
        os.kill(1, number)
print(tried, got)
"""


@pytest.mark.sandbox
def test_root_inside_never_gets_at_it(server: Server, api: httpx.Client) -> None:
    """A program tries to look into the API's process, and to end it, all the while."""
    made(api, "spied", memory=2048)
    url = URL.format("spied")
    assert api.put(f"{url}/filesystem/%2Ftmp%2Fspy.py", json={"content": SPY}).status_code == 200
    for number in range(2):
        body = {"command": "python3 /tmp/spy.py 25", "name": f"spy-{number}"}
        assert api.post(f"{url}/process", json=body).status_code == 200
    assert upgraded(api, "spied", "develop")["lastUpgrade"]["status"] == "completed"
    for number in range(2):
        name = f"spy-{number}"
        found = api.get(f"{url}/process/{name}/wait", params={"timeout": 60}, timeout=90).json()
        assert found["exitCode"] == 0, found
        tried, got = found["stdout"].strip().split(" ", 1)
        assert int(tried) > 1000, found
        assert got == "[]", found
    api.delete("/v0/sandboxes/spied")


DRIVERS = os.environ.get("SERAI_TEST_DRIVERS", "crun,bwrap").split(",")


@pytest.mark.sandbox
@pytest.mark.parametrize("driver", [each for each in DRIVERS if each != "embedded"])
def test_with_other_drivers(new_server: NewServer, driver: str) -> None:
    program = {"podman": "podman", "docker": "docker"}.get(driver, driver)
    if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
        pytest.skip(f"{program} is not here")
    server = new_server(SERAI_RUNTIME=driver).start()
    made(server.client, "box")
    url = URL.format("box")
    body = {"command": "echo begin; sleep 6; exit 4", "name": "through"}
    started = server.client.post(f"{url}/process", json=body).json()
    for count in (1, 2):
        health = upgraded(server.client, "box", "develop")
        assert (health["lastUpgrade"]["step"], health["upgradeCount"]) == ("completed", count)
    found = server.client.get(f"{url}/process/through/wait", params={"timeout": 30}).json()
    assert (found["pid"], found["exitCode"]) == (started["pid"], 4)
    server.client.delete("/v0/sandboxes/box")
