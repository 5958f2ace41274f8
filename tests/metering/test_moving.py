"""Usage of an earlier version comes into the usage store once, wherever the move is cut off."""

import random
import signal
import subprocess
import sys
import time

import pytest
from sqlalchemy import func, insert, inspect, select

from serai.metering.dimensions import SANDBOX_RUNTIME
from serai.metering.moving import former_spans, move_from_platform
from serai.metering.records import mismatches
from serai.metering.store import UsageStore
from serai.store.database import Database
from serai.store.engines import DatabaseUnusable
from serai.store.tables.usage import (
    usage_days,
    usage_events,
    usage_hours,
    usage_series,
    usage_spans,
)

EVENTS = 30_000
HOUR = 3_600_000

MOVING = """
import asyncio, sys
from pathlib import Path
from serai.metering.moving import move_from_platform
from serai.metering.store import UsageStore
from serai.store.database import Database

db, usage = Database(Path(sys.argv[1]) / "serai.db"), UsageStore(Path(sys.argv[1]))
db.open()
usage.open()
print("ready", flush=True)
asyncio.run(move_from_platform(db, usage))
print("done", flush=True)
"""


def series(number, total=False):
    return {
        "id": number,
        "key": f"key-{number}",
        "total": total,
        "account_id": "acc",
        "workspace": "main",
        "resource_type": "sandbox",
        "resource_name": "" if total else "box",
        "resource_id": "" if total else "r",
        "dimension": SANDBOX_RUNTIME,
        "provider": "",
        "model": "",
        "first_hour": 0,
        "last_hour": EVENTS,
    }


def span(name, closed_at):
    return {
        "resource_id": name,
        "account_id": "acc",
        "workspace": "main",
        "name": name,
        "memory_mb": 512,
        "opened_at": 5,
        "metered_until": 70,
        "closed_at": closed_at,
    }


def fill(conn):
    """What a release wrote that kept usage in the platform's database."""
    conn.execute(insert(usage_series), [series(7), series(9, total=True)])
    hours = range(EVENTS)
    conn.execute(
        insert(usage_events),
        [
            {"id": f"r/{n}", "series_id": 7, "start": n * HOUR, "end": n * HOUR + 2, "quantity": n}
            for n in hours
        ],
    )
    sums = [{"series_id": s, "hour": n, "quantity": n} for s in (7, 9) for n in hours]
    conn.execute(insert(usage_hours), sums)
    days = [{"series_id": s, "day": 3, "month": 5, "quantity": 4} for s in (7, 9)]
    conn.execute(insert(usage_days), days)
    conn.execute(insert(former_spans), [span("open", None), span("closed", 70)])


def contents(conn):
    tables = (usage_series, usage_events, usage_hours, usage_days)
    return [conn.execute(select(func.count()).select_from(table)).scalar() for table in tables]


def test_a_move_that_is_killed_at_any_moment_is_finished_by_the_next_start(tmp_path):
    db = Database(tmp_path / "serai.db")
    db.open()
    db.submit(fill).result()
    db.close()
    chance = random.Random(5)
    for attempt in range(8):
        with subprocess.Popen(
            [sys.executable, "-c", MOVING, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as moving:
            assert moving.stdout is not None
            assert moving.stdout.readline() == "ready\n"
            if attempt < 7:
                time.sleep(chance.random() * 0.6)
                moving.send_signal(signal.SIGKILL)
            else:
                assert moving.stdout.read().endswith("done\n")
    db, usage = Database(tmp_path / "serai.db"), UsageStore(tmp_path)
    db.open()
    usage.open()
    assert not db.read_now(lambda conn: inspect(conn).has_table("usage_series"))
    assert usage.read_now(contents) == [2, EVENTS, 2 * EVENTS, 2]
    assert usage.read_now(mismatches) == []
    spans = usage.read_now(lambda c: {s.resource_id: s for s in c.execute(select(usage_spans))})
    assert (spans["open"].rate, spans["open"].metered_until) == (512, 70)
    assert spans["closed"].rate == 0
    db.close()
    usage.close()


async def test_usage_of_another_installation_is_not_mixed_in(db, platform):
    await platform.write(fill)
    await db.write(lambda conn: conn.execute(insert(usage_series), [series(1)]))
    with pytest.raises(DatabaseUnusable, match="two installations"):
        await move_from_platform(platform, db)
    assert await platform.read(contents) == [2, EVENTS, 2 * EVENTS, 2]
    assert (await db.read(contents))[0] == 1


async def test_an_installation_without_usage_is_moved_too(db, platform):
    for _ in range(2):
        await move_from_platform(platform, db)
    assert not await platform.read(lambda conn: inspect(conn).has_table("usage_events"))
