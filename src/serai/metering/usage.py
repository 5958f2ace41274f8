"""Usage as an answer needs it: sums per group and bucket, read for one account only."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import date
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, case, exists, func, select, tuple_

from serai.metering.events import Series
from serai.metering.query import MetricsQuery
from serai.metering.spans import open_spans, series_of
from serai.metering.times import DAY, HOUR, hourly, moment_of
from serai.metering.windows import DAILY, DAYS, EVENTS, HOURLY, HOURS, WEEKLY, Piece, bucket_of
from serai.store.reach import unbounded
from serai.store.tables.usage import usage_days, usage_events, usage_hours, usage_series

Key = tuple[str, ...]

COLUMNS: dict[str, ColumnElement[str]] = {
    "workspace": usage_series.c.workspace,
    "resource_type": usage_series.c.resource_type,
    "resource_name": usage_series.c.resource_name,
    "resource_uuid": usage_series.c.resource_id,
    "billing_dimension": usage_series.c.dimension,
}

ENRICHED = {
    "resource_uuid": ("workspace", "resource_type", "resource_name"),
    "resource_name": ("workspace", "resource_type"),
    "billing_dimension": ("resource_type",),
}
"""What follows from a grouping and is told besides it."""


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """Whose usage may be seen.

    Attributes:
        account_id: the one account.
        workspaces: only these; every one of the account when ``None``.
    """

    account_id: str
    workspaces: frozenset[str] | None = None


class Amount(msgspec.Struct, frozen=True):
    """Usage of one group in one bucket, in one dimension at one price.

    Attributes:
        key: values of the query's groupings.
        bucket: number of the bucket.
        dimension: billing dimension.
        provider: of a model, for its price.
        model: the same.
        day: whose prices hold.
        quantity: in the dimension's smallest unit.
    """

    key: Key
    bucket: int
    dimension: str
    provider: str
    model: str
    day: date
    quantity: int


class UsageReader:
    """Reads what one query is about, in one transaction."""

    def __init__(
        self,
        conn: Connection,
        scope: Scope,
        query: MetricsQuery,
        pieces: Sequence[Piece],
        now_ms: int,
    ) -> None:
        self._conn = conn
        self._scope = scope
        self._query = query
        self._pieces = pieces
        self._tails = list(self._open_tails(now_ms))

    def groups(self, first: int | None = None) -> dict[Key, dict[str, str]]:
        """The key of every group with usage in the window, and what follows from it.

        What differs inside a group is left out.

        Args:
            first: when only so many are needed, in order of their keys and behind ``query.after``;
                there may be more, and some in front of it.
        """
        wanted = enriched(self._query.group_by)
        found: dict[Key, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        size = len(self._query.group_by)
        for row in self._group_rows(wanted, first):
            for number, name in enumerate(wanted):
                values = row[size + 2 * number : size + 2 * number + 2]
                found[tuple(row[:size])][name].update(values)
            found[tuple(row[:size])]
        for series, _, _ in self._tails:
            mine = found[_key(series, self._query.group_by)]
            for name in wanted:
                mine[name].add(_value(series, name))
        return {
            key: {name: next(iter(values)) for name, values in more.items() if len(values) == 1}
            for key, more in found.items()
        }

    def amounts(self, keys: Collection[Key]) -> Iterator[Amount]:
        """The usage of the groups ``keys``, per bucket.

        Added up per series first, whose numbers are compared sooner than the texts of groups. A
        group of single resources may come in several parts, as there are hardly two to add up.
        """
        columns = [COLUMNS[name] for name in self._query.group_by]
        chosen: list[ColumnElement[bool]] = []
        if columns:
            chosen.append(tuple_(*columns).in_(list(keys)))
        for piece in self._pieces if keys else ():
            yield from self._piece_amounts(piece, columns, chosen, bucketed=True)
        yield from self._tail_amounts(self._query.group_by, set(keys))

    def totals(self) -> Iterator[Amount]:
        """All usage of the window, neither by group nor by bucket."""
        for piece in self._pieces:
            yield from self._piece_amounts(piece, [], [], bucketed=False)
        yield from self._tail_amounts((), {()})

    def _piece_amounts(
        self,
        piece: Piece,
        columns: list[ColumnElement[str]],
        chosen: list[ColumnElement[bool]],
        *,
        bucketed: bool,
    ) -> Iterator[Amount]:
        fixed = bucket_of(self._query.resolution, piece.start)
        bucket = _bucket(piece, self._query.resolution) if bucketed else None
        detailed = self._query.by_resource if bucketed else self._query.of_resource
        conditions = [*self._conditions(piece, detailed), *chosen]
        numbers = [] if bucket is None else [bucket.label("bucket")]
        summed = _summed(piece, numbers, conditions).subquery()
        kinds = [usage_series.c.dimension, usage_series.c.provider, usage_series.c.model]
        by = [*columns, *kinds, *([] if bucket is None else [summed.c.bucket])]
        whole = summed.c.quantity if detailed else func.sum(summed.c.quantity)
        query = select(*by, whole).join_from(usage_series, summed, usage_series.c.id == summed.c.id)
        if piece.source == EVENTS:
            query = query.where(*conditions)
        day = piece.day
        for row in self._rows(piece, query if detailed else query.group_by(*by)):
            *values, quantity = row
            number = fixed if bucket is None else values.pop()
            dimension, provider, model = values[-3:]
            key = tuple(values[:-3])
            yield Amount(key, number, dimension, provider, model, day, int(quantity))

    def _group_rows(self, wanted: tuple[str, ...], first: int | None) -> Iterator[Sequence[Any]]:
        """Rows of every piece: each tells all about the keys that are the first of all pieces."""
        columns = [COLUMNS[name] for name in self._query.group_by]
        more = [edge(COLUMNS[name]) for name in wanted for edge in (func.min, func.max)]
        for piece in self._pieces:
            conditions = self._conditions(piece, self._query.by_resource)
            query = select(*columns, *more).where(*conditions, _used(piece)).group_by(*columns)
            yield from self._rows(piece, query if first is None else self._cut(query, first))

    def _rows(self, piece: Piece, query: Any) -> Sequence[Any]:
        """Events are found by their time before their series is known, and only then chosen."""
        if piece.source != EVENTS:
            return self._conn.execute(query).all()
        with unbounded("of the events, only those of the account's series are told"):
            return self._conn.execute(query).all()

    def _cut(self, query: Any, first: int) -> Any:
        """The first groups behind ``query.after``, in the order that Python has for text too."""
        collation = "C" if self._conn.dialect.name == "postgresql" else "BINARY"
        columns = [COLUMNS[name].collate(collation) for name in self._query.group_by]
        if self._query.after is not None:
            query = query.where(tuple_(*columns) > tuple_(*self._query.after))
        return query.order_by(*columns).limit(first)

    def _conditions(self, piece: Piece, detailed: bool) -> list[ColumnElement[bool]]:
        detailed = detailed or piece.source == EVENTS
        conditions: list[ColumnElement[bool]] = [
            usage_series.c.account_id == self._scope.account_id,
            usage_series.c.total.is_(not detailed),
            usage_series.c.last_hour >= piece.start // HOUR,
            usage_series.c.first_hour <= (piece.end - 1) // HOUR,
        ]
        if self._scope.workspaces is not None:
            conditions.append(usage_series.c.workspace.in_(sorted(self._scope.workspaces)))
        for name, value in self._query.filters.items():
            conditions.append(COLUMNS[name] == value)
        return conditions

    def _open_tails(self, now_ms: int) -> Iterator[tuple[Series, int, int]]:
        for row in open_spans(self._conn, self._scope.account_id, self._scope.workspaces):
            series = series_of(row)
            start = max(row.metered_until, self._query.start)
            if self._sees(series):
                for begin, end in hourly(start, min(now_ms, self._query.end)):
                    yield series, begin, row.rate * (end - begin)

    def _sees(self, series: Series) -> bool:
        workspaces = self._scope.workspaces
        if workspaces is not None and series.workspace not in workspaces:
            return False
        return all(_value(series, name) == value for name, value in self._query.filters.items())

    def _tail_amounts(self, group_by: tuple[str, ...], keys: set[Key]) -> Iterator[Amount]:
        for series, start, quantity in self._tails:
            key = _key(series, group_by)
            if key in keys:
                bucket = bucket_of(self._query.resolution, start)
                day = moment_of(start).date()
                yield Amount(
                    key, bucket, series.dimension, series.provider, series.model, day, quantity
                )


def enriched(group_by: Iterable[str]) -> tuple[str, ...]:
    """The fields told besides those grouped by."""
    names = {more for name in group_by for more in ENRICHED.get(name, ())}
    return tuple(sorted(names - set(group_by)))


_TABLES = {EVENTS: usage_events, HOURS: usage_hours, DAYS: usage_days}


def _range(piece: Piece) -> list[ColumnElement[bool]]:
    if piece.source == HOURS:
        hour = usage_hours.c.hour
        return [hour >= piece.start // HOUR, hour < piece.end // HOUR]
    if piece.source == DAYS:
        day = usage_days.c.day
        return [day >= piece.start // DAY, day < piece.end // DAY]
    start, end = usage_events.c.start, usage_events.c.end
    return [
        start >= piece.start // HOUR * HOUR,
        start < piece.end,
        (end > piece.start) | (start >= piece.start),
    ]


def _summed(
    piece: Piece, numbers: Sequence[Any], conditions: Sequence[ColumnElement[bool]]
) -> Select[Any]:
    """Usage of a piece per series. Events are read once, by their time, whatever the series."""
    table = _TABLES[piece.source]
    query = select(
        table.c.series_id.label("id"), *numbers, func.sum(_quantity(piece)).label("quantity")
    ).where(*_range(piece))
    if piece.source != EVENTS:
        query = query.join_from(usage_series, table, usage_series.c.id == table.c.series_id)
        query = query.where(*conditions)
    return query.group_by(table.c.series_id, *numbers)


def _used(piece: Piece) -> ColumnElement[bool]:
    """Whether a series, whose hours meet the piece, has usage in it: not only before and after."""
    table = _TABLES[piece.source]
    rows = select(table.c.series_id).where(*_range(piece))
    if piece.source == EVENTS:
        return usage_series.c.id.in_(rows)
    begins = usage_series.c.first_hour >= piece.start // HOUR
    ends = usage_series.c.last_hour < piece.end // HOUR
    return begins | ends | exists(rows.where(table.c.series_id == usage_series.c.id))


def _quantity(piece: Piece) -> ColumnElement[int]:
    if piece.source == HOURS:
        return usage_hours.c.quantity
    if piece.source == DAYS:
        return usage_days.c.quantity
    events = usage_events.c
    first = case((events.start > piece.start, events.start), else_=piece.start)
    last = case((events.end < piece.end, events.end), else_=piece.end)
    each = events.quantity // (events.end - events.start)
    return case((events.end == events.start, events.quantity), else_=each * (last - first))


def _bucket(piece: Piece, resolution: str) -> ColumnElement[int] | None:
    if piece.source == HOURS and resolution == HOURLY:
        return usage_hours.c.hour
    if piece.source != DAYS:
        return None
    if resolution == DAILY:
        return usage_days.c.day
    if resolution == WEEKLY:
        return ((usage_days.c.day + 3) // 7).label("week")
    return usage_days.c.month


def _key(series: Series, group_by: tuple[str, ...]) -> Key:
    return tuple(_value(series, name) for name in group_by)


def _value(series: Series, name: str) -> str:
    value: str = getattr(series, COLUMNS[name].key or name)
    return value
