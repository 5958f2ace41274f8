"""Spans on their way from the platform's outbox to the usage store.

A change of a span is written with what it is about, in one transaction of the platform's database.
Delivery takes it to the usage store: the number that it has in the outbox makes a change that was
delivered before a crash, and is delivered again after it, count once.
"""

import asyncio
from collections.abc import Iterable, Sequence

import msgspec
import structlog
from sqlalchemy import Connection, func, select

from serai.kernel.clock import now
from serai.metering import quarantine
from serai.metering.quarantine import set_aside
from serai.metering.spans import SpanMeter, open_rates
from serai.metering.store import UsageStore
from serai.resources import documents
from serai.resources.kind import Kind, Usage
from serai.resources.spans import TOPIC, SpanChange, close_span, meter
from serai.store import outbox
from serai.store.database import Database
from serai.store.outbox import Message
from serai.store.reach import unbounded
from serai.store.tables.usage import usage_spans

log = structlog.get_logger(__name__)

BATCH = 500
INTERVAL = 1.0
"""Seconds between looks into the outbox; whoever needs it now calls ``drain``."""


class SpanDelivery:
    """Takes changes of spans from the outbox to the meter, in order."""

    def __init__(self, db: Database, usage: UsageStore, meter: SpanMeter) -> None:
        self._db = db
        self._usage = usage
        self._meter = meter
        self._lock = asyncio.Lock()
        self.set_aside = 0
        """How much usage cannot be true and is kept aside, as of the last look."""

    async def start(self, kinds: Iterable[Kind] = ()) -> None:
        """After a start: number what comes above what is known, and deliver what was left.

        What documents of these kinds use by being there is compared with the spans and repaired:
        for those that are older than their dimension, and after a backup was restored.
        """
        newest = await self._usage.read(_newest)
        await self._db.write(lambda conn: outbox.number_above(conn, TOPIC, newest))
        await self.drain()
        self.set_aside = await self._usage.read(quarantine.count)
        for kind in kinds:
            if kind.usage is not None:
                await self._repair(kind, kind.usage)
        await self.drain()

    async def _repair(self, kind: Kind, usage: Usage) -> None:
        rates = await self._usage.read(lambda conn: open_rates(conn, usage.dimension))

        def write(conn: Connection) -> None:
            known = documents.every(conn, kind.name)
            for document in known:
                rate = usage.rate(msgspec.json.decode(document.body))
                if rate != rates.pop(document.id, 0):
                    meter(conn, usage, document, rate)
            for gone in rates:
                close_span(conn, gone, usage.dimension, now())

        await self._db.write(write)

    async def drain(self) -> None:
        """Deliver what is in the outbox.

        Raises:
            ServiceUnavailable: a database cannot be used; nothing is lost.
        """
        with unbounded("delivers what everybody used; answers nothing"):
            await self._drain()

    async def _drain(self) -> None:
        async with self._lock:
            while found := await self._db.read(lambda conn: outbox.waiting(conn, TOPIC, BATCH)):
                await self._deliver(found)

    async def run(self) -> None:
        """Deliver until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL)
            try:
                await self.drain()
                self.set_aside = await self._usage.read(quarantine.count)
            except Exception as problem:
                log.warning("usage_delivery_waits", problem=str(problem))

    async def _deliver(self, found: Sequence[Message]) -> None:
        await self._usage.write(lambda conn: self._apply(conn, found))
        last = found[-1].number
        await self._db.write(lambda conn: outbox.delivered(conn, TOPIC, last))

    def _apply(self, conn: Connection, found: Sequence[Message]) -> None:
        for message in found:
            try:
                change = msgspec.json.decode(message.body, type=SpanChange)
            except msgspec.MsgspecError as problem:
                set_aside(conn, f"outbox/{message.number}", str(problem), message.body)
            else:
                self._meter.apply(conn, message.number, change)


def _newest(conn: Connection) -> int:
    return conn.execute(select(func.max(usage_spans.c.last_number))).scalar() or 0
