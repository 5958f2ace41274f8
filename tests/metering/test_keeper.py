"""The minute's work goes on by itself, and a killed process leaves consistent usage."""

import asyncio
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import func, select

from serai.kernel.clock import now
from serai.metering.delivery import SpanDelivery
from serai.metering.dimensions import SANDBOX_RUNTIME
from serai.metering.keeper import keep_metering, metering_clock
from serai.metering.records import mismatches
from serai.metering.store import UsageStore
from serai.store.tables.usage import usage_hours, usage_metadata, usage_series, usage_spans

from .told import ToldMeter

METER = ToldMeter()

CRASHING = """
import sys
from pathlib import Path
from serai.kernel.clock import now
from serai.metering.spans import SpanMeter
from serai.metering.store import UsageStore
from serai.resources.spans import Metered, SpanChange

db, meter = UsageStore(Path(sys.argv[1])), SpanMeter()
db.open()
for number, name in enumerate("abc"):
    whose = Metered(id=name, account_id="acc", workspace="main", type="sandbox", name=name)
    change = SpanChange(
        resource_id=name, dimension="sandbox_compute_runtime_gbs", rate=256,
        at=int(now().timestamp() * 1000), resource=whose,
    )
    db.submit(lambda conn: meter.apply(conn, number, change)).result()
while True:
    db.submit(lambda conn: meter.tick(conn, now())).result()
    print("tick", flush=True)
"""


def metered(conn):
    rows = conn.execute(select(usage_spans)).all()
    return sum(row.rate * (row.metered_until - row.since) for row in rows)


def summed(conn):
    joined = usage_hours.join(usage_series)
    query = select(func.sum(usage_hours.c.quantity)).select_from(joined)
    return conn.execute(query.where(usage_series.c.total.is_(False))).scalar_one() or 0


def test_a_killed_process_leaves_what_it_metered_and_no_more(tmp_path):
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", CRASHING, str(tmp_path)], stdout=subprocess.PIPE
        ) as crashing:
            assert crashing.stdout is not None
            for _ in range(20):
                assert crashing.stdout.readline() == b"tick\n"
            crashing.send_signal(signal.SIGKILL)
        db = UsageStore(tmp_path)
        db.open()
        try:
            assert db.read_now(summed) == db.read_now(metered) > 0
            assert db.read_now(mismatches) == []
            dead = db.read_now(lambda conn: METER.ended(conn, SANDBOX_RUNTIME, {"a"}))
            assert sorted(name for name, _ in dead) == ["b", "c"]
        finally:
            db.close()
        db.path.unlink()


async def test_ticks_go_on_until_cancelled_and_then_once_more(db, platform):
    moments = iter(datetime(2026, 5, 1, tzinfo=UTC) + timedelta(seconds=n) for n in range(10**6))
    start, delivery = next(moments), SpanDelivery(platform, db, METER)
    await db.write(
        lambda conn: METER.open(
            conn,
            resource_id="r",
            account_id="acc",
            workspace="main",
            name="box",
            memory_mb=1,
            at=start,
        )
    )
    task = asyncio.create_task(
        keep_metering(db, METER, delivery, lambda: next(moments), timedelta(milliseconds=5))
    )
    while await db.read(summed) < 3000:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    ended = next(moments)
    assert await db.read(summed) == (ended - start).total_seconds() * 1000 - 1000


async def test_a_clock_set_back_across_a_restart_takes_nothing_back(db):
    begin = now()
    await db.write(
        lambda conn: METER.open(
            conn,
            resource_id="r",
            account_id="acc",
            workspace="main",
            name="box",
            memory_mb=1,
            at=begin,
        )
    )
    await db.write(lambda conn: METER.tick(conn, begin + timedelta(hours=1)))
    clock = await metering_clock(db, begin - timedelta(minutes=30))
    assert timedelta(minutes=59) < clock.now() - begin < timedelta(minutes=61)
    await db.write(lambda conn: METER.close(conn, "r", clock.now()))
    assert await db.read(summed) >= 3_600_000
    far = await metering_clock(db, begin - timedelta(days=30))
    assert far.now() < begin - timedelta(days=29)


async def test_a_failing_database_delays_ticks_and_loses_nothing(db, platform):
    await db.write(
        lambda conn: METER.open(
            conn,
            resource_id="r",
            account_id="acc",
            workspace="main",
            name="box",
            memory_mb=1,
            at=now(),
        )
    )
    delivery = SpanDelivery(platform, db, METER)
    rename = "ALTER TABLE {} RENAME TO {}"
    await db.write(lambda conn: conn.exec_driver_sql(rename.format("usage_days", "broken")))
    task = asyncio.create_task(keep_metering(db, METER, delivery, now, timedelta(milliseconds=5)))
    await asyncio.sleep(0.05)
    assert await db.read(metered) == 0
    await db.write(lambda conn: conn.exec_driver_sql(rename.format("broken", "usage_days")))
    while not await db.read(summed):
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await db.read(summed) == await db.read(metered) > 0


async def test_the_migrations_make_the_declared_usage_tables(db):
    def differences(conn):
        context = MigrationContext.configure(conn, opts={"version_table": "usage_version"})
        return compare_metadata(context, usage_metadata)

    assert await db.read(differences) == []
