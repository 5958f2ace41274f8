"""What a whole run leaves on the machine: after the deletes, and after a crash in the middle."""

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from platform_server import KEY, Server

from .attacker import Attacker, until
from .test_leaks import Traces, mountinfo, unix_sockets

KINDS = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")


class Machine:
    """What a server's family has in the kernel while it runs, and what of it is there later."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._traces = Traces(server)
        self._namespaces: dict[str, int] = {}
        """And when they were last seen: the kernel gives the numbers of what is gone again."""
        self._processes: set[tuple[int, str]] = set()
        self._groups: set[Path] = set()
        self._host = namespaces("self")

    def look(self) -> None:
        """Note what is there now."""
        for pid in self._traces.family():
            seen = namespaces(pid) - self._host
            self._namespaces |= dict.fromkeys(seen, ticks())
            self._processes.add((pid, started(pid)))
        self._groups |= set(self._traces.groups()) if self._traces.sandboxes() else set()

    def left(self) -> dict[str, list[str]]:
        """What is still there, by kind; the server has ended."""
        pids = [path.name for path in Path("/proc").iterdir() if path.name.isdecimal()]
        data = str(self._server.data_dir)
        there = {
            each
            for pid in pids
            for each in namespaces(pid) & self._namespaces.keys()
            if int(started(int(pid)) or self._namespaces[each] + 1) <= self._namespaces[each]
        }
        mounts = {line for pid in pids for line in safely(mountinfo, pid) if data in line}
        loops = Path("/sys/block").glob("loop*/loop/backing_file")
        found = {
            "processes": [str(pid) for pid, begin in self._processes if started(pid) == begin],
            "namespaces": sorted(there),
            "mounts": sorted(mounts),
            "loop devices": [str(each) for each in loops if data in text(each)],
            "control groups": [str(each) for each in self._groups if each.exists()],
            "sockets": [line for line in unix_sockets() if data in line],
            "interfaces": sorted(interfaces() - self._interfaces),
            "run directories": [str(path) for path in self._run_directories() if path.exists()],
        }
        return {kind: each for kind, each in found.items() if each}

    def _run_directories(self) -> list[Path]:
        """Where sockets are if the data directory's name is long."""
        key = hashlib.sha256(str(self._server.data_dir).encode()).hexdigest()[:10]
        return [Path("/run", f"serai-{kind}{os.geteuid()}-{key}") for kind in ("", "egress-")]

    def left_at_last(self) -> dict[str, list[str]]:
        """The same, once what ends by itself has had the time."""
        with contextlib.suppress(AssertionError):
            until(lambda: self.left() == {}, 10)
        return self.left()

    def before(self) -> "Machine":
        """Note which interfaces were there before the server."""
        self._interfaces = interfaces()
        return self


def ticks() -> int:
    """Now, as ``started`` tells times."""
    seconds = float(Path("/proc/uptime").read_text().split()[0])
    return int(seconds * os.sysconf("SC_CLK_TCK"))


def namespaces(pid: object) -> set[str]:
    """The namespaces of a process, as ``kind:[inode]``."""
    found = set()
    for kind in KINDS:
        try:
            found.add(str(Path(f"/proc/{pid}/ns/{kind}").readlink()))
        except OSError:
            continue
    return found


def started(pid: int) -> str:
    """When a process was started; empty when it is gone, or only waits to be collected."""
    fields = text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return fields[19] if fields and fields[0] not in "ZX" else ""


def text(path: Path) -> str:
    """A file that may be gone."""
    try:
        return path.read_text()
    except OSError:
        return ""


def safely(read: Callable[[int], list[str]], pid: str) -> list[str]:
    """Lines about a process that may be gone."""
    try:
        return read(int(pid))
    except OSError:
        return []


def interfaces() -> set[str]:
    """Network interfaces of this machine."""
    return {path.name for path in Path("/sys/class/net").iterdir()}


def make(api: httpx.Client) -> list[Attacker]:
    """Sandboxes with a volume, a fork and a snapshot between them, and programs that run."""
    size = {"metadata": {"name": "disk"}, "spec": {"size": 32}}
    attached: dict[str, object] = {}
    if "no limit on what sandboxes write" not in api.get("/health").json()["isolation"]:
        assert api.post("/v0/volumes", json=size).status_code == 200
        attached = {"volumes": [{"name": "disk", "mountPath": "/data"}]}
    first = Attacker.__new__(Attacker)
    first.api, first.name, first.base = api, "first", "/main/sandboxes/first"
    spec = {"runtime": {"memory": 512}, **attached}
    made = api.post("/v0/sandboxes", json={"metadata": {"name": "first"}, "spec": spec})
    assert made.status_code == 200, made.text
    second = Attacker(api, "second", memory=512)
    for each in (first, second):
        each.start("setsid sleep 1000 & exec sleep 1000")
        assert each.run("echo x > /blaxel/x; mkfifo /tmp/p; ip link add v type veth")
    assert api.post("/v0/sandboxes/second/snapshots", json={"name": "kept"}).status_code == 200
    forked = {"targetName": "third", "targetType": "sandbox"}
    assert api.post("/v0/sandboxes/second/fork", json=forked).status_code == 200
    third = Attacker.__new__(Attacker)
    third.api, third.name, third.base = api, "third", "/main/sandboxes/third"
    until(third.is_well)
    return [first, second, third]


@pytest.mark.parametrize("crash", [False, True], ids=["deleted", "killed and deleted"])
def test_nothing_is_left_on_the_machine(new_server: Callable[..., Server], crash: bool) -> None:
    server = new_server()
    machine = Machine(server).before()
    server.start()
    with server.client_for(KEY) as api:
        made = make(api)
        machine.look()
        if crash:
            server.kill()
            server.start()
            until(made[1].is_well)
            machine.look()
        for snapshot in api.get("/v0/snapshots").json()["data"]:
            assert api.delete(f"/v0/snapshots/{snapshot['id']}").status_code == 204
        for each in made:
            each.delete()
        api.delete("/v0/volumes/disk")
        traces = machine._traces
        until(lambda: traces.sandboxes() == [] and traces.left()["directories"] == [])
    server.stop()
    assert machine.left_at_last() == {}


def test_nothing_runs_after_a_stop_with_sandboxes(new_server: Callable[..., Server]) -> None:
    """They are kept, on disk; nothing else is."""
    server = new_server()
    machine = Machine(server).before()
    server.start()
    with server.client_for(KEY) as api:
        make(api)
        machine.look()
    server.stop()
    assert machine.left_at_last() == {}
