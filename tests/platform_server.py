"""A real `serai up` process for tests."""

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path
from typing import Any, ClassVar

import httpx

COMMAND = [sys.executable, "-c", "from serai.cli import main; main()"]
KEY = "test-admin-key-with-enough-characters"
LATEST = "2026-09-22"
ROOTS = ssl.create_default_context()
"""Read once: reading them takes longer than a test with a few requests."""


def free_port() -> int:
    """A TCP port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(**extra: str) -> dict[str, str]:
    """This process's environment without what would steer Serai."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SERAI_")}
    return kept | extra


def today(**more: str) -> dict[str, str]:
    """Billing parameters: from an hour ago until now."""
    end = datetime.now(UTC)
    start = end - timedelta(hours=1)
    window = {"startTime": f"{start:%FT%TZ}", "endTime": f"{end + timedelta(minutes=1):%FT%TZ}"}
    return window | more


class Server:
    """One data directory, and the process that serves it when started."""

    _findings: ClassVar[list[Path]] = []
    """Where each server keeps what it found that it must hide of this machine."""

    def __init__(self, data_dir: Path, port: int | None = None, **environ: str) -> None:
        self.data_dir = data_dir
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environ = {"SERAI_ADMIN_API_KEY": KEY} | environ
        self.process: subprocess.Popen[bytes] | None = None
        self.log = data_dir.parent / f"{data_dir.name}.log"
        self.client = self.client_for(KEY)

    def client_for(self, key: str, **headers: str) -> httpx.Client:
        """An HTTP client that presents a key and pins the newest version."""
        given = {"X-Blaxel-Authorization": f"Bearer {key}", "Blaxel-Version": LATEST}
        return httpx.Client(
            base_url=self.url, headers=given | headers, timeout=30, trust_env=False, verify=ROOTS
        )

    def options(self) -> list[str]:
        """The command-line options that name this server."""
        return ["--port", str(self.port), "--data-dir", str(self.data_dir)]

    def start(self) -> "Server":
        """Start the process and wait until it is ready."""
        self._share_findings()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "up", *self.options(), "--log-format", "json"],
                env=environment(**self.environ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"serai up ended: {self.log.read_text()[-3000:]}")
            try:
                if self.client.get("/health").status_code == 200:
                    return self
            except httpx.TransportError:
                time.sleep(0.02)
        raise AssertionError(f"not ready: {self.log.read_text()[-3000:]}")

    def _share_findings(self) -> None:
        """Tell a new server what an earlier one found, as it would know at its second start.

        Looking through the machine takes a second of a processor, and sandboxes wait for it.
        """
        place = self.data_dir / "private.json"
        known = next((path for path in Server._findings if path.exists()), None)
        if known is not None and not place.exists():
            self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.copyfile(known, place)
        Server._findings.append(place)

    @property
    def drives(self) -> Path:
        """The files of drives: in the pool, which is mounted for the running server only."""
        assert self.process is not None
        inside = Path(f"/proc/{self.process.pid}/root{self.data_dir}")
        pool = inside / "pool" / "drives"
        return pool if pool.exists() else inside / "drives"

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> int:
        """SIGKILL of the server process alone, as a crash would be."""
        return self._end(signal.SIGKILL)

    def _end(self, number: int) -> int:
        if self.process is None:
            return 0
        self.process.send_signal(number)
        code = self.process.wait(timeout=60)
        self.process = None
        return code

    def run(self, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
        """Run another `serai` command, with this server's options after its leading words."""
        words = list(takewhile(lambda argument: not argument.startswith("-"), arguments))
        return subprocess.run(
            [*COMMAND, *words, *self.options(), *arguments[len(words) :]],
            env=environment(**(self.environ | extra)),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def events(self) -> list[dict[str, Any]]:
        """The log so far, line by line."""
        lines = self.log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def logged(self, **fields: Any) -> dict[str, Any]:
        """The first log event with these fields; waits for it, as answers go out first."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            for event in self.events():
                if fields.items() <= event.items():
                    return event
            time.sleep(0.02)
        raise AssertionError(f"no log line with {fields}")
