"""The life of sandboxes, through the official Python SDK: made, used, asleep, resumed, deleted."""

import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench.platform import KEY, Platform, Skipped, first_processes, running
from bench.report import Row

CLIENT = Path(".cache/clients/py-0.4.24/bin/python")
PROGRAM = Path(__file__).with_name("sandbox_life.py")
STANDBY_SECONDS = "6"
BARE = ["/bin/sh", "-c", "echo hello"]
BUBBLE = [
    *("bwrap", "--unshare-all", "--die-with-parent", "--ro-bind", "/", "/"),
    *("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", *BARE),
]


def run(rounds: int) -> list[Row]:
    """Figures of one server in one run; ``20 * rounds`` are made at once, twice as many sleep.

    Raises:
        Skipped: the client's environment is missing.
    """
    if not CLIENT.exists():
        raise Skipped("the SDK is not installed; run `make clients`")
    many = 20 * rounds
    with running(SERAI_STANDBY_SECONDS=STANDBY_SECONDS) as platform:
        life = Life(platform, many)
        found = life.told()
        resident = life.resident_mb
    return [*_starts(found, many, rounds), *_sleeps(found, resident, 2 * many)]


class Life:
    """The program that lives it, and what is seen from outside while all sandboxes sleep."""

    def __init__(self, platform: Platform, many: int) -> None:
        self.resident_mb = 0.0
        self._platform = platform
        serai = str(Path(sys.executable).with_name("serai"))
        client = [str(CLIENT), "-P", str(PROGRAM), str(many)]
        self._process = subprocess.Popen(
            [serai, "exec", *platform.options, "--", *client],
            env={"SERAI_ADMIN_API_KEY": KEY, "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def told(self) -> dict[str, list[float]]:
        """Its times, in milliseconds."""
        process = self._process
        assert process.stdout is not None
        assert process.stdin is not None
        for line in process.stdout:
            if line == "asleep\n":
                self.resident_mb = _resident_mb(self._platform)
                process.stdin.write("go on\n")
                process.stdin.flush()
            elif line.startswith("{"):
                times: dict[str, list[float]] = json.loads(line)
                return {name: [1000 * t for t in found] for name, found in times.items()}
        raise RuntimeError(f"the program ended with {process.wait()}")


def _starts(found: dict[str, list[float]], many: int, rounds: int) -> list[Row]:
    bubble = shutil.which("bwrap") is not None
    name, command = ("bwrap + sh", BUBBLE) if bubble else ("fork + sh", BARE)
    local = [_timed(lambda: _print_hello(command)) for _ in range(10 * rounds)]
    middle, slowest = _middle(found["first_output"]), _slowest(found["first_output"])
    (at_once,) = found["at_once"]
    alone = middle * many / 1000
    return [
        Row("create a sandbox, p50", _middle(found["create"]), "ms", (name, _middle(local))),
        _within("create to first output, p50", middle, (name, _middle(local)), 100),
        _within("create to first output, p99", slowest, (name, _slowest(local)), 250),
        Row(
            f"{many} created at once, all used",
            at_once / 1000,
            "s",
            ("one after the other", alone),
            f"{many * 0.06:g} s",
            at_once / 1000 <= many * 0.06,
        ),
    ]


def _sleeps(found: dict[str, list[float]], resident: float, many: int) -> list[Row]:
    resumed, awake = found["resumed"], found["awake"]
    return [
        _within("resume to first byte, p50", _middle(resumed), ("awake", _middle(awake)), 10),
        _within("resume to first byte, p99", _slowest(resumed), ("awake", _slowest(awake)), 25),
        Row(f"memory of one of {many} asleep", resident / many, "MB", None, "5 MB", None),
        Row("delete, p50", _middle(found["delete"]), "ms", ("awake call", _middle(awake))),
    ]


def _within(name: str, value: float, baseline: tuple[str, float], most: float) -> Row:
    return Row(name, value, "ms", baseline, f"{most:g} ms", value <= most)


def _middle(times: list[float]) -> float:
    return statistics.median(times)


def _slowest(times: list[float]) -> float:
    """The 99th percentile."""
    return sorted(times)[min(len(times) - 1, len(times) * 99 // 100)]


def _timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - begin)


def _print_hello(command: list[str]) -> None:
    subprocess.run(command, capture_output=True, check=True)


def _resident_mb(platform: Platform) -> float:
    """What the first processes of all sandboxes hold, shared pages shared out among them."""
    assert platform.process is not None
    total = 0
    for pid in first_processes(platform.process.pid):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            total += int(line.split()[1]) if line.startswith("Pss:") else 0
    return total / 1024
