"""Snapshots and forks with processes and memory, of a server whose sandboxes gVisor runs."""

import itertools
import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from compute.conftest import create
from compute.test_snapshots import fork, kept, run, snapshot, until
from platform_server import KEY, Server
from serai.runtime.host import is_host_root
from serai.runtime.oci.program import find

pytestmark = pytest.mark.sandbox
numbers = itertools.count()
IN_MEMORY = "i=0; while :; do i=$((i+1)); echo $i > /tmp/n; sleep 0.02; done"
"""Counts where nobody can read it; what it writes is only how far it is."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of this module's own, which some tests kill."""
    if "runsc" not in os.environ.get("SERAI_TEST_DRIVERS", ""):
        pytest.skip("gVisor is tested by `make test-drivers`")
    if not is_host_root() or not find("runsc"):
        pytest.skip("needs root and runsc (Debian: bookworm-backports)")
    made = Server(tmp_path_factory.mktemp("live") / "data", SERAI_RUNTIME="runsc").start()
    yield made
    made.stop()


@pytest.fixture
def api(server: Server) -> Iterator[httpx.Client]:
    with server.client_for(KEY) as client:
        client.timeout = httpx.Timeout(90)
        yield client


@pytest.fixture(autouse=True)
def nothing_left(server: Server) -> Iterator[None]:
    yield
    with server.client_for(KEY) as api:
        for one in api.get("/v0/sandboxes").json()["data"]:
            api.delete(f"/v0/sandboxes/{one['metadata']['name']}")
        for one in api.get("/v0/snapshots").json()["data"]:
            assert api.delete(f"/v0/snapshots/{one['id']}").status_code == 204
        until(lambda: not kept(server, "saved") | kept(server, "saved-memory"))
        until(lambda: not kept(server, "memory"))


@pytest.fixture
def name(api: httpx.Client) -> str:
    return f"live-{next(numbers)}"


def start(api: httpx.Client, sandbox: str, command: str, name: str) -> dict[str, Any]:
    """A process that goes on after the answer."""
    body = {"command": command, "name": name}
    begun = api.post(f"/main/sandboxes/{sandbox}/process", json=body)
    assert begun.status_code == 200, begun.text
    return dict(begun.json())


def count(api: httpx.Client, sandbox: str) -> int:
    """How far the counter is that runs there, which must go on counting."""
    first = int(run(api, sandbox, "cat /tmp/n") or 0)
    until(lambda: int(run(api, sandbox, "cat /tmp/n") or 0) > first)
    return first


def test_processes_go_on_in_place_and_in_forks(
    api: httpx.Client, server: Server, name: str
) -> None:
    create(api, name)
    process = start(api, name, IN_MEMORY, "counter")
    until(lambda: count(api, name) > 20)
    made = snapshot(api, name, "counting")
    assert made["contents"] == "memory"
    assert api.get(f"/v0/snapshots/{made['id']}").json() == made
    taken = count(api, name)
    assert taken > 20, "the sandbox goes on"

    for target, path in (
        ("of-snapshot", f"snapshots/{made['id']}"),
        ("of-live", f"sandboxes/{name}"),
    ):
        answer = fork(api, path, target)
        assert (answer.status_code, answer.json()["contents"]) == (200, "memory"), answer.text
        assert count(api, target) >= 20, "no counter that began anew could be there"
        shown = api.get(f"/main/sandboxes/{target}/process/counter").json()
        assert (shown["status"], shown["pid"]) == ("running", process["pid"])
        assert (
            run(api, target, "hostname; cat /etc/hostname; echo $HOSTNAME").split() == [target] * 3
        )
        assert target in run(api, target, "cat /etc/hosts")
    ids = [run(api, each, "cat /etc/machine-id") for each in (name, "of-snapshot", "of-live")]
    drawn = [run(api, each, "head -c 16 /dev/urandom | od -An -tx1") for each in (name, "of-live")]
    assert len(set(ids)) == 3
    assert len(set(drawn)) == 2

    run(api, name, "kill -9 $(pgrep -f 'while :' | head -1); echo -1 > /tmp/n")
    before = api.get(f"/v0/sandboxes/{name}").json()["metadata"]["url"]
    done = api.post(f"/v0/sandboxes/{name}/snapshots/counting/restore")
    assert done.status_code == 200, done.text
    assert 20 <= count(api, name) < taken + 400
    assert api.get(f"/v0/sandboxes/{name}").json()["metadata"]["url"] == before
    assert run(api, name, "hostname") == name
