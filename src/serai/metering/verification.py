"""Recomputing a window of usage from what it was added up from.

Spans are recomputed from their changes, hours of resources from single events, hours of workspaces
from those of their resources, and days from hours. Everything is read in one transaction, so it can
be done while the server writes.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, Table, func, select

from serai.metering.spans import segments
from serai.metering.times import DAY, HOUR, hourly, month_of
from serai.store.tables.usage import (
    usage_changes,
    usage_days,
    usage_events,
    usage_hours,
    usage_series,
    usage_spans,
)

Key = tuple[Any, ...]
Sums = Mapping[Key, int]


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A stored number that differs from what it is made of.

    Attributes:
        what: ``events``, ``hour``, ``workspace hour``, ``day`` or ``month``.
        resource: the resource's id; empty for the sum of a workspace.
        workspace: its name.
        dimension: a billing dimension.
        start: of the hour or day, milliseconds since 1970 UTC.
        stored: what the sums say.
        recomputed: what it should be.
    """

    what: str
    resource: str
    workspace: str
    dimension: str
    start: int
    stored: int
    recomputed: int


class Report(msgspec.Struct, frozen=True):
    """How many numbers were compared, and those that differ."""

    compared: int
    differences: list[Difference]


def verify(conn: Connection, start: int, end: int) -> Report:
    """Recompute whole hours from ``start`` to ``end``, milliseconds since 1970.

    Days are compared with their hours whole, also where the window holds only a part of them.
    """
    names = {
        row.id: (row.resource_id, row.workspace, row.dimension)
        for row in conn.execute(select(usage_series))
    }
    found: list[Difference] = []
    compared = 0
    for what, unit, stored, again in _comparisons(conn, start, end):
        keys = stored.keys() | again.keys()
        compared += len(keys)
        for key in sorted(keys):
            if stored.get(key, 0) != again.get(key, 0):
                named = names.get(key[0], key[:3]) if what != "events" else key[:3]
                found.append(
                    Difference(
                        what=what,
                        resource=str(named[0]),
                        workspace=str(named[1]),
                        dimension=str(named[2]),
                        start=key[-1] * unit,
                        stored=stored.get(key, 0),
                        recomputed=again.get(key, 0),
                    )
                )
    return Report(compared, found)


def _comparisons(conn: Connection, start: int, end: int) -> Iterator[tuple[str, int, Sums, Sums]]:
    first, last = start // HOUR, -(-end // HOUR)
    yield "events", HOUR, *_spans(conn, start, end)
    hours = _stored(conn, usage_hours, "hour", first, last)
    totals = _totals_of(conn)
    of_resources = {key: n for key, n in hours.items() if key[0] in totals}
    yield "hour", HOUR, of_resources, _from_events(conn, start, end)
    of_workspaces = {key: n for key, n in hours.items() if key[0] not in totals}
    yield "workspace hour", HOUR, of_workspaces, _added(of_resources, totals)
    first_day, last_day = start // DAY, -(-end // DAY)
    whole = _stored(conn, usage_hours, "hour", first_day * 24, last_day * 24)
    days = _stored(conn, usage_days, "day", first_day, last_day)
    yield "day", DAY, days, _by_day(whole)
    yield "month", DAY, _months(conn, first_day, last_day), {key: month_of(key[1]) for key in days}


def _spans(conn: Connection, start: int, end: int) -> tuple[Sums, Sums]:
    """Per span and hour, what its events say and what its changes say, since it was settled."""
    stored: dict[Key, int] = defaultdict(int)
    again: dict[Key, int] = defaultdict(int)
    e, c = usage_events.c, usage_changes.c
    events = _grouped(
        conn.execute(
            select(usage_series.c.resource_id, usage_series.c.dimension, e.start, e.quantity)
            .join(usage_series, usage_series.c.id == e.series_id)
            .where(e.start >= start, e.start < end)
        )
    )
    changes = _grouped(
        conn.execute(select(c.resource_id, c.dimension, c.at, c.rate).order_by(c.number))
    )
    for span in conn.execute(select(usage_spans)):
        key = span.resource_id, span.workspace, span.dimension
        of_span = span.resource_id, span.dimension
        for at, quantity in events.get(of_span, ()):
            if at >= span.settled_at:
                stored[*key, at // HOUR] += quantity
        told = changes.get(of_span, ())
        for begin, until, rate in segments(told, span.settled_at, span.metered_until):
            for piece, cut in hourly(begin, until):
                if start <= piece < end:
                    again[*key, piece // HOUR] += rate * (cut - piece)
    return stored, again


def _grouped(rows: Iterable[Any]) -> dict[tuple[str, str], list[tuple[int, int]]]:
    found: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for resource_id, dimension, *values in rows:
        found[resource_id, dimension].append((values[0], values[1]))
    return found


def _stored(conn: Connection, table: Table, unit: str, first: int, last: int) -> Sums:
    number = table.c[unit]
    query = select(table.c.series_id, number, table.c.quantity)
    rows = conn.execute(query.where(number >= first, number < last))
    return {(series, when): quantity for series, when, quantity in rows}


def _from_events(conn: Connection, start: int, end: int) -> Sums:
    e = usage_events.c
    hour = (e.start // HOUR).label("hour")
    query = select(e.series_id, hour, func.sum(e.quantity)).where(e.start >= start, e.start < end)
    rows = conn.execute(query.group_by(e.series_id, hour))
    return {(series, when): int(quantity) for series, when, quantity in rows}


def _totals_of(conn: Connection) -> dict[int, int]:
    """Of each resource's series that of its workspace; 0 where there is none."""
    totals: dict[Key, int] = {}
    resources: dict[int, Key] = {}
    for row in conn.execute(select(usage_series)):
        key = (
            row.account_id,
            row.workspace,
            row.resource_type,
            row.dimension,
            row.provider,
            row.model,
        )
        if row.total:
            totals[key] = row.id
        else:
            resources[row.id] = key
    return {id_: totals.get(key, 0) for id_, key in resources.items()}


def _added(hours: Sums, totals: Mapping[int, int]) -> Sums:
    found: dict[Key, int] = defaultdict(int)
    for (series, hour), quantity in hours.items():
        found[totals[series], hour] += quantity
    return found


def _by_day(hours: Sums) -> Sums:
    found: dict[Key, int] = defaultdict(int)
    for (series, hour), quantity in hours.items():
        found[series, hour // 24] += quantity
    return found


def _months(conn: Connection, first: int, last: int) -> Sums:
    c = usage_days.c
    rows = conn.execute(select(c.series_id, c.day, c.month).where(c.day >= first, c.day < last))
    return {(series, day): month for series, day, month in rows}
