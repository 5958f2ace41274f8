"""Logs: how fast lines are kept, and how fast an hour of a resource is searched among all."""

import asyncio
import json
import os
import statistics
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.platform import KEY, Platform
from bench.report import Row
from serai.kernel.lines import LogLine
from serai.telemetry.lines.store import LineStore

LINES = int(os.environ.get("BENCH_LOG_LINES", "1000000"))
RESOURCES = 1_000
HOURS = 72
BUSY_SHARE = 0.1
"""Of all lines are of one resource; the others share the rest."""
BATCH = 20_000
SECOND = 1_000_000_000
TEXT = "GET /v1/items/{} 200 in 12.5 ms, user 4f2c9a17, cache miss, region here, took its time"


def run(rounds: int) -> list[Row]:
    """Keep lines as they come, then search them through a real server."""
    with tempfile.TemporaryDirectory(prefix="serai-bench-") as name:
        folder = Path(name) / "data"
        platform = Platform(folder)
        platform.start()
        platform.stop()
        kept = asyncio.run(_keep(folder))
        return [kept, *_searches(platform, rounds)]


def _lines(start: int, count: int, end_ns: int) -> Iterator[LogLine]:
    """Some of all the lines, by time: they end now and begin ``HOURS`` ago."""
    step = HOURS * 3600 * SECOND // LINES
    for number in range(start, start + count):
        busy = number % round(1 / BUSY_SHARE) == 0
        resource = "busy" if busy else f"agent-{number * 7919 % RESOURCES:04}"
        yield LogLine(
            at_ns=end_ns - (LINES - number) * step,
            workspace="main",
            resource_type="agent",
            resource=resource,
            source="run",
            stream="stdout",
            revision="5f3a2c1b",
            instance=f"{resource}-1",
            severity="error" if number % 97 == 0 else "info",
            text=TEXT.format(number),
        )


async def _keep(folder: Path) -> Row:
    store = LineStore(folder, rate=1 << 40)
    store.open()
    end_ns, used = time.time_ns(), 0.0
    for start in range(0, LINES, BATCH):
        lines = list(_lines(start, min(BATCH, LINES - start), end_ns))
        begin = time.process_time()
        store.sink.write(lines)
        await store.save()
        used += time.process_time() - begin
    store.close()
    size = (folder / "logs.db").stat().st_size
    print(f"\n  {LINES:,} lines in {size / 2**20:,.0f} MiB", end="", flush=True)
    rate = LINES / used
    return Row("Lines kept per second of one core", rate, "/s", None, "50,000", rate >= 50_000)


def _searches(platform: Platform, rounds: int) -> list[Row]:
    platform.start()
    try:
        questions: dict[str, dict[str, Any]] = {
            "The last 100 lines of an hour": {},
            "A text in an hour, found nowhere": {"search": "No Such Text", "limit": 1000},
            "Errors of an hour": {"severity": "ERROR,FATAL", "limit": 1000},
            "A text in three days, found nowhere": {"search": "no such text", "days": 3},
        }
        rows = []
        for name in ("agent-0001", "busy"):
            for title, asked in questions.items():
                ms = _median(platform, rounds, name, dict(asked))
                goal = "" if "days" in asked else "200 ms"
                met = ms <= 200 if goal else None
                rows.append(Row(f"{title}, {name}", ms, "ms", None, goal, met))
        return rows
    finally:
        platform.stop()


def _median(platform: Platform, rounds: int, name: str, asked: dict[str, Any]) -> float:
    days = asked.pop("days", 0)
    start = time.time() - (days * 86_400 or 3_600)
    query = {
        "resourceType": "agents",
        "workloadIds": name,
        "start": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(start)),
        **asked,
    }
    path = f"/v0/observability/logs?{urllib.parse.urlencode(query)}"
    times = []
    for _ in range(max(5, rounds)):
        begin = time.perf_counter()
        answer = _asked(platform, path)
        times.append(time.perf_counter() - begin)
        found = bool(answer[name]["logs"])
        if found if "search" in query else not found and "severity" not in query:
            raise RuntimeError("the answer is wrong")
    return statistics.median(times) * 1000


def _asked(platform: Platform, path: str) -> Any:
    headers = {"Authorization": f"Bearer {KEY}"}
    with urllib.request.urlopen(urllib.request.Request(platform.url + path, None, headers)) as got:
        return json.loads(got.read())
