"""A day of chaos is billed to the unit: kills, repetitions, reordered events, clock steps."""

import asyncio
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text

from serai.kernel.clock import millis
from serai.metering.delivery import SpanDelivery
from serai.metering.dimensions import SANDBOX_RUNTIME
from serai.metering.events import Series, UsageEvent
from serai.metering.records import record
from serai.metering.spans import SpanMeter
from serai.metering.store import UsageStore
from serai.metering.times import DAY, HOUR, moment_of
from serai.metering.verification import verify
from serai.resources.spans import Metered, SpanChange
from serai.store.database import Database
from serai.store.tables.usage import usage_hours, usage_series

START = datetime(2026, 4, 28, tzinfo=UTC)
BEGIN = millis(START)
METER = SpanMeter()
RESOURCES = ("a", "b", "c", "d")

LIVING = """
import asyncio, random, sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from serai.kernel.clock import millis
from serai.metering.delivery import SpanDelivery
from serai.metering.spans import SpanMeter
from serai.metering.store import UsageStore
from serai.resources.spans import Metered, close_span, open_span
from serai.store.database import Database

folder, chance = Path(sys.argv[1]), random.Random(int(sys.argv[2]))
db, usage = Database(folder / "serai.db"), UsageStore(folder)
db.open()
usage.open()
meter = SpanMeter()
delivery = SpanDelivery(db, usage, meter)
DIMENSION = "sandbox_compute_runtime_gbs"

def change(conn):
    clock, latest = conn.exec_driver_sql(
        "SELECT coalesce((SELECT at FROM truth ORDER BY number DESC LIMIT 1), ?), "
        "coalesce((SELECT max(at) FROM truth), ?)", (int(sys.argv[3]),) * 2).one()
    step = chance.choice([1, 999, 60_000, 400_000, 3_600_000, 4_000_000, -600_000])
    at = max(int(sys.argv[3]), clock + step)
    name, rate = chance.choice("abcd"), chance.choice([0, 0, 256, 1024])
    conn.exec_driver_sql("INSERT INTO truth (name, at, rate) VALUES (?, ?, ?)", (name, at, rate))
    moment = datetime.fromtimestamp(0, timezone.utc) + timedelta(milliseconds=at)
    if rate:
        whose = Metered(id=name, account_id="acc", workspace="main", type="sandbox", name=name)
        open_span(conn, whose, DIMENSION, rate, moment)
    else:
        close_span(conn, name, DIMENSION, moment)
    return datetime.fromtimestamp(0, timezone.utc) + timedelta(milliseconds=max(at, latest))

async def live():
    await delivery.start()
    while True:
        latest = await db.write(change)
        if chance.random() < 0.4:
            await delivery.drain()
        if chance.random() < 0.3:  # also before what is in the outbox has been delivered
            await usage.write(lambda conn: meter.tick(conn, latest))
        print("lived", flush=True)

asyncio.run(live())
"""


def used(changes, until):
    """Per hour, what one resource uses: moment and rate of each change, in their true order."""
    found, clock, rate = defaultdict(int), BEGIN, 0
    for at, next_rate in [*changes, (until, 0)]:
        while clock < at:
            cut = min(at, (clock // HOUR + 1) * HOUR)
            found[clock // HOUR] += rate * (cut - clock)
            clock = cut
        rate = next_rate
    return {hour: quantity for hour, quantity in found.items() if quantity}


def billed(conn):
    query = select(usage_series.c.resource_id, usage_hours.c.hour, usage_hours.c.quantity).where(
        usage_series.c.id == usage_hours.c.series_id, usage_series.c.total.is_(False)
    )
    found = defaultdict(dict)
    for resource, hour, quantity in conn.execute(query):
        found[resource][hour] = quantity
    return dict(found)


def test_a_day_with_kills_is_billed_to_the_unit(tmp_path):
    db = Database(tmp_path / "serai.db")
    db.open()
    create = "CREATE TABLE truth (number INTEGER PRIMARY KEY, name TEXT, at INTEGER, rate INTEGER)"
    db.submit(lambda conn: conn.execute(text(create))).result()
    db.close()
    chance = random.Random(11)
    for life in range(5):
        arguments = [str(tmp_path), str(life), str(BEGIN)]
        with subprocess.Popen(
            [sys.executable, "-c", LIVING, *arguments], stdout=subprocess.PIPE, text=True
        ) as living:
            assert living.stdout is not None
            for _ in range(chance.randint(20, 40)):
                assert living.stdout.readline() == "lived\n"
            time.sleep(chance.random() * 0.02)
            living.send_signal(signal.SIGKILL)
    db, usage = Database(tmp_path / "serai.db"), UsageStore(tmp_path)
    db.open()
    usage.open()
    try:
        asyncio.run(SpanDelivery(db, usage, METER).start())
        rows = db.read_now(lambda c: c.execute(text("SELECT * FROM truth ORDER BY number")).all())
        until = max(row.at for row in rows) + 5
        usage.submit(lambda conn: METER.tick(conn, moment_of(until))).result()
        truth = defaultdict(list)
        for row in rows:
            truth[row.name].append((row.at, row.rate))
        assert until - BEGIN > DAY, "less than a day was lived"
        expected = {name: used(changes, until) for name, changes in truth.items()}
        assert usage.read_now(billed) == {name: sums for name, sums in expected.items() if sums}
        report = usage.read_now(lambda conn: verify(conn, BEGIN, until + DAY))
        assert report.compared > 0
        assert report.differences == []
    finally:
        usage.close()
        db.close()


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(RESOURCES),
        st.sampled_from([0, 0, 128, 1024]),
        st.integers(-2 * HOUR, 4 * HOUR) | st.sampled_from([0, 1, HOUR]),
    ),
    min_size=1,
    max_size=14,
)


def told(name, rate, at):
    whose = Metered(id=name, account_id="acc", workspace="main", type="sandbox", name=name)
    return SpanChange(
        resource_id=name,
        dimension=SANDBOX_RUNTIME,
        rate=rate,
        at=at,
        resource=whose if rate else None,
    )


@settings(max_examples=60, deadline=None)
@given(happened=CHANGES, data=st.data())
def test_what_is_told_twice_late_and_in_any_order_is_billed_to_the_unit(fresh, happened, data):
    truth, messages, now = defaultdict(list), [], BEGIN
    for number, (name, rate, passed) in enumerate(happened, 1):
        now = max(BEGIN, now + passed)
        truth[name].append((now, rate))
        messages.append((number, told(name, rate, now)))
    latest = max(at for changes in truth.values() for at, _ in changes)
    again = data.draw(st.lists(st.sampled_from(messages), max_size=8))
    order = data.draw(st.permutations(messages + again))
    ticks = data.draw(st.lists(st.integers(0, latest - BEGIN), max_size=4))
    with fresh() as conn:
        for position, (number, change) in enumerate(order):
            METER.apply(conn, number, change)
            if position < len(ticks):
                METER.tick(conn, moment_of(BEGIN + ticks[position]))
        METER.tick(conn, moment_of(latest))
        expected = {name: used(changes, latest) for name, changes in truth.items()}
        assert billed(conn) == {name: sums for name, sums in expected.items() if sums}
        assert verify(conn, BEGIN, latest + 1).differences == []


@settings(max_examples=30, deadline=None)
@given(happened=CHANGES, cut=st.integers(0, 14))
def test_settling_the_past_changes_no_sum(fresh, happened, cut):
    truth, now = defaultdict(list), BEGIN
    with fresh() as conn:
        for number, (name, rate, passed) in enumerate(happened):
            now += abs(passed)
            truth[name].append((now, rate))
            METER.apply(conn, number, told(name, rate, now))
            if number == cut:
                METER.tick(conn, moment_of(now))
                METER.settle(conn, now, now // HOUR * HOUR)
        METER.tick(conn, moment_of(now))
        expected = {name: used(changes, now) for name, changes in truth.items()}
        assert billed(conn) == {name: sums for name, sums in expected.items() if sums}
        assert verify(conn, BEGIN, now + 1).differences == []


def event(number, start, quantity=7, length=60_000):
    series = Series(
        account_id="acc",
        workspace="main",
        resource_type="sandbox",
        resource_name="box",
        resource_id="r",
        dimension=SANDBOX_RUNTIME,
    )
    return UsageEvent(
        id=f"r/{number}", series=series, start=start, end=start + length, quantity=quantity
    )


@pytest.mark.parametrize("table", ["usage_hours", "usage_days", "usage_events"])
@pytest.mark.parametrize("change", ["SET quantity = quantity + 1", "DELETE"])
async def test_a_wrong_number_anywhere_is_found(db, table, change):
    await db.write(lambda conn: METER.apply(conn, 1, told("a", 512, BEGIN)))
    await db.write(lambda conn: METER.tick(conn, START + timedelta(hours=30)))
    await db.write(lambda conn: record(conn, [event(n, BEGIN + n * HOUR) for n in range(5)]))
    assert (await db.read(lambda conn: verify(conn, BEGIN, BEGIN + 2 * DAY))).differences == []
    statement = f"DELETE FROM {table}" if change == "DELETE" else f"UPDATE {table} {change}"
    await db.write(lambda conn: conn.execute(text(f"{statement} WHERE quantity > 7")))
    report = await db.read(lambda conn: verify(conn, BEGIN, BEGIN + 2 * DAY))
    assert report.differences
    assert all(found.stored != found.recomputed for found in report.differences)
