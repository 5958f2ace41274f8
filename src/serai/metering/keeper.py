"""The meter's housekeeping: a tick each minute, and forgetting what is no longer needed."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Connection

from serai.kernel.errors import ServiceUnavailable
from serai.metering.records import prune
from serai.metering.spans import TICK, SpanMeter
from serai.metering.times import millis
from serai.store.database import Database

log = structlog.get_logger(__name__)

FORGET = timedelta(days=30)
"""How long a closed span guards against charging its time again after a clock set back."""


async def keep_metering(
    db: Database,
    meter: SpanMeter,
    clock: Callable[[], datetime],
    interval: timedelta = TICK,
) -> None:
    """Tick until cancelled, then once more; cancel and await it before the database closes.

    Start it after ``SpanMeter.recover``: a tick charges every open span, also of sandboxes that
    did not survive. A failing database is logged and tried again; nothing is lost by that.
    """
    try:
        while True:
            await asyncio.sleep(interval.total_seconds())
            await _try_to_tick(db, meter, clock())
    finally:
        await _try_to_tick(db, meter, clock())


async def _try_to_tick(db: Database, meter: SpanMeter, now: datetime) -> None:
    try:
        await db.write(lambda conn: _tick(conn, meter, now))
    except ServiceUnavailable as problem:
        log.warning("tick_waits", problem=problem.message)
    except Exception:
        log.exception("tick_waits")


def _tick(conn: Connection, meter: SpanMeter, now: datetime) -> None:
    meter.tick(conn, now)
    prune(conn, millis(now))
    meter.forget(conn, now - FORGET)
