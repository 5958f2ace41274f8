"""Usage in the database: each event once, its hour and its day, in the caller's transaction."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, Row, Select, bindparam, delete, func, select, update

from serai.metering.dimensions import DIMENSIONS, MODEL_INPUT_TOKENS, MODEL_OUTPUT_TOKENS
from serai.metering.events import Series, UsageEvent
from serai.metering.quarantine import set_aside
from serai.metering.times import DAY, HOUR, month_of
from serai.store.dialect import among, insert_into, upsert_many
from serai.store.reach import unbounded
from serai.store.tables.usage import (
    usage_days,
    usage_events,
    usage_hours,
    usage_notes,
    usage_series,
)

T = TypeVar("T")

TOO_LATE = "it came after the events of its time were forgotten, and may have been counted"

Amounts = dict[Series, dict[int, int]]
"""Quantity by series and hour."""

CHUNK = 5000
MAX_QUANTITY = 2**50
"""What no resource uses in an hour: 300 TB all the time, or a quadrillion tokens."""

MAX_MOMENT = 2**45
"""Milliseconds since 1970 that nothing can have happened after."""

PRUNED = "events pruned until"
"""The note of the moment before which single events are gone."""

RETENTION = 8 * DAY
"""Milliseconds that single events are kept at least; hours and days are kept for ever.

Events tell a repetition from new usage and answer windows that begin or end inside an hour; the
longest window in hours is 7 days.
"""


@unbounded("what a model used is the platform's own to know")
def tokens_since(conn: Connection, resource_id: str, since: int) -> tuple[int, int]:
    """Input and output tokens of a model from ``since``, in milliseconds since 1970, until now.

    Of an hour in which ``since`` lies only what came after it counts, while single events are kept.
    """
    return tuple(  # type: ignore[return-value]
        _amount_since(conn, resource_id, dimension, since)
        for dimension in (MODEL_INPUT_TOKENS, MODEL_OUTPUT_TOKENS)
    )


def _amount_since(conn: Connection, resource_id: str, dimension: str, since: int) -> int:
    series, hours, events = usage_series.c, usage_hours.c, usage_events.c
    wanted = series.resource_id == resource_id, series.dimension == dimension
    first = -(-since // HOUR)
    whole = (
        select(func.coalesce(func.sum(hours.quantity), 0))
        .join(usage_series, series.id == hours.series_id)
        .where(*wanted, hours.hour >= first)
    )
    part = (
        select(func.coalesce(func.sum(events.quantity), 0))
        .join(usage_series, series.id == events.series_id)
        .where(*wanted, events.start >= since, events.start < first * HOUR)
    )
    return int(conn.execute(whole).scalar_one()) + int(conn.execute(part).scalar_one())


def record(conn: Connection, events: Iterable[UsageEvent]) -> int:
    """Store events and add what is new of them to their hours and days.

    Returns how many were new or had grown; a repeated event changes nothing. One that cannot be
    true is set aside and not counted.
    """
    found = _largest(conn, events)
    known = _stored(conn, found)
    grown = [event for event in found.values() if event.quantity > known.get(event.id, 0)]
    if not grown:
        return 0
    amounts: Amounts = {}
    for event in grown:
        hours = amounts.get(event.series)
        if hours is None:
            hours = amounts[event.series] = defaultdict(int)
        hours[event.start // HOUR] += event.quantity - known.get(event.id, 0)
    ids = _add(conn, amounts)
    _save_events(conn, ids, grown)
    return len(grown)


def restate(conn: Connection, series: Series, since: int, events: Iterable[UsageEvent]) -> None:
    """Replace all events of a series that start at or after ``since``, in the sums too."""
    wanted = list(events)
    c = usage_events.c
    known = select(usage_series.c.id).where(usage_series.c.key == _key(series))
    mine = c.series_id == known.scalar_subquery(), c.start >= since
    hours: dict[int, int] = defaultdict(int)
    for row in conn.execute(select(c.start, c.quantity).where(*mine)):
        hours[row.start // HOUR] -= row.quantity
    for event in wanted:
        hours[event.start // HOUR] += event.quantity
    conn.execute(delete(usage_events).where(*mine))
    if hours:
        ids = _add(conn, {series: hours})
        _save_events(conn, ids, wanted)
        for table in (usage_hours, usage_days):
            empty = table.c.series_id.in_(ids.values()), table.c.quantity == 0
            conn.execute(delete(table).where(*empty))


def prune(conn: Connection, now_ms: int, retention: int = RETENTION) -> int:
    """Forget single events past their retention; the sums stay. Returns how many went.

    What comes for those hours later cannot be told from a repetition any more: it is set aside.
    """
    horizon = events_since(now_ms, retention) - HOUR
    if horizon <= _pruned_until(conn):
        return 0
    upsert_many(conn, usage_notes, [(PRUNED, str(horizon))], "set")
    return conn.execute(delete(usage_events).where(usage_events.c.start < horizon)).rowcount


def events_since(now_ms: int, retention: int = RETENTION) -> int:
    """The hour from which on single events can be relied on, in milliseconds since 1970."""
    return (now_ms - retention) // HOUR * HOUR


def _pruned_until(conn: Connection) -> int:
    query = select(usage_notes.c.value).where(usage_notes.c.name == PRUNED)
    return int(conn.execute(query).scalar() or 0)


def mismatches(conn: Connection) -> list[tuple[int, int, int, int]]:
    """Compare the hourly sums with the stored events.

    For tests and repair: meaningful for hours whose events are all still kept.

    Returns:
        ``(series id, hour, summed, recomputed)`` of each resource's hour that differs.
    """
    stored = {(s, h): q for s, h, q in conn.execute(_resource_hours())}
    hour = (usage_events.c.start // HOUR).label("hour")
    again = {
        (s, h): q
        for s, h, q in conn.execute(
            select(usage_events.c.series_id, hour, func.sum(usage_events.c.quantity)).group_by(
                usage_events.c.series_id, hour
            )
        )
    }
    return [
        (*key, stored.get(key, 0), again.get(key, 0))
        for key in sorted(stored.keys() | again.keys())
        if stored.get(key, 0) != again.get(key, 0)
    ]


def _resource_hours() -> Select[Any]:
    return (
        select(usage_hours)
        .join(usage_series, usage_series.c.id == usage_hours.c.series_id)
        .where(usage_series.c.total.is_(False))
    )


def impossible(event: UsageEvent) -> str | None:
    """Why an event cannot be true, if so."""
    if not event.series.resource_id:
        return "it names no resource"
    if event.series.dimension not in DIMENSIONS:
        return f"there is no dimension {event.series.dimension!r}"
    if not 0 <= event.quantity <= MAX_QUANTITY:
        return f"a quantity of {event.quantity} is outside 0 to {MAX_QUANTITY}"
    if not 0 <= event.start <= event.end <= MAX_MOMENT:
        return f"{event.start} to {event.end} is no time since 1970 that can have been"
    if event.end > (event.start // HOUR + 1) * HOUR:
        return "it leaves its hour; it had to be cut at the full hour"
    return None


def _largest(conn: Connection, events: Iterable[UsageEvent]) -> dict[str, UsageEvent]:
    """Of each event the largest told, by id; what cannot be true is set aside."""
    found: dict[str, UsageEvent] = {}
    pruned = _pruned_until(conn)
    for event in events:
        problem = impossible(event) or (TOO_LATE if event.start < pruned else None)
        if problem is not None:
            set_aside(conn, event.id, problem, event)
        elif event.quantity > 0:
            known = found.get(event.id)
            if known is None or event.quantity > known.quantity:
                found[event.id] = event
    return found


def _stored(conn: Connection, ids: Iterable[str]) -> dict[str, int]:
    c, known = usage_events.c, {}
    for chunk in _chunks(list(ids)):
        query = select(c.id, c.quantity).where(among(conn, c.id, chunk))
        known.update({id_: quantity for id_, quantity in conn.execute(query)})  # noqa: C416
    return known


def _total(series: Series) -> Series:
    return msgspec.structs.replace(series, resource_name="", resource_id="")


def _key(series: Series) -> str:
    return msgspec.json.encode(msgspec.structs.astuple(series)).decode()


def _add(conn: Connection, amounts: Amounts) -> dict[Series, int]:
    """Add to the hours and days of series and of their workspaces; returns the ids of all."""
    both: Amounts = dict(amounts)
    for series, hours in amounts.items():
        total = both.setdefault(_total(series), defaultdict(int))
        for hour, amount in hours.items():
            total[hour] += amount
    ids = _series_ids(conn, both)
    by_hour: list[tuple[int, int, int]] = []
    days: dict[tuple[int, int], int] = defaultdict(int)
    for series, hours in both.items():
        id_ = ids[series]
        for hour, amount in hours.items():
            by_hour.append((id_, hour, amount))
            days[id_, hour // 24] += amount
    upsert_many(conn, usage_hours, by_hour, "add")
    by_day = [(id_, day, month_of(day), amount) for (id_, day), amount in days.items()]
    upsert_many(conn, usage_days, by_day, "add")
    return ids


def _series_ids(conn: Connection, amounts: Amounts) -> dict[Series, int]:
    keys = {_key(series): series for series in amounts}
    rows = _known_series(conn, list(keys))
    new = [keys[key] for key in keys.keys() - rows.keys()]
    if new:
        _insert_series(conn, new, amounts)
        rows |= _known_series(conn, [_key(series) for series in new])
    _extend(conn, [(row, amounts[keys[key]]) for key, row in rows.items()])
    return {keys[key]: row.id for key, row in rows.items()}


def _known_series(conn: Connection, keys: list[str]) -> dict[str, Row[Any]]:
    c = usage_series.c
    found: dict[str, Row[Any]] = {}
    for chunk in _chunks(keys):
        query = select(c.key, c.id, c.first_hour, c.last_hour).where(among(conn, c.key, chunk))
        found.update({row.key: row for row in conn.execute(query)})
    return found


def _insert_series(conn: Connection, new: Iterable[Series], amounts: Amounts) -> None:
    rows = [
        {
            **msgspec.structs.asdict(series),
            "key": _key(series),
            "total": not series.resource_id,
            "first_hour": min(amounts[series]),
            "last_hour": max(amounts[series]),
        }
        for series in new
    ]
    statement = insert_into(conn, usage_series)
    conn.execute(statement.on_conflict_do_nothing(index_elements=["key"]), rows)


EXTEND = (
    update(usage_series)
    .where(usage_series.c.id == bindparam("series"))
    .values(first_hour=bindparam("first"), last_hour=bindparam("last"))
)


def _extend(conn: Connection, used: Iterable[tuple[Row[Any], Iterable[int]]]) -> None:
    """Widen the range of hours of series by those that they are used in."""
    ranges = [(row, min(row.first_hour, *hours), max(row.last_hour, *hours)) for row, hours in used]
    wider = [
        {"series": row.id, "first": first, "last": last}
        for row, first, last in ranges
        if (first, last) != (row.first_hour, row.last_hour)
    ]
    if wider:
        conn.execute(EXTEND, wider)


def _save_events(conn: Connection, ids: dict[Series, int], events: list[UsageEvent]) -> None:
    rows = [(e.id, ids[e.series], e.start, e.end, e.quantity) for e in events]
    upsert_many(conn, usage_events, rows, "set")


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]
