"""Time that is paid for: each span is a rate over time, told by changes and metered as it passes.

What a span uses is a function of its changes alone: the rate of each holds from its moment until
the next one's. Changes are numbered in the order in which they happened; one that is told twice
counts once, and one that is told late, or before an earlier one, ends in the same sums. A moment
before that of the change before it counts as that: time never runs backwards.

A tick meters what is still going on, up to now. Every step writes usage and spans in one
transaction, so a crash leaves both or neither; after it,

- a resource found alive goes on: the next tick meters everything since the last, also hours of
  downtime, because it did run;
- one found dead has ended at its last tick, at most one interval before it did.
"""

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, delete, func, insert, select, update

from serai.metering.dimensions import DIMENSIONS
from serai.metering.events import Series, UsageEvent
from serai.metering.quarantine import set_aside
from serai.metering.records import MAX_MOMENT, record, restate
from serai.metering.times import HOUR, hourly, millis
from serai.resources.spans import Metered, SpanChange
from serai.store.dialect import insert_new
from serai.store.tables.usage import usage_changes as changes
from serai.store.tables.usage import usage_spans as spans

TICK = timedelta(minutes=1)
"""How often ``tick`` is meant to be called: the most that a crash may leave uncharged."""

MAX_RATE = 2**28
"""What no resource uses per millisecond: 256 TB, in MB."""


class SpanMeter:
    """Meters spans; every method is repeatable, inside a write transaction of the usage store."""

    def apply(self, conn: Connection, number: int, change: SpanChange) -> None:
        """Take in what happened to one span; ``number`` tells the order of all changes."""
        problem = _impossible(change)
        if problem is not None:
            set_aside(conn, f"{number}/{change.resource_id}", problem, change)
            return
        row = _find(conn, change.resource_id, change.dimension)
        if row is not None and number < row.last_number and _is_settled(conn, row, number):
            reason = "it came after the time that it is about was settled"
            set_aside(conn, f"{number}/{change.resource_id}", reason, change)
            return
        values = {"at": change.at, "rate": change.rate}
        mine = {"resource_id": change.resource_id, "dimension": change.dimension}
        if not insert_new(conn, changes, {**mine, **values, "number": number}):
            return
        if row is None and change.resource is not None:
            row = _begin(conn, change.resource, change)
        if row is None:
            return
        if number > row.last_number and max(change.at, row.changed_at) >= row.metered_until:
            _go_on(conn, row, number, change)
        else:
            _rebuild(conn, row)

    def tick(self, conn: Connection, now: datetime) -> int:
        """Charge every open span up to ``now``. Returns how many are open."""
        found = conn.execute(_open()).all()
        until = millis(now)
        record(conn, pieces(found, until))
        late = (spans.c.rate > 0) & (spans.c.metered_until < until)
        conn.execute(update(spans).where(late).values(metered_until=until))
        return len(found)

    def ended(
        self, conn: Connection, dimension: str, alive: Collection[str]
    ) -> list[tuple[str, int]]:
        """Which open spans of a dimension are of none of these resources, and their last tick.

        For after a restart: they have ended then.
        """
        rows = conn.execute(_open().where(spans.c.dimension == dimension))
        return [(r.resource_id, r.metered_until) for r in rows if r.resource_id not in set(alive)]

    def settle(self, conn: Connection, before: int, horizon: int) -> None:
        """Forget changes that no longer matter: what was before ``horizon`` is settled for good.

        Args:
            conn: the transaction, in which a tick has been made.
            before: spans that are settled up to here stay as they are, milliseconds since 1970.
            horizon: a full hour, the same.
        """
        for row in conn.execute(select(spans).where(spans.c.settled_at < before)).all():
            _settle(conn, row, horizon)

    def forget(self, conn: Connection, closed_before: datetime) -> int:
        """Drop spans closed before then, whose resources will not run again."""
        moment = millis(closed_before)
        old = and_(spans.c.rate == 0, spans.c.metered_until < moment)
        gone = conn.execute(select(spans.c.resource_id, spans.c.dimension).where(old)).all()
        for resource_id, dimension in gone:
            conn.execute(delete(changes).where(*_is(changes, resource_id, dimension)))
        return conn.execute(delete(spans).where(old)).rowcount


def pieces(rows: Iterable[Row[Any]], until: int) -> Iterator[UsageEvent]:
    """What each span used since it was last metered, as events that end at full hours.

    The event of the hour that is under way begins where its rate or the hour did: it is the
    stored one, grown.
    """
    for row in rows:
        if row.rate > 0:
            for start, end in hourly(row.metered_until, until):
                yield _event(row, max(row.since, start // HOUR * HOUR), end, row.rate)


def series_of(row: Row[Any]) -> Series:
    """The series a span is charged to."""
    return Series(
        account_id=row.account_id,
        workspace=row.workspace,
        resource_type=row.resource_type,
        resource_name=row.name,
        resource_id=row.resource_id,
        dimension=row.dimension,
    )


def open_spans(
    conn: Connection, account_id: str, workspaces: Collection[str] | None = None
) -> list[Row[Any]]:
    """The open spans of one account, or of some of its workspaces."""
    query = _open().where(spans.c.account_id == account_id)
    if workspaces is not None:
        query = query.where(spans.c.workspace.in_(sorted(workspaces)))
    return list(conn.execute(query))


def open_rates(conn: Connection, dimension: str) -> dict[str, int]:
    """The rate of each open span of a dimension, by resource."""
    rows = conn.execute(_open().where(spans.c.dimension == dimension))
    return {row.resource_id: row.rate for row in rows}


def last_metered(conn: Connection) -> int:
    """Up to when any span is metered, milliseconds since 1970; 0 when there is none."""
    return conn.execute(select(func.max(spans.c.metered_until))).scalar() or 0


def steps(told: Iterable[tuple[int, int]], start: int) -> Iterator[tuple[int, int]]:
    """From when on each other rate holds.

    Args:
        told: moment and rate of each change, in the order in which they happened.
        start: nothing is before this moment.
    """
    moment, rate = start, 0
    for at, next_rate in told:
        moment = max(moment, at)
        if next_rate != rate:
            rate = next_rate
            yield moment, rate


def segments(
    told: Iterable[tuple[int, int]], start: int, until: int
) -> Iterator[tuple[int, int, int]]:
    """``(start, end, rate)`` of each time at one rate above 0; the last one ends at ``until``."""
    moment, rate = start, 0
    for at, next_rate in steps(told, start):
        if rate > 0 and at > moment:
            yield moment, at, rate
        moment, rate = at, next_rate
    if rate > 0 and until > moment:
        yield moment, until, rate


def _impossible(change: SpanChange) -> str | None:
    if change.dimension not in DIMENSIONS:
        return f"there is no dimension {change.dimension!r}"
    if not change.resource_id:
        return "it names no resource"
    if not 0 <= change.rate <= MAX_RATE:
        return f"a rate of {change.rate} is outside 0 to {MAX_RATE}"
    if not 0 <= change.at <= MAX_MOMENT:
        return f"the moment {change.at} is outside 0 to {MAX_MOMENT}"
    if change.rate > 0 and change.resource is None:
        return "it begins a span and does not say whose"
    return None


def _open() -> Select[Any]:
    return select(spans).where(spans.c.rate > 0)


def _is(table: Any, resource_id: str, dimension: str) -> tuple[Any, Any]:
    return table.c.resource_id == resource_id, table.c.dimension == dimension


def _find(conn: Connection, resource_id: str, dimension: str) -> Row[Any] | None:
    return conn.execute(select(spans).where(*_is(spans, resource_id, dimension))).one_or_none()


def _need(conn: Connection, row: Row[Any]) -> Row[Any]:
    return conn.execute(select(spans).where(*_is(spans, row.resource_id, row.dimension))).one()


def _set(conn: Connection, row: Row[Any], **values: int) -> None:
    mine = update(spans).where(*_is(spans, row.resource_id, row.dimension))
    conn.execute(mine.values(values))


def _begin(conn: Connection, resource: Metered, change: SpanChange) -> Row[Any]:
    """A span that has not used anything yet."""
    conn.execute(
        insert(spans).values(
            resource_id=change.resource_id,
            dimension=change.dimension,
            account_id=resource.account_id,
            workspace=resource.workspace,
            resource_type=resource.type,
            name=resource.name,
            rate=0,
            since=0,
            changed_at=0,
            metered_until=0,
            settled_at=0,
            last_number=-1,
        )
    )
    row = _find(conn, change.resource_id, change.dimension)
    assert row is not None
    known = select(changes.c.number).where(*_is(changes, row.resource_id, row.dimension))
    if len(conn.execute(known.limit(2)).all()) > 1:  # its end was told first
        _set(conn, row, last_number=MAX_MOMENT)
        row = _need(conn, row)
    return row


def _go_on(conn: Connection, row: Row[Any], number: int, change: SpanChange) -> None:
    """The usual case: the next change, at or after everything that is metered."""
    at = max(change.at, row.changed_at)
    if change.rate == row.rate:
        _set(conn, row, changed_at=at, last_number=number)
        return
    record(conn, pieces([row], at))
    moved = {"since": at, "changed_at": at, "metered_until": at}
    _set(conn, row, rate=change.rate, last_number=number, **moved)


def _rebuild(conn: Connection, row: Row[Any]) -> None:
    """Meter a span anew from all its changes since it was settled."""
    mine = _is(changes, row.resource_id, row.dimension)
    found = conn.execute(select(changes).where(*mine).order_by(changes.c.number)).all()
    told = [(change.at, change.rate) for change in found]
    since, rate = [(row.settled_at, 0), *steps(told, row.settled_at)][-1]
    until = max(since, row.metered_until) if rate > 0 else since
    events = [
        _event(row, start, end, rate_then)
        for first, last, rate_then in segments(told, row.settled_at, until)
        for start, end in hourly(first, last)
    ]
    restate(conn, series_of(row), row.settled_at, events)
    last = max([row.settled_at, *(at for at, _ in told)])
    moved = {"since": since, "changed_at": last, "metered_until": until}
    _set(conn, row, rate=rate, last_number=found[-1].number, **moved)


def _is_settled(conn: Connection, row: Row[Any], number: int) -> bool:
    known = select(changes.c.number).where(*_is(changes, row.resource_id, row.dimension))
    first = conn.execute(known.order_by(changes.c.number).limit(1)).scalar()
    return row.settled_at > 0 and first is not None and number < first


def _settle(conn: Connection, row: Row[Any], horizon: int) -> None:
    mine = _is(changes, row.resource_id, row.dimension)
    c, moment, base = changes.c, row.settled_at, None
    for change in conn.execute(select(changes).where(*mine).order_by(c.number)):
        moment = max(moment, change.at)
        if moment > horizon:
            break
        base = change.number
    if base is not None:
        conn.execute(delete(changes).where(*mine, c.number < base))
        conn.execute(update(changes).where(*mine, c.number == base).values(at=horizon))
    _set(conn, row, settled_at=horizon)


def _event(row: Row[Any], start: int, end: int, rate: int) -> UsageEvent:
    return UsageEvent(
        id=f"{row.resource_id}/{row.dimension}/{start}",
        series=series_of(row),
        start=start,
        end=end,
        quantity=rate * (end - start),
    )
