"""Usage in the database: each event once, its hour and its day, in the caller's transaction."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, Select, Table, delete, func, select, update

from serai.metering.dimensions import DIMENSIONS
from serai.metering.events import Series, UsageEvent
from serai.metering.quarantine import set_aside
from serai.metering.times import DAY, HOUR, month_of
from serai.store.dialect import insert_into
from serai.store.tables.usage import usage_days, usage_events, usage_hours, usage_series

T = TypeVar("T")

CHUNK = 500
MAX_QUANTITY = 2**50
"""What no resource uses in an hour: 300 TB all the time, or a quadrillion tokens."""

MAX_MOMENT = 2**45
"""Milliseconds since 1970 that nothing can have happened after."""

RETENTION = 8 * DAY
"""Milliseconds that single events are kept; hours and days are kept for ever.

Events tell a repetition from new usage and answer windows that begin or end inside an hour; the
longest window in hours is 7 days.
"""


def record(conn: Connection, events: Iterable[UsageEvent]) -> int:
    """Store events and add what is new of them to their hours and days.

    Returns how many were new or had grown; a repeated event changes nothing. One that cannot be
    true is set aside and not counted.
    """
    grown = list(_growth(conn, _largest(_sound(conn, events))))
    if not grown:
        return 0
    amounts: dict[tuple[Series, int], int] = defaultdict(int)
    for event, amount in grown:
        amounts[event.series, event.start // HOUR] += amount
        amounts[_total(event.series), event.start // HOUR] += amount
    ids = _series_ids(conn, amounts)
    _save_events(conn, ids, [event for event, _ in grown])
    _add(conn, {(ids[series], hour): amount for (series, hour), amount in amounts.items()})
    return len(grown)


def restate(conn: Connection, series: Series, since: int, events: Iterable[UsageEvent]) -> None:
    """Replace all events of a series that start at or after ``since``, in the sums too."""
    wanted = {event.id: event for event in events}
    id_ = _series_ids(conn, [(series, e.start // HOUR) for e in wanted.values()]).get(series)
    known = select(usage_series.c.id).where(usage_series.c.key == _key(series))
    id_ = id_ or conn.execute(known).scalar()
    if id_ is None:
        return
    c = usage_events.c
    replaced = conn.execute(select(usage_events).where(c.series_id == id_, c.start >= since)).all()
    amounts: dict[int, int] = defaultdict(int)
    for event in wanted.values():
        amounts[event.start // HOUR] += event.quantity
    for row in replaced:
        amounts[row.start // HOUR] -= row.quantity
    conn.execute(delete(usage_events).where(c.series_id == id_, c.start >= since))
    if wanted:
        _save_events(conn, {series: id_}, list(wanted.values()))
    _change(conn, series, {hour: amount for hour, amount in amounts.items() if amount})


def _change(conn: Connection, series: Series, amounts: dict[int, int]) -> None:
    if not amounts:
        return
    both = [(one, hour) for one in (series, _total(series)) for hour in amounts]
    ids = _series_ids(conn, both)
    _add(conn, {(ids[one], hour): amounts[hour] for one, hour in both})
    for table in (usage_hours, usage_days):
        mine = table.c.series_id.in_(ids.values())
        conn.execute(delete(table).where(mine, table.c.quantity == 0))


def prune(conn: Connection, now_ms: int) -> int:
    """Forget single events past their retention; the sums stay. Returns how many went."""
    horizon = events_since(now_ms) - HOUR
    return conn.execute(delete(usage_events).where(usage_events.c.start < horizon)).rowcount


def events_since(now_ms: int) -> int:
    """The hour from which on single events can be relied on, in milliseconds since 1970."""
    return (now_ms - RETENTION) // HOUR * HOUR


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


def _largest(events: Iterable[UsageEvent]) -> list[UsageEvent]:
    found: dict[str, UsageEvent] = {}
    for event in events:
        if event.quantity > 0 and (
            event.id not in found or event.quantity > found[event.id].quantity
        ):
            found[event.id] = event
    return list(found.values())


def _sound(conn: Connection, events: Iterable[UsageEvent]) -> Iterator[UsageEvent]:
    for event in events:
        problem = impossible(event)
        if problem is None:
            yield event
        else:
            set_aside(conn, event.id, problem, event)


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


def _growth(conn: Connection, events: list[UsageEvent]) -> Iterator[tuple[UsageEvent, int]]:
    for chunk in _chunks(events):
        columns = select(usage_events.c.id, usage_events.c.quantity)
        query = columns.where(usage_events.c.id.in_([event.id for event in chunk]))
        known = {row.id: row.quantity for row in conn.execute(query)}
        for event in chunk:
            amount = event.quantity - known.get(event.id, 0)
            if amount > 0:
                yield event, amount


def _total(series: Series) -> Series:
    return msgspec.structs.replace(series, resource_name="", resource_id="")


def _key(series: Series) -> str:
    return msgspec.json.encode(msgspec.structs.astuple(series)).decode()


def _series_ids(conn: Connection, amounts: Iterable[tuple[Series, int]]) -> dict[Series, int]:
    hours: dict[Series, list[int]] = defaultdict(list)
    for series, hour in amounts:
        hours[series].append(hour)
    if hours:
        _insert_series(conn, hours)
    ids: dict[Series, int] = {}
    for chunk in _chunks(list(hours)):
        by_key = {_key(series): series for series in chunk}
        for row in conn.execute(select(usage_series).where(usage_series.c.key.in_(by_key))):
            series = by_key[row.key]
            ids[series] = row.id
            _extend(conn, row.id, (row.first_hour, row.last_hour), hours[series])
    return ids


def _insert_series(conn: Connection, hours: dict[Series, list[int]]) -> None:
    rows = [
        {
            **msgspec.structs.asdict(series),
            "key": _key(series),
            "total": not series.resource_id,
            "first_hour": min(hours[series]),
            "last_hour": max(hours[series]),
        }
        for series in hours
    ]
    conn.execute(
        insert_into(conn, usage_series).on_conflict_do_nothing(index_elements=["key"]), rows
    )


def _extend(conn: Connection, id_: int, known: tuple[int, int], hours: list[int]) -> None:
    first, last = min(known[0], *hours), max(known[1], *hours)
    if (first, last) != known:
        change = update(usage_series).where(usage_series.c.id == id_)
        conn.execute(change.values(first_hour=first, last_hour=last))


def _save_events(conn: Connection, ids: dict[Series, int], events: list[UsageEvent]) -> None:
    statement = insert_into(conn, usage_events)
    conn.execute(
        statement.on_conflict_do_update(
            index_elements=["id"],
            set_={"end": statement.excluded.end, "quantity": statement.excluded.quantity},
        ),
        [
            {
                "id": event.id,
                "series_id": ids[event.series],
                "start": event.start,
                "end": event.end,
                "quantity": event.quantity,
            }
            for event in events
        ],
    )


def _add(conn: Connection, amounts: dict[tuple[int, int], int]) -> None:
    days: dict[tuple[int, int], int] = defaultdict(int)
    for (series, hour), amount in amounts.items():
        days[series, hour // 24] += amount
    _sum_up(
        conn,
        usage_hours,
        [{"series_id": s, "hour": h, "quantity": q} for (s, h), q in amounts.items()],
    )
    _sum_up(
        conn,
        usage_days,
        [
            {"series_id": s, "day": d, "month": month_of(d), "quantity": q}
            for (s, d), q in days.items()
        ],
    )


def _sum_up(conn: Connection, table: Table, rows: list[dict[str, int]]) -> None:
    statement = insert_into(conn, table)
    grown = table.c.quantity + statement.excluded.quantity
    conn.execute(
        statement.on_conflict_do_update(
            index_elements=list(table.primary_key.columns), set_={"quantity": grown}
        ),
        rows,
    )


def _chunks(items: Sequence[T]) -> Iterator[list[T]]:
    remaining = iter(items)
    while chunk := list(islice(remaining, CHUNK)):
        yield chunk
