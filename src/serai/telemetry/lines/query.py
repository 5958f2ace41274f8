"""Finding lines: of one resource, or of one trace."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, Select, and_, desc, func, or_, select

from serai.store.dialect import among
from serai.store.searching import holds
from serai.store.tables.lines import log_hours, log_lines, log_origins, log_streams
from serai.telemetry.lines.entry import Key
from serai.telemetry.lines.records import DAY_NS, ORIGIN, Stored

COUNTED_MOST = 10_000
"""A total above it is not counted on."""
RESOURCES_MOST = 50
"""Resources that are shown when none is named."""
_lines, _origins, _streams = log_lines.c, log_origins.c, log_streams.c

RANGES = {
    "UNKNOWN": (0, 0),
    "TRACE": (1, 4),
    "DEBUG": (5, 8),
    "INFO": (9, 12),
    "WARNING": (13, 16),
    "ERROR": (17, 20),
    "FATAL": (21, 24),
}
"""Names of severities to OpenTelemetry's numbers."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which lines of a resource somebody asks for; what is empty is no filter.

    Attributes:
        first: smallest number (nanoseconds since 1970).
        last: numbers stay below it.
        sources: what printed them; ``trace`` for whatever belongs to a trace.
        severities: names of ``RANGES``.
        search: text in them, whatever its case.
        exact: values of columns of their origin.
        execution: the name of an execution, or how it begins.
        trace_id: of their trace.
        newest_first: the order.
    """

    first: int
    last: int
    sources: frozenset[str] = frozenset()
    severities: frozenset[str] = frozenset()
    search: str = ""
    exact: dict[str, str] = {}
    execution: str = ""
    trace_id: str = ""
    newest_first: bool = True

    def fits(self, line: Stored) -> bool:
        """Whether a line that was just stored is wanted, however old it says it is."""
        named = dict(zip(ORIGIN, line.origin, strict=True))
        return (
            (not self.sources or named["source"] in self.sources or self._traced(line))
            and (not self.severities or _name_of(line.severity) in self.severities)
            and (not self.trace_id or line.trace_id == self.trace_id)
            and named["execution"].startswith(self.execution)
            and all(named[column] == value for column, value in self.exact.items())
            and (not self.search or self.search.lower() in line.text.lower())
        )

    def _traced(self, line: Stored) -> bool:
        return "trace" in self.sources and line.trace_id != ""


def _name_of(severity: int) -> str:
    return next((name for name, (low, high) in RANGES.items() if low <= severity <= high), "FATAL")


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Some lines, how many there are in all, up to ``COUNTED_MOST``, and whether there are more."""

    lines: list[Stored]
    total: int
    more: bool


def find_streams(
    conn: Connection, workspace: str, resource_type: str, names: Sequence[str]
) -> dict[str, int]:
    """Ids of the streams of these resources, or of those of a type with the newest lines."""
    mine = (_streams.workspace == workspace, _streams.resource_type == resource_type)
    query = select(_streams.resource, _streams.id).where(*mine)
    if names:
        query = query.where(_streams.resource.in_(list(names)))
    else:
        query = (
            query.join(log_hours, log_hours.c.stream_id == _streams.id)
            .group_by(_streams.resource, _streams.id)
            .order_by(desc(func.max(log_hours.c.hour)), _streams.resource)
            .limit(RESOURCES_MOST)
        )
    return {row.resource: row.id for row in conn.execute(query)}


def page(
    conn: Connection, stream_id: int, key: Key, wanted: Wanted, limit: int, offset: int = 0
) -> Page:
    """The first lines of a stream, or some after those; and how many there are."""
    query = _numbers(conn, stream_id, wanted).limit(COUNTED_MOST + 1)
    numbers: list[int] = list(conn.execute(query).scalars())
    chosen = numbers[offset : offset + limit]
    lines = _read(conn, stream_id, key, chosen, wanted.newest_first)
    return Page(
        lines=lines, total=min(len(numbers), COUNTED_MOST), more=len(numbers) > offset + limit
    )


def page_after(
    conn: Connection, stream_id: int, key: Key, wanted: Wanted, after: int, limit: int
) -> Page:
    """The lines of a stream that come after the one of a number, without their total."""
    later = _lines.number < after if wanted.newest_first else _lines.number > after
    query = _numbers(conn, stream_id, wanted).where(later).limit(limit + 1)
    numbers: list[int] = list(conn.execute(query).scalars())
    lines = _read(conn, stream_id, key, numbers[:limit], wanted.newest_first)
    return Page(lines=lines, total=0, more=len(numbers) > limit)


def _numbers(conn: Connection, stream_id: int, wanted: Wanted) -> Select[Any]:
    order = _lines.number.desc() if wanted.newest_first else _lines.number
    conditions = _conditions(conn, stream_id, wanted)
    return select(_lines.number).where(*conditions).order_by(order)


def _conditions(conn: Connection, stream_id: int, wanted: Wanted) -> list[ColumnElement[bool]]:
    found = [
        _lines.stream_id == stream_id,
        _lines.number >= wanted.first,
        _lines.number < wanted.last,
    ]
    if wanted.trace_id:
        found.append(_lines.trace_id == wanted.trace_id)
    if wanted.severities and wanted.severities != frozenset(RANGES):
        ranges = (RANGES[name] for name in sorted(wanted.severities))
        found.append(or_(*(_lines.severity.between(low, high) for low, high in ranges)))
    found += _printed_by(stream_id, wanted)
    if wanted.search:
        found.append(holds(conn, _lines.text, wanted.search))
    return found


def _printed_by(stream_id: int, wanted: Wanted) -> list[ColumnElement[bool]]:
    """What is asked of the origin of lines; ``trace`` among the sources is asked of themselves."""
    some = [_origins[column] == value for column, value in sorted(wanted.exact.items())]
    if wanted.execution:
        some.append(_origins.execution.startswith(wanted.execution, autoescape=True))
    found = [_from_origins(stream_id, wanted, some)] if some else []
    if wanted.sources:
        of_sources = [_origins.source.in_(sorted(wanted.sources))]
        printed = _from_origins(stream_id, wanted, of_sources)
        traced = "trace" in wanted.sources
        found.append(or_(printed, _lines.trace_id != "") if traced else printed)
    return found


def _from_origins(
    stream_id: int, wanted: Wanted, conditions: Sequence[ColumnElement[bool]]
) -> ColumnElement[bool]:
    days = _origins.day.between(wanted.first // DAY_NS, wanted.last // DAY_NS)
    mine = select(_origins.id).where(_origins.stream_id == stream_id, days, *conditions)
    return _lines.origin_id.in_(mine)


def _read(
    conn: Connection, stream_id: int, key: Key, numbers: Sequence[int], newest_first: bool
) -> list[Stored]:
    if not numbers:
        return []
    joined = and_(_origins.id == _lines.origin_id, _origins.stream_id == stream_id)
    query = (
        select(log_lines, *(_origins[name] for name in ORIGIN))
        .join(log_origins, joined)
        .where(_lines.stream_id == stream_id, among(conn, log_lines.c.number, numbers))
        .order_by(_lines.number.desc() if newest_first else _lines.number)
    )
    return [_stored(key, row) for row in conn.execute(query)]


def _stored(key: Key, row: Row[Any]) -> Stored:
    return Stored(
        key=key,
        number=row.number,
        origin=tuple(row[-len(ORIGIN) :]),
        severity=row.severity,
        text=row.text,
        trace_id=row.trace_id,
        attributes=row.attributes,
    )


def streams_of_trace(
    conn: Connection, workspace: str, resource_type: str, trace_id: str
) -> dict[str, int]:
    """Ids of the streams of a type with lines of a trace, by the index of traces."""
    in_trace = select(_lines.stream_id).where(
        _lines.trace_id == trace_id, _lines.trace_id != "", _lines.stream_id == _streams.id
    )
    query = (
        select(_streams.resource, _streams.id)
        .where(
            _streams.workspace == workspace,
            _streams.resource_type == resource_type,
            in_trace.exists(),
        )
        .order_by(_streams.resource)
        .limit(RESOURCES_MOST)
    )
    return {row.resource: row.id for row in conn.execute(query)}
