"""What is charged for running sandboxes is exactly the time they ran, whatever happens."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, text

from serai.metering.dimensions import SANDBOX_RUNTIME
from serai.metering.events import Series, UsageEvent
from serai.metering.records import mismatches, prune, record
from serai.metering.times import millis, moment_of
from serai.store.tables.usage import (
    usage_days,
    usage_events,
    usage_hours,
    usage_quarantine,
    usage_series,
    usage_spans,
)

from .told import ToldMeter

BASE = datetime(2026, 4, 28, 11, 58, tzinfo=UTC)
METER = ToldMeter()


def at(seconds: float) -> datetime:
    return BASE + timedelta(milliseconds=round(seconds * 1000))


def opened(conn, seconds=0.0, name="one", memory=1024, account="acc"):
    METER.open(
        conn,
        resource_id=f"id-{name}",
        account_id=account,
        workspace="main",
        name=name,
        memory_mb=memory,
        at=at(seconds),
    )


def recovered(conn, alive, moment):
    """What a start does after a crash; the next tick is part of it here."""
    for resource_id, last_tick in METER.ended(conn, SANDBOX_RUNTIME, alive):
        METER.close(conn, resource_id, moment_of(last_tick))
    METER.tick(conn, moment)


def summed(conn, table, total=False):
    joined = table.join(usage_series, usage_series.c.id == table.c.series_id)
    query = select(func.coalesce(func.sum(table.c.quantity), 0)).select_from(joined)
    return conn.execute(query.where(usage_series.c.total.is_(total))).scalar_one()


def sums(conn):
    return {summed(conn, table, t) for table in (usage_hours, usage_days) for t in (True, False)}


def event(quantity=5, id_="r/d/0", start=0, end=0):
    series = Series(
        account_id="a",
        workspace="w",
        resource_type="model",
        resource_name="m",
        resource_id="r",
        dimension="model_requests_count",
    )
    return UsageEvent(id=id_, series=series, start=start, end=end, quantity=quantity)


async def test_a_sandbox_of_three_seconds_is_charged_three_seconds(db):
    await db.write(lambda conn: opened(conn))
    await db.write(lambda conn: METER.close(conn, "id-one", at(3)))
    assert await db.read(sums) == {1024 * 3000}


async def test_usage_is_cut_at_full_hours(db):
    await db.write(lambda conn: opened(conn))
    await db.write(lambda conn: METER.tick(conn, at(300)))
    rows = await db.read(lambda conn: conn.execute(select(usage_events)).all())
    assert [(row.end - row.start) for row in rows] == [120_000, 180_000]
    assert rows[0].id == f"id-one/{SANDBOX_RUNTIME}/{rows[0].start}"


async def test_ticks_grow_the_event_of_the_hour_instead_of_adding_events(db):
    await db.write(lambda conn: opened(conn))
    for second in range(1, 60):
        await db.write(lambda conn, s=second: METER.tick(conn, at(s)))
    assert await db.read(lambda c: c.execute(select(func.count(usage_events.c.id))).scalar()) == 1
    assert await db.read(sums) == {1024 * 59_000}


async def test_a_dead_sandbox_is_charged_up_to_its_last_tick(db):
    def crash(conn):
        opened(conn, name="dead")
        opened(conn, name="alive")
        METER.tick(conn, at(60))

    await db.write(crash)
    await db.write(lambda conn: recovered(conn, {"id-alive"}, at(7200)))
    assert await db.read(sums) == {1024 * (60_000 + 7_200_000)}
    assert await db.read(lambda conn: METER.ended(conn, SANDBOX_RUNTIME, {"id-alive"})) == []


async def test_more_memory_counts_from_the_moment_it_is_given(db):
    await db.write(lambda conn: opened(conn))
    await db.write(lambda conn: opened(conn, 10, memory=2048))
    await db.write(lambda conn: METER.close(conn, "id-one", at(15)))
    assert await db.read(sums) == {1024 * 10_000 + 2048 * 5_000}


async def test_a_clock_set_back_charges_nothing_twice(db):
    await db.write(lambda conn: opened(conn))
    await db.write(lambda conn: METER.close(conn, "id-one", at(100)))
    await db.write(lambda conn: opened(conn, 50))
    await db.write(lambda conn: METER.tick(conn, at(80)))
    assert await db.read(sums) == {1024 * 100_000}
    await db.write(lambda conn: METER.close(conn, "id-one", at(101)))
    assert await db.read(sums) == {1024 * 101_000}


async def test_closing_what_is_not_open_changes_nothing(db):
    await db.write(lambda conn: METER.close(conn, "id-one", at(1)))
    assert await db.read(sums) == {0}


async def test_a_repeated_event_counts_once_and_a_grown_one_adds_its_growth(db):
    assert await db.write(lambda conn: record(conn, [event(5), event(5), event(3)])) == 1
    assert await db.write(lambda conn: record(conn, [event(5)])) == 0
    assert await db.write(lambda conn: record(conn, [event(4)])) == 0
    assert await db.write(lambda conn: record(conn, [event(9)])) == 1
    assert await db.read(sums) == {9}


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ({"quantity": -1}, "quantity of -1"),
        ({"quantity": 2**60}, "quantity"),
        ({"end": 3_600_001}, "leaves its hour"),
        ({"start": 5, "end": 4}, "5 to 4"),
        ({"start": -5}, "-5 to 0"),
        ({"start": 2**50, "end": 2**50}, "no time"),
    ],
)
async def test_an_impossible_event_is_set_aside_and_the_others_count(db, bad, why):
    wrong, right = event(**bad), event(7, "r/d/1")
    for _ in range(2):
        await db.write(lambda conn: record(conn, [wrong, right]))
    assert await db.read(sums) == {7}
    (row,) = await db.read(lambda conn: conn.execute(select(usage_quarantine)).all())
    assert why in row.reason
    assert msgspec.json.decode(row.body, type=UsageEvent) == wrong


async def test_pruning_forgets_events_and_keeps_sums(db):
    await db.write(lambda conn: record(conn, [event(5)]))
    assert await db.write(lambda conn: prune(conn, 8 * 86_400_000)) == 0
    assert await db.write(lambda conn: prune(conn, 9 * 86_400_000)) == 1
    assert await db.read(sums) == {5}


async def test_forgotten_spans_are_only_the_long_closed(db):
    await db.write(lambda conn: opened(conn))
    await db.write(lambda conn: opened(conn, name="two"))
    await db.write(lambda conn: METER.close(conn, "id-one", at(5)))
    assert await db.write(lambda conn: METER.forget(conn, at(5))) == 0
    assert await db.write(lambda conn: METER.forget(conn, at(6))) == 1
    assert await db.read(lambda c: c.execute(select(usage_spans.c.name)).scalars().all()) == ["two"]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["open", "close", "tick", "replay", "crash", "grow"]),
        st.integers(0, 2),
        st.integers(-3_000_000, 9_000_000),
    ),
    max_size=40,
)


class Truth:
    """What happened to each resource, and what it used, added up in the simplest way there is."""

    def __init__(self):
        self.happened = {}

    def told(self, key, now, rate):
        self.happened.setdefault(key, []).append((now, rate))

    def used(self, until):
        total = 0
        for changes in self.happened.values():
            clock, rate = 0, 0
            for moment, next_rate in [*changes, (until, 0)]:
                total += rate * max(0, moment - clock)
                clock, rate = max(clock, moment), next_rate
        return total


def apply(conn, truth, step, which, now, memory):
    key, moment = f"id-{which}", at(now / 1000)
    if step in {"open", "grow"}:
        opened(conn, now / 1000, str(which), memory)
        truth.told(key, now, memory)
    elif step == "close":
        METER.close(conn, key, moment)
        truth.told(key, now, 0)
    elif step == "tick":
        METER.tick(conn, moment)
    elif step == "crash":
        for dead, last_tick in METER.ended(conn, SANDBOX_RUNTIME, {key}):
            METER.close(conn, dead, moment_of(last_tick))
            truth.told(dead, last_tick - millis(BASE), 0)
    else:
        replay(conn)


def replay(conn):
    query = select(usage_events, usage_series).join(usage_series)
    for row in conn.execute(query).mappings():
        series = Series(**{name: row[name] for name in Series.__struct_fields__})
        stored = UsageEvent(
            id=row["id"],
            series=series,
            start=row["start"],
            end=row["end"],
            quantity=row["quantity"],
        )
        assert record(conn, [stored, stored]) == 0


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_the_sums_are_the_true_integral(fresh, steps):
    with fresh() as conn:
        truth, now, latest = Truth(), 10**7, 10**7
        for number, (step, which, passed) in enumerate(steps):
            now = max(0, now + passed)
            latest = max(latest, now)
            conn.execute(text("SAVEPOINT lost"))
            opened(conn, now / 1000, "9", 64)
            METER.tick(conn, at(now / 1000))
            conn.execute(text("ROLLBACK TO lost"))
            apply(conn, truth, step, which, now, 512 if step == "open" else 128 + number)
        METER.tick(conn, at(latest / 1000))
        assert sums(conn) == {truth.used(latest)}
        assert mismatches(conn) == []
