"""A server that dies in the middle of saving files, and a disk that is full."""

import contextlib
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from compute.conftest import create
from compute.test_snapshots import fork, kept, refusal, run, snapshot, until
from platform_server import Server
from serai.runtime.host import is_host_root

pytestmark = pytest.mark.sandbox

FILES = (
    "mkdir -p /srv/many && cd /srv/many && for d in $(seq 25); do mkdir $d;"
    " for f in $(seq 50); do echo $d $f > $d/$f; done; done; head -c 40000000 /dev/zero > /srv/big"
)
SUM = "cd /srv && find . -type f | sort | xargs cat | sha256sum; ls -R | wc -l"


@pytest.fixture(scope="module", params=["copied", "shared"])
def crashing(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server with a sandbox ``src`` that has files enough to be caught copying them."""
    data = tmp_path_factory.mktemp("crashing") / "data"
    if request.param == "copied":
        without_pool(data)
    server = Server(data).start()
    create(server.client, "src")
    run(server.client, "src", FILES)
    snapshot(server.client, "src", "kept")
    yield server
    server.stop()


def without_pool(data: Path) -> None:
    """Have the server keep files where data cannot be shared: as where mkfs.btrfs is missing."""
    (data / "pool.new").mkdir(parents=True)


def crash(server: Server, path: str, body: dict[str, Any] | None, seconds: float) -> None:
    """Kill the server so long after it got a request, and start it again."""

    def ask() -> None:
        with contextlib.suppress(httpx.HTTPError):
            server.client.post(path, json=body)

    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(seconds)
    server.kill()
    asking.join()
    server.start()


MOMENTS = [0.03]


@pytest.mark.parametrize("seconds", MOMENTS)
def test_a_snapshot_is_whole_or_not_there(crashing: Server, seconds: float) -> None:
    api = crashing.client
    before = run(api, "src", SUM)
    crash(crashing, "/v0/sandboxes/src/snapshots", {"name": "caught"}, seconds)
    api = crashing.client
    found = api.get("/v0/sandboxes/src/snapshots").json()
    until(lambda: kept(crashing, "saved") == {one["id"] for one in found})
    assert {one["status"] for one in found} == {"ready"}
    for one in found:
        assert fork(api, f"snapshots/{one['id']}", "caught").status_code == 200
        assert run(api, "caught", SUM) == before
        api.delete("/v0/sandboxes/caught")
        if one["name"] == "caught":
            api.delete(f"/v0/snapshots/{one['id']}")
    assert run(api, "src", SUM) == before, "the source goes on"


@pytest.mark.parametrize("seconds", MOMENTS)
@pytest.mark.parametrize("of", ["sandbox", "snapshot"])
def test_a_fork_is_whole_or_not_there(crashing: Server, of: str, seconds: float) -> None:
    api = crashing.client
    before = run(api, "src", SUM)
    kept = api.get("/v0/sandboxes/src/snapshots").json()[-1]["id"]
    path = "sandboxes/src" if of == "sandbox" else f"snapshots/{kept}"
    body = {"targetName": "half", "targetType": "sandbox"}
    crash(crashing, f"/v0/{path}/fork", body, seconds)
    api = crashing.client
    until(lambda: settled(api, "half"))
    if status(api, "half") == "DEPLOYED":
        assert run(api, "half", SUM) == before
        api.delete("/v0/sandboxes/half")
    assert fork(api, path, "half").status_code == 200
    assert run(api, "half", SUM) == before
    api.delete("/v0/sandboxes/half")
    assert run(api, "src", SUM) == before


@pytest.mark.parametrize("seconds", MOMENTS)
def test_a_restore_is_finished(crashing: Server, seconds: float) -> None:
    api = crashing.client
    before = run(api, "src", SUM)
    run(api, "src", "echo new > /srv/new")
    crash(crashing, "/v0/sandboxes/src/snapshots/kept/restore", None, seconds)
    api = crashing.client
    until(lambda: settled(api, "src"))
    restored = run(api, "src", "test -e /srv/new; echo $?") == "1"
    run(api, "src", "rm -f /srv/new")
    assert run(api, "src", SUM) == before
    assert restored or seconds < 0.05


@pytest.mark.parametrize("seconds", MOMENTS)
def test_an_archive_loses_nothing(crashing: Server, seconds: float) -> None:
    api = crashing.client
    before = run(api, "src", SUM)
    crash(crashing, "/v0/sandboxes/src/archive", None, seconds)
    api = crashing.client
    until(lambda: settled(api, "src"))
    if status(api, "src") != "ARCHIVED":
        assert run(api, "src", SUM) == before
        assert api.post("/v0/sandboxes/src/archive").status_code == 200
        until(lambda: status(api, "src") == "ARCHIVED")
    crash(crashing, "/v0/sandboxes/src/unarchive", None, seconds)
    api = crashing.client
    until(lambda: settled(api, "src"))
    if status(api, "src") == "ARCHIVED":
        assert api.post("/v0/sandboxes/src/unarchive").status_code == 200
        until(lambda: status(api, "src") == "DEPLOYED")
    assert run(api, "src", SUM) == before
    assert not kept(crashing, "archived")


def status(api: httpx.Client, name: str) -> str:
    """What a sandbox is; ``TERMINATED`` for none."""
    shown = api.get(f"/v0/sandboxes/{name}").json()
    return str(shown.get("status", "TERMINATED"))


def settled(api: httpx.Client, name: str) -> bool:
    """Whether a sandbox is not on its way to something."""
    return not status(api, name).endswith("ING")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 80 MB."""
    if not is_host_root():
        pytest.skip("needs root, to mount a small file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", "size=80m", "tmpfs", str(folder)]
    subprocess.run(["mount", *options], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_leaves_nothing_behind(
    small_disk: Path, new_server: Callable[..., Server]
) -> None:
    without_pool(small_disk / "data")
    server = new_server(str(small_disk / "data")).start()
    api = server.client
    create(api, "src")
    run(api, "src", "head -c 30000000 /dev/urandom > /blaxel/data")
    before = run(api, "src", "sha256sum < /blaxel/data")
    first = snapshot(api, "src")
    for _ in range(2):
        full = api.post("/v0/sandboxes/src/snapshots")
        assert refusal(full) == (503, "STORAGE_UNAVAILABLE"), full.text
        assert refusal(fork(api, "sandboxes/src", "copy")) == (503, "STORAGE_UNAVAILABLE")
    assert api.get("/v0/sandboxes/copy").status_code == 404
    assert kept(server, "saved") == {first["id"]}
    assert [one["id"] for one in api.get("/v0/snapshots").json()["data"]] == [first["id"]]
    assert fork(api, f"snapshots/{first['id']}", "copy").status_code == 200, "needs no room"
    assert run(api, "copy", "sha256sum < /blaxel/data") == before
    api.delete("/v0/sandboxes/copy")
    api.delete(f"/v0/snapshots/{first['id']}")
    until(lambda: not kept(server, "saved"))
    assert run(api, "src", "sha256sum < /blaxel/data") == before
    assert snapshot(api, "src")["status"] == "ready"
    server.stop()
