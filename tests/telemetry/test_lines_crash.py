"""``kill -9`` takes what waited, and nothing that was written: no gap, no line twice."""

import asyncio
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from sqlalchemy import select

from serai.store.tables.lines import log_lines
from serai.telemetry.lines.store import INTERVAL, LineStore

WRITER = """
import asyncio, sys, time
from pathlib import Path
from serai.kernel.lines import LogLine
from serai.telemetry.lines import store as module
from serai.telemetry.lines.store import LineStore

store, life = LineStore(Path(sys.argv[1]), rate=1_000_000), sys.argv[2]
store.open()

async def told():
    saved = 0
    while True:
        await asyncio.sleep(module.INTERVAL)
        saved += await store.save()
        print(saved, flush=True)

async def write():
    number = 0
    while True:
        at = time.time_ns()
        names = dict(workspace="w", resource_type="agent", resource="a", source="run")
        lines = [LogLine(at_ns=at, text=f"{life} {number + n}", **names) for n in range(20)]
        store.sink.write(lines)
        number += 20
        await asyncio.sleep(0.001)

async def main():
    await asyncio.gather(told(), write())

asyncio.run(main())
"""


def test_a_crash_loses_what_waited_and_no_more(tmp_path: Path) -> None:
    chance = random.Random(4)
    least: dict[str, int] = {}
    for life in ("0", "1", "2", "3"):
        command = [sys.executable, "-c", WRITER, str(tmp_path), life]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(chance.randint(1, 3)):  # so many saves
            least[life] = int(process.stdout.readline())
        time.sleep(chance.random() * INTERVAL * 1.2)
        killed = time.time_ns()
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        numbers, newest = read(tmp_path, life)
        assert numbers == list(range(len(numbers)))
        assert len(numbers) >= least[life]
        assert killed - newest < (INTERVAL + 20) * 1e9
    assert all(read(tmp_path, life)[0] for life in least)


def read(folder: Path, life: str) -> tuple[list[int], int]:
    """The lines of one process in the order they are in, and when the last one was written."""
    store = LineStore(folder)
    store.open()
    try:
        query = select(log_lines.c.number, log_lines.c.text).order_by(log_lines.c.number)
        rows = asyncio.run(store.search(lambda conn: conn.execute(query).all()))
    finally:
        store.close()
    mine = [(at, int(text.split()[1])) for at, text in rows if text.split()[0] == life]
    return [number for _, number in mine], mine[-1][0]
