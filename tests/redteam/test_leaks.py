"""What is left of sandboxes that were used and deleted, also when somebody was killed meanwhile."""

import os
import re
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from platform_server import KEY, Server

from .attacker import until

MANY = 100
AT_ONCE = 4
GROWTH_MB = 12
"""What a server may have grown by over so many sandboxes: caches, not sandboxes."""


class Traces:
    """What the kernel and the disk have of one server's sandboxes."""

    def __init__(self, server: Server) -> None:
        self._data = server.data_dir
        self._server = server

    @property
    def pid(self) -> int:
        """Of the server."""
        assert self._server.process is not None
        return self._server.process.pid

    def family(self) -> list[int]:
        """The server and all below it, launcher and sandboxes included."""
        found = [self.pid]
        for pid in found:
            for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
                found += [int(child) for child in tasks.read_text().split()]
        return found

    def launcher(self) -> int:
        """The pid of the launcher."""
        return next(pid for pid in self.family() if title(pid) == "serai-launcher")

    def sandboxes(self) -> list[int]:
        """First processes of sandboxes."""
        return [pid for pid in self.family() if title(pid) == "sandboxd"]

    def descriptors(self) -> dict[str, int]:
        """Open files of server and launcher by kind."""
        counts: dict[str, int] = {}
        for pid in (self.pid, self.launcher()):
            for link in list(Path(f"/proc/{pid}/fd").iterdir()):
                try:
                    name = re.sub(r"[0-9]+", "", str(link.readlink())).split("[")[0]
                except OSError:
                    continue
                kind = name if name.startswith(("socket", "pipe", "anon")) else "file"
                kind = f"{title(pid)}: {kind}"
                counts[kind] = counts.get(kind, 0) + 1
        return counts

    def resident_mb(self) -> float:
        """Memory of server and launcher."""
        return sum(resident_mb(pid) for pid in (self.pid, self.launcher()))

    def groups(self) -> list[Path]:
        """Directories that have one control group for each sandbox; needs a sandbox to learn."""
        lines = Path(f"/proc/{self.sandboxes()[0]}/cgroup").read_text().splitlines()
        found = []
        for _, names, path in (line.split(":", 2) for line in lines):
            mount = Path("/sys/fs/cgroup", names.removeprefix("name=") or "unified")
            if "serai-" in path:
                found.append(Path(f"{mount if mount.exists() else mount.parent}{path}").parent)
        return found

    def left(self) -> dict[str, list[str]]:
        """What the kernel and the disk have for each sandbox, in the server's own view."""
        mounts = [line.split()[4] for pid in (self.pid, self.launcher()) for line in mountinfo(pid)]
        folder = Path(f"/proc/{self.pid}/root{self._data}/sandboxes")
        return {
            "mounts": sorted(place for place in mounts if str(self._data) in place),
            "directories": [path.name for path in folder.iterdir()],
            "sockets": [line for line in unix_sockets() if str(self._data) in line],
        }


def mountinfo(pid: int) -> list[str]:
    """Mounts as a process sees them."""
    return Path(f"/proc/{pid}/mountinfo").read_text().splitlines()


def unix_sockets() -> list[str]:
    """Names of Unix sockets of this machine."""
    lines = Path("/proc/net/unix").read_text().splitlines()[1:]
    return sorted(line.split()[7] for line in lines if len(line.split()) > 7)


def title(pid: int) -> str:
    """What a process calls itself, in its command line."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0].decode()
    except OSError:
        return ""


def resident_mb(pid: int) -> float:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0]) / 1024


@pytest.fixture
def traces(new_server: Callable[..., Server]) -> Traces:
    return Traces(new_server().start())


def live(server: Server, number: int) -> None:
    """One sandbox's whole life: commands, some that stay, files, a watch."""
    with server.client_for(KEY) as api:
        name, base = f"leak-{number}", f"/main/sandboxes/leak-{number}"
        body = {"metadata": {"name": name}, "spec": {"runtime": {"memory": 512}}}
        assert api.post("/v0/sandboxes", json=body).status_code == 200
        done = {"command": "echo $$; (setsid sleep 300 &)", "waitForCompletion": True}
        assert api.post(f"{base}/process", json=done).status_code == 200
        assert api.post(f"{base}/process", json={"command": "sleep 300"}).status_code == 200
        assert api.put(f"{base}/filesystem//tmp/f", json={"content": "x"}).status_code == 200
        with api.stream("GET", f"{base}/watch/filesystem//tmp") as stream:
            assert stream.status_code == 200
        assert api.delete(f"/v0/sandboxes/{name}").status_code == 200


def live_all(server: Server, numbers: range) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in pool.map(lambda number: live(server, number), numbers):
            pass


def test_nothing_is_left_of_a_hundred(traces: Traces) -> None:
    server = traces._server
    live_all(server, range(8))  # what is made once and kept
    until(lambda: traces.sandboxes() == [])
    before = (traces.left(), traces.descriptors(), traces.resident_mb(), len(traces.family()))
    live_all(server, range(8, 8 + MANY))
    until(lambda: traces.sandboxes() == [])
    until(lambda: len(traces.family()) <= before[3])
    until(lambda: traces.left() == before[0])
    until(lambda: all(n <= before[1].get(k, 0) + 3 for k, n in traces.descriptors().items()))
    assert traces.resident_mb() < before[2] + GROWTH_MB


@pytest.mark.parametrize("victim", ["server", "launcher", "sandbox"])
def test_nothing_is_left_after_a_murder(traces: Traces, victim: str) -> None:
    """Somebody is killed while sandboxes come and go; afterwards all can be deleted."""
    server = traces._server
    names = [f"old-{number}" for number in range(4)]
    with server.client_for(KEY) as api:
        for name in names:
            body = {"metadata": {"name": name}, "spec": {"runtime": {"memory": 512}}}
            assert api.post("/v0/sandboxes", json=body).status_code == 200
        groups = traces.groups()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            busy = [pool.submit(_try_to_live, server, number) for number in range(40)]
            time.sleep(0.3)
            if victim == "server":
                server.kill()
                server.start()
            else:
                dead = traces.launcher() if victim == "launcher" else traces.sandboxes()[0]
                os.kill(dead, signal.SIGKILL)
            for each in busy:
                each.result()
        for sandbox in api.get("/v0/sandboxes").json()["data"]:
            api.delete(f"/v0/sandboxes/{sandbox['metadata']['name']}")
        until(lambda: not [child for each in groups for child in each.glob("*/")], 60)
        until(lambda: traces.left()["directories"] == [], 60)


def _try_to_live(server: Server, number: int) -> None:
    try:
        live(server, number)
    except (httpx.HTTPError, AssertionError):
        return
