"""How soon `serai up` is ready, and how much memory it holds when idle."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.platform import Platform
from bench.report import Row

_SETTLED_SECONDS = 8
"""After a start: until nobody looks for the host's private files any more."""


def run(rounds: int) -> list[Row]:
    """Warm starts on one data directory."""
    with tempfile.TemporaryDirectory(prefix="serai-bench-") as name:
        platform = Platform(Path(name))
        first = platform.start()
        platform.stop()
        times, used, bare, memory, resident = [], [], [], [], []
        for _ in range(rounds):
            times.append(platform.start())
            used.append(platform.cpu_seconds())
            bare.append(_bare_python())
            time.sleep(_SETTLED_SECONDS)
            memory.append(platform.memory_mb())
            resident.append(platform.resident_mb())
            platform.stop()
    ready, held = statistics.median(times), statistics.median(memory)
    python = ("python -c pass", statistics.median(wall for wall, _ in bare) * 1000)
    python_cpu = ("python -c pass", statistics.median(cpu for _, cpu in bare) * 1000)
    twice = ("shared pages in each", statistics.median(resident))
    return [
        Row("ready, first start", first * 1000, "ms"),
        Row("ready, warm", ready * 1000, "ms", python, "2 s", ready <= 2),
        Row("CPU until ready, warm", statistics.median(used) * 1000, "ms", python_cpu),
        Row("memory, idle, all processes", held, "MB", twice, "150 MB", held <= 150),
    ]


def _bare_python() -> tuple[float, float]:
    """Seconds on the clock, and of the processor."""
    begin, before = time.perf_counter(), os.times()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    taken, after = time.perf_counter() - begin, os.times()
    used = after.children_user + after.children_system
    return taken, used - before.children_user - before.children_system
