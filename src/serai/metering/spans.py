"""Running time of sandboxes: an open span per running sandbox, metered as time passes.

A span is metered without gaps from ``opened_at`` to ``metered_until``; every step writes the
usage and moves ``metered_until`` in one transaction, so a crash leaves both or neither. What
happens after a crash:

- A sandbox found alive goes on: the next tick meters everything since ``metered_until``, also
  hours of downtime, because it did run.
- A sandbox found dead is closed at ``metered_until``, the last moment it was known to run. Its
  time after the last tick, at most one tick interval, is not charged.

Time never runs backwards for a resource: a moment before ``metered_until`` counts as
``metered_until``, also for a span opened again, so a clock set back charges nothing twice.
"""

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, select, update
from sqlalchemy.dialects.sqlite import insert

from serai.metering.dimensions import SANDBOX_RUNTIME
from serai.metering.events import Series, UsageEvent
from serai.metering.records import record
from serai.metering.times import HOUR, hourly, millis
from serai.store.tables.usage import usage_spans as spans

TICK = timedelta(minutes=1)
"""How often ``tick`` is meant to be called: the most that a crash may leave uncharged."""


class SpanMeter:
    """Opens, meters and closes spans; every method is repeatable, inside a write transaction."""

    def open(
        self,
        conn: Connection,
        *,
        resource_id: str,
        account_id: str,
        workspace: str,
        name: str,
        memory_mb: int,
        at: datetime,
    ) -> None:
        """Start to charge for a sandbox that runs since ``at``.

        Opening it again changes nothing, except that another ``memory_mb`` counts from then on.
        """
        found = conn.execute(select(spans).where(spans.c.resource_id == resource_id)).one_or_none()
        if found is not None and found.closed_at is None:
            if found.memory_mb == memory_mb:
                return
            found = _metered(conn, found, millis(at))
        start = millis(at) if found is None else max(millis(at), found.metered_until)
        values = {
            "account_id": account_id,
            "workspace": workspace,
            "name": name,
            "memory_mb": memory_mb,
            "opened_at": start,
            "metered_until": start,
            "closed_at": None,
        }
        statement = insert(spans).values(resource_id=resource_id, **values)
        conn.execute(statement.on_conflict_do_update(index_elements=["resource_id"], set_=values))

    def close(self, conn: Connection, resource_id: str, at: datetime) -> None:
        """Charge up to ``at`` and stop; nothing when no span is open."""
        found = conn.execute(_open().where(spans.c.resource_id == resource_id)).one_or_none()
        if found is not None:
            _close(conn, _metered(conn, found, millis(at)))

    def tick(self, conn: Connection, now: datetime) -> int:
        """Charge every open span up to ``now``. Returns how many are open."""
        found = conn.execute(_open()).all()
        until = millis(now)
        record(conn, pieces(found, until))
        late = spans.c.closed_at.is_(None) & (spans.c.metered_until < until)
        conn.execute(update(spans).where(late).values(metered_until=until))
        return len(found)

    def recover(self, conn: Connection, alive: Collection[str], now: datetime) -> list[str]:
        """After a start: go on with the spans of ``alive`` resources and close the others.

        A dead one is charged up to its last tick only. Returns the ids that were closed.
        """
        dead = [row for row in conn.execute(_open()) if row.resource_id not in set(alive)]
        for row in dead:
            _close(conn, row)
        self.tick(conn, now)
        return [row.resource_id for row in dead]

    def forget(self, conn: Connection, closed_before: datetime) -> int:
        """Drop spans closed before then, whose resources will not run again."""
        old = delete(spans).where(spans.c.closed_at < millis(closed_before))
        return conn.execute(old).rowcount


def pieces(rows: Iterable[Row[Any]], until: int) -> Iterator[UsageEvent]:
    """What each span used since it was last metered, as events that end at full hours.

    The event of the hour that is under way begins where the span or the hour did: it is the
    stored one, grown.
    """
    for row in rows:
        for start, end in hourly(row.metered_until, until):
            start = max(row.opened_at, start // HOUR * HOUR)
            yield UsageEvent(
                id=f"{row.resource_id}/{SANDBOX_RUNTIME}/{start}",
                series=series_of(row),
                start=start,
                end=end,
                quantity=row.memory_mb * (end - start),
            )


def series_of(row: Row[Any]) -> Series:
    """The series a span is charged to."""
    return Series(
        account_id=row.account_id,
        workspace=row.workspace,
        resource_type="sandbox",
        resource_name=row.name,
        resource_id=row.resource_id,
        dimension=SANDBOX_RUNTIME,
    )


def open_spans(conn: Connection, account_id: str) -> list[Row[Any]]:
    """The open spans of one account."""
    return list(conn.execute(_open().where(spans.c.account_id == account_id)))


def _open() -> Select[Any]:
    return select(spans).where(spans.c.closed_at.is_(None))


def _metered(conn: Connection, row: Row[Any], at: int) -> Row[Any]:
    until = max(at, row.metered_until)
    record(conn, pieces([row], until))
    mine = spans.c.resource_id == row.resource_id
    conn.execute(update(spans).where(mine).values(metered_until=until))
    return conn.execute(select(spans).where(mine)).one()


def _close(conn: Connection, row: Row[Any]) -> None:
    mine = update(spans).where(spans.c.resource_id == row.resource_id)
    conn.execute(mine.values(closed_at=row.metered_until))
