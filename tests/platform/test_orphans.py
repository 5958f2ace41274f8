"""Sandboxes whose data directory was deleted are ended, and nobody else's."""

import hashlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from platform_server import Server
from serai.runtime.host import is_host_root

NewServer = Callable[..., Server]
SLEEPS = {"command": "sleep 4242", "name": "long"}


def groups(data_dir: Path) -> set[Path]:
    """The control groups of an instance's sandboxes."""
    key = hashlib.sha256(str(data_dir.absolute()).encode()).hexdigest()[:10]
    return set(Path("/sys/fs/cgroup").glob(f"**/serai-{key}"))


def made(server: Server, name: str) -> None:
    body = {"metadata": {"name": name}, "spec": {"runtime": {"memory": 512}}}
    assert server.client.post("/v0/sandboxes", json=body).status_code == 200
    assert server.client.post(f"/main/sandboxes/{name}/process", json=SLEEPS).status_code == 200


def processes_of(found: set[Path]) -> set[str]:
    """Who is in control groups and below."""
    return {
        pid
        for group in found
        for file in group.glob("**/cgroup.procs")
        for pid in file.read_text().split()
    }


@pytest.mark.sandbox
@pytest.mark.skipif(not is_host_root(), reason="control groups need root")
def test_the_next_start_of_anybody_ends_them(new_server: NewServer) -> None:
    """Suspended by ``on_stop``, running after a crash: both lose their data directory."""
    suspended = new_server("suspended", SERAI_ON_STOP="suspend").start()
    crashed, kept, other = (new_server(name) for name in ("crashed", "kept", "other"))
    for server in (crashed, kept):
        server.start()
    for server in (suspended, crashed, kept):
        made(server, "box")
    suspended.stop()
    crashed.kill()
    kept.kill()
    lost = groups(suspended.data_dir) | groups(crashed.data_dir)
    assert len(processes_of(lost)) >= 4
    for server in (suspended, crashed):
        shutil.rmtree(server.data_dir)

    other.start()  # or any other instance on this machine, such as that of another test
    deadline = time.monotonic() + 20
    while any(group.exists() for group in lost):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    kept.start()
    found = kept.client.get("/main/sandboxes/box/process/long").json()
    assert found["status"] == "running"
    kept.client.delete("/v0/sandboxes/box")


@pytest.mark.sandbox
@pytest.mark.skipif(not is_host_root(), reason="control groups need root")
def test_a_server_that_runs_keeps_its_sandboxes(new_server: NewServer) -> None:
    """Its directory was deleted under it; it may still want to finish what it does."""
    one, other = new_server("one").start(), new_server("other")
    made(one, "box")
    shutil.rmtree(one.data_dir, ignore_errors=True)
    other.start()
    assert one.client.get("/main/sandboxes/box/process/long").json()["status"] == "running"
    one.kill()
    other.stop()
    other.start()
    assert not processes_of(groups(one.data_dir))
