"""Spans reach the usage store from the outbox exactly once, whatever happens on the way."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from serai.kernel.errors import ServiceUnavailable
from serai.metering.delivery import SpanDelivery
from serai.metering.dimensions import SANDBOX_RUNTIME
from serai.metering.spans import SpanMeter
from serai.resources.spans import TOPIC, Metered, close_span, open_span
from serai.store import outbox
from serai.store.tables.outbox import outbox as messages
from serai.store.tables.usage import usage_hours, usage_quarantine, usage_series, usage_spans

START = datetime(2026, 4, 28, 11, 58, tzinfo=UTC)
METER = SpanMeter()
BOX = Metered(id="r", account_id="acc", workspace="main", type="sandbox", name="box")


def summed(conn):
    joined = usage_hours.join(usage_series)
    query = select(func.sum(usage_hours.c.quantity)).select_from(joined)
    return conn.execute(query.where(usage_series.c.total.is_(False))).scalar_one() or 0


def left(conn):
    return conn.execute(select(func.count()).select_from(messages)).scalar_one()


async def ran(platform, seconds, begin=START):
    end = begin + timedelta(seconds=seconds)
    await platform.write(lambda conn: open_span(conn, BOX, SANDBOX_RUNTIME, 512, begin))
    await platform.write(lambda conn: close_span(conn, "r", SANDBOX_RUNTIME, end))


async def test_what_a_crash_left_in_the_outbox_is_delivered_again_and_counts_once(db, platform):
    await ran(platform, 300)
    found = await platform.read(lambda conn: outbox.waiting(conn, TOPIC, 10))
    delivery = SpanDelivery(platform, db, METER)
    await db.write(lambda conn: delivery._apply(conn, found))
    assert await platform.read(left) == 2
    await SpanDelivery(platform, db, METER).start()
    assert await platform.read(left) == 0
    assert await db.read(summed) == 512 * 300_000


async def test_nothing_is_lost_while_the_usage_store_cannot_be_written(db, platform, outage):
    delivery = SpanDelivery(platform, db, METER)
    await delivery.start()
    with outage():
        await ran(platform, 60)
        with pytest.raises(ServiceUnavailable):
            await delivery.drain()
    assert await platform.read(left) == 2
    await delivery.drain()
    assert await db.read(summed) == 512 * 60_000


async def test_an_outbox_from_an_older_backup_goes_on_above_what_is_known(db, platform):
    await ran(platform, 10)
    delivery = SpanDelivery(platform, db, METER)
    await delivery.start()
    await platform.write(
        lambda conn: conn.exec_driver_sql("UPDATE sqlite_sequence SET seq = 0 WHERE name='outbox'")
    )
    await SpanDelivery(platform, db, METER).start()
    await ran(platform, 20, START + timedelta(seconds=60))
    await delivery.drain()
    assert await db.read(summed) == 512 * 30_000


async def test_what_cannot_be_read_is_set_aside_and_the_rest_delivered(db, platform):
    await platform.write(lambda conn: conn.execute(messages.insert().values(topic=TOPIC, body="x")))
    impossible = Metered(id="", account_id="acc", workspace="main", type="sandbox", name="box")
    await platform.write(lambda conn: open_span(conn, impossible, SANDBOX_RUNTIME, 1, START))
    await platform.write(lambda conn: open_span(conn, BOX, "colours", 1, START))
    await platform.write(lambda conn: open_span(conn, BOX, SANDBOX_RUNTIME, -1, START))
    await ran(platform, 5)
    delivery = SpanDelivery(platform, db, METER)
    await delivery.start()
    assert delivery.set_aside == 4
    reasons = await db.read(lambda c: c.execute(select(usage_quarantine.c.reason)).scalars().all())
    assert any("colours" in reason for reason in reasons)
    assert await db.read(summed) == 512 * 5_000
    assert len(await db.read(lambda conn: conn.execute(select(usage_spans)).all())) == 1
