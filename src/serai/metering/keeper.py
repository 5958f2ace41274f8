"""The meter's housekeeping: a tick each minute, and forgetting what is no longer needed."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Connection

from serai.kernel.clock import SteadyClock
from serai.kernel.errors import ServiceUnavailable
from serai.metering.delivery import SpanDelivery
from serai.metering.records import RETENTION, events_since, prune
from serai.metering.spans import TICK, SpanMeter, last_metered
from serai.metering.store import UsageStore
from serai.metering.times import DAY, millis, moment_of

log = structlog.get_logger(__name__)

AHEAD_MAX = timedelta(days=1)
"""How far usage may be ahead of the system's clock for its time to be gone on with."""

FORGET = timedelta(days=30)
"""How long a closed span is known, for changes that are told late."""


async def metering_clock(usage: UsageStore, now: datetime) -> SteadyClock:
    """The clock of running time: from now on, but not before what is metered already.

    So a clock set back while the server runs, or across its restart, neither charges a time twice
    nor takes back what was charged. One that was far ahead is not followed for ever.
    """
    latest = moment_of(await usage.read(last_metered))
    if latest > now:
        ahead = (latest - now).total_seconds()
        log.error("clock_behind_usage", seconds=ahead, followed=latest - now <= AHEAD_MAX)
    return SteadyClock(latest if now < latest <= now + AHEAD_MAX else now)


async def keep_metering(
    usage: UsageStore,
    meter: SpanMeter,
    delivery: SpanDelivery,
    clock: Callable[[], datetime],
    interval: timedelta = TICK,
    retention_days: int = RETENTION // DAY,
) -> None:
    """Tick until cancelled, then once more; cancel and await it before the database closes.

    A failing database is logged and tried again; nothing is lost by that.
    """
    try:
        while True:
            await asyncio.sleep(interval.total_seconds())
            await _try_to_tick(usage, meter, delivery, clock, retention_days * DAY)
    finally:
        await _try_to_tick(usage, meter, delivery, clock, retention_days * DAY)


async def _try_to_tick(
    usage: UsageStore,
    meter: SpanMeter,
    delivery: SpanDelivery,
    clock: Callable[[], datetime],
    retention: int,
) -> None:
    try:
        moment = clock()
        await delivery.drain()
        await usage.write(lambda conn: _tick(conn, meter, moment, retention))
    except ServiceUnavailable as problem:
        log.warning("tick_waits", problem=problem.message)
    except Exception:
        log.exception("tick_waits")


def _tick(conn: Connection, meter: SpanMeter, now: datetime, retention: int) -> None:
    meter.tick(conn, now)
    kept_since = events_since(millis(now), retention)
    meter.settle(conn, kept_since, kept_since + DAY)
    prune(conn, millis(now), retention)
    meter.forget(conn, now - max(FORGET, timedelta(milliseconds=retention)))
