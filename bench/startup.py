"""How soon `serai up` is ready, and how much memory it holds when idle."""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.platform import Platform
from bench.report import Row


def run(rounds: int) -> list[Row]:
    """Warm starts on one data directory."""
    with tempfile.TemporaryDirectory(prefix="serai-bench-") as name:
        platform = Platform(Path(name))
        first = platform.start()
        platform.stop()
        times, memory = [], []
        for _ in range(rounds):
            times.append(platform.start())
            time.sleep(1)
            memory.append(platform.resident_mb())
            platform.stop()
    ready, resident = statistics.median(times), statistics.median(memory)
    bare = statistics.median(_bare_python() for _ in range(rounds))
    return [
        Row("ready, first start", first * 1000, "ms"),
        Row("ready, warm", ready * 1000, "ms", ("python -c pass", bare * 1000), "2 s", ready <= 2),
        Row("resident, idle (server + launcher)", resident, "MB", None, "150 MB", resident <= 150),
    ]


def _bare_python() -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.perf_counter() - begin
