"""Forks, snapshots and restores of a sandbox with 100 MB of files, beside ``cp -a`` of the same."""

import itertools
import json
import os
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.platform import KEY, Platform, running
from bench.report import Row

FILES, FILE_MB = 10, 10
FORK_MS = 150


def run(rounds: int) -> list[Row]:
    """Medians over HTTP; each round makes one of each, and one copy by ``cp``."""
    with running() as platform, tempfile.TemporaryDirectory(prefix="serai-forks-") as name:
        return _rows(Forks(platform, Path(name)), rounds)


def _rows(forks: "Forks", rounds: int) -> list[Row]:
    kinds = (forks.fork, forks.snapshot, forks.fork_of_snapshot, forks.copy)
    times: list[list[float]] = [[] for _ in kinds]
    for _ in range(rounds):
        for found, kind in zip(times, kinds, strict=True):
            found.append(_milliseconds(kind))
    fork, snapshot, of_snapshot, copy = (statistics.median(found) for found in times)
    restore = statistics.median(_milliseconds(forks.restore) for _ in range(rounds))
    beside = ("cp -a", copy)
    size = f"{FILES * FILE_MB} MB"
    return [
        Row(f"fork, {size}", fork, "ms", beside, f"at most {FORK_MS} ms", fork <= FORK_MS),
        Row(f"snapshot, {size}", snapshot, "ms", beside),
        Row("fork of a snapshot", of_snapshot, "ms", beside),
        Row("restore", restore, "ms", beside),
    ]


def _milliseconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


class Forks:
    """A sandbox with files, and the same files on the host."""

    def __init__(self, platform: Platform, folder: Path) -> None:
        self._url = platform.url
        self._folder = folder
        self._numbers = itertools.count()
        self._last = ""
        (folder / "files").mkdir()
        for number in range(FILES):
            data = os.urandom(FILE_MB << 20)
            (folder / "files" / str(number)).write_bytes(data)
        spec = {"runtime": {"memory": 2048}}
        self._post("/v0/sandboxes", {"metadata": {"name": "source"}, "spec": spec})
        fill = (
            f"mkdir /srv/files; for n in $(seq {FILES}); do"
            f" head -c {FILE_MB << 20} /dev/urandom > /srv/files/$n; done; sync"
        )
        body = {"command": fill, "waitForCompletion": True, "timeout": 60}
        self._post("/main/sandboxes/source/process", body)

    def _post(self, path: str, body: Any = None) -> Any:
        data = json.dumps(body or {}).encode()
        request = urllib.request.Request(self._url + path, data, method="POST")
        request.add_header("X-Blaxel-Authorization", f"Bearer {KEY}")
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def _target(self) -> dict[str, str]:
        return {"targetType": "sandbox", "targetName": f"fork-{next(self._numbers)}"}

    def fork(self) -> None:
        """Fork the sandbox as it is."""
        self._post("/v0/sandboxes/source/fork", self._target())

    def snapshot(self) -> None:
        """Take a snapshot of it."""
        self._last = self._post("/v0/sandboxes/source/snapshots")["id"]

    def fork_of_snapshot(self) -> None:
        """Fork the last snapshot."""
        self._post(f"/v0/snapshots/{self._last}/fork", self._target())

    def restore(self) -> None:
        """Set the sandbox back to the last snapshot."""
        self._post(f"/v0/sandboxes/source/snapshots/{self._last}/restore")

    def copy(self) -> None:
        """Copy the same files on the host."""
        target = self._folder / f"copy-{next(self._numbers)}"
        subprocess.run(["cp", "-a", str(self._folder / "files"), str(target)], check=True)
