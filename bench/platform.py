"""A whole Serai under measurement, and load from another process."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KEY = "bench-key-of-a-throw-away-server"


class Skipped(Exception):
    """Cannot be measured here; the message says what is missing."""


def free_port() -> int:
    """A TCP port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Platform:
    """One `serai up` process on a data directory."""

    def __init__(self, data_dir: Path, log_level: str = "warning", **environ: str) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.options = ["--port", str(self.port), "--data-dir", str(data_dir)]
        self._log_level = log_level
        self._environ = {"SERAI_ADMIN_API_KEY": KEY} | environ
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start; returns the seconds until ``/health`` answered."""
        command = [str(Path(sys.executable).with_name("serai")), "up", *self.options]
        begin = time.perf_counter()
        self.process = subprocess.Popen(
            [*command, "--no-banner", "--log-level", self._log_level],
            env=os.environ | self._environ,
            stdin=subprocess.DEVNULL,
        )
        while True:
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                    return time.perf_counter() - begin
            except OSError:
                if self.process.poll() is not None:
                    raise RuntimeError("serai up ended") from None
                time.sleep(0.005)

    def post(self, path: str, name: str, spec: object) -> None:
        """Create a resource."""
        body = json.dumps({"metadata": {"name": name, "labels": {"team": "bench"}}, "spec": spec})
        headers = {"Authorization": f"Bearer {KEY}"}
        request = urllib.request.Request(self.url + path, body.encode(), headers)
        with urllib.request.urlopen(request):
            pass

    def stop(self) -> None:
        """SIGTERM and wait."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait()
            self.process = None

    def memory_mb(self) -> float:
        """What the server and all processes below it hold, a shared page counted once, in MB."""
        return sum(_smaps_kb(pid, "Pss") for pid in self._family()) / 1024

    def resident_mb(self) -> float:
        """The same, a page counted in each process that has it."""
        return sum(_smaps_kb(pid, "Rss") for pid in self._family()) / 1024

    def cpu_seconds(self) -> float:
        """Processor time that the server and all processes below it have used."""
        return sum(_cpu_seconds(pid) for pid in self._family())

    def _family(self) -> list[int]:
        assert self.process is not None
        found = [self.process.pid]
        for pid in found:
            found += children(pid)
        return found


@contextmanager
def running(log_level: str = "warning", **environ: str) -> Iterator[Platform]:
    """A fresh platform that is ready."""
    with tempfile.TemporaryDirectory(prefix="serai-bench-") as name:
        platform = Platform(Path(name), log_level, **environ)
        platform.start()
        try:
            yield platform
        finally:
            platform.stop()


def children(pid: int) -> list[int]:
    """Direct children of a process."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def first_processes(pid: int) -> list[int]:
    """The first processes of all sandboxes of a server."""
    found = []
    for child in children(pid):
        title = Path(f"/proc/{child}/cmdline").read_bytes().partition(b"\0")[0]
        found += [child] if title == b"sandboxd" else first_processes(child)
    return found


def _smaps_kb(pid: int, what: str) -> int:
    found = re.search(rf"^{what}:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
    return int(found[1]) if found else 0


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def requests_per_second(url: str, seconds: int, connections: int, *headers: str) -> float:
    """Drive a URL with wrk from another process.

    Raises:
        Skipped: wrk is not installed.
    """
    if shutil.which("wrk") is None:
        raise Skipped("wrk is not installed (Debian: apt-get install wrk)")
    options = [option for header in headers for option in ("-H", header)]
    done = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", *options, url],
        check=True,
        capture_output=True,
        text=True,
    )
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise RuntimeError(f"requests failed: {done.stdout}")
    found = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    assert found is not None, done.stdout
    return float(found[1])
