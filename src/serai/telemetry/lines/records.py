"""Writing lines: whose they are, what printed them, and a number of its own for each."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, func, insert, select

from serai.store.dialect import among, upsert_many
from serai.store.tables.lines import log_hours, log_lines, log_origins, log_streams
from serai.telemetry.lines.entry import (
    LATEST_NS,
    ROW_BYTES,
    Entry,
    Key,
    Origin,
    shortened,
    storable,
)
from serai.telemetry.lines.masks import Masks

HOUR_NS = 3_600_000_000_000
DAY_NS = 24 * HOUR_NS
ORIGIN = ("source", "output", "revision", "instance", "execution", "task", "build")
_lines = log_lines.c


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """A line as it was written, or as it is read.

    ``number`` is what it is sorted by, see ``store.tables.lines``. Further fields as of ``Entry``.
    """

    key: Key
    number: int
    origin: Origin
    severity: int
    text: str
    trace_id: str = ""
    attributes: str = ""


class Known:
    """Ids of streams and origins that were looked up; wrong after a failed write."""

    def __init__(self) -> None:
        self.streams: dict[Key, int] = {}
        self.origins: dict[tuple[int, int, Origin], int] = {}

    def forget(self) -> None:
        """Look everything up again."""
        self.streams.clear()
        self.origins.clear()

    def bound(self, most: int = 20_000) -> None:
        """Do not grow for ever."""
        if len(self.streams) > most or len(self.origins) > most:
            self.forget()


def write(conn: Connection, entries: Sequence[Entry], masks: Masks, known: Known) -> list[Stored]:
    """Store lines; returns them as they are now.

    Raises:
        ServiceUnavailable: see ``Masks.text``.
    """
    known.bound()
    by_key: dict[Key, list[Entry]] = {}
    for entry in entries:
        by_key.setdefault(entry.key, []).append(entry)
    streams = {key: known.streams.get(key) or _stream(conn, key, known) for key in by_key}
    newest = _newest(conn, list(streams.values()))
    rows: list[tuple[Any, ...]] = []
    sizes: dict[tuple[int, int], int] = {}
    stored: list[Stored] = []
    for key, lines in by_key.items():
        stream_id = streams[key]
        lines.sort(key=lambda entry: entry.at_ns)
        numbers = _numbers(conn, stream_id, lines, newest.get(stream_id))
        for number, entry in zip(numbers, lines, strict=True):
            line = _clean(entry, number, masks)
            stored.append(line)
            place = (stream_id, number // DAY_NS, line.origin)
            origin_id = known.origins.get(place) or _origin(conn, *place, known)
            content = (line.severity, line.trace_id, line.text, line.attributes)
            rows.append((stream_id, number, origin_id, *content))
            hour = (stream_id, number // HOUR_NS)
            taken = len(line.text) + len(line.attributes) + ROW_BYTES
            sizes[hour] = sizes.get(hour, 0) + taken
    upsert_many(conn, log_lines, rows, "set")
    upsert_many(conn, log_hours, [(*hour, size) for hour, size in sizes.items()], "add")
    return stored


def _clean(entry: Entry, number: int, masks: Masks) -> Stored:
    text = masks.text(entry.key, storable(entry.text))
    return Stored(
        key=entry.key,
        number=number,
        origin=entry.origin,
        severity=entry.severity,
        text=shortened(text, entry.length, was_cut=entry.length > len(entry.text)),
        trace_id=entry.trace_id,
        attributes=masks.text(entry.key, entry.attributes) if entry.attributes else "",
    )


def _newest(conn: Connection, stream_ids: Sequence[int]) -> dict[int, int | None]:
    """The largest number in each stream."""
    c = log_streams.c
    largest = select(func.max(_lines.number)).where(_lines.stream_id == c.id).scalar_subquery()
    query = select(c.id, largest).where(among(conn, c.id, stream_ids))
    return {row[0]: row[1] for row in conn.execute(query)}


def _numbers(
    conn: Connection, stream_id: int, lines: Sequence[Entry], newest: int | None
) -> list[int]:
    """A number for each line, in order; none of them is in the stream already."""
    taken: set[int] = set()
    numbers = list(_spread(lines, taken))
    if newest is None or numbers[0] > newest:
        return numbers
    while found := _present(conn, stream_id, numbers):
        taken |= found
        numbers = list(_spread(lines, taken))
    return numbers


def _spread(lines: Sequence[Entry], taken: set[int]) -> Iterator[int]:
    number = -1
    for entry in lines:
        number = max(number + 1, min(max(entry.at_ns, 0), LATEST_NS))
        while number in taken:
            number += 1
        yield number


def _present(conn: Connection, stream_id: int, numbers: Sequence[int]) -> set[int]:
    query = select(_lines.number).where(
        _lines.stream_id == stream_id, among(conn, log_lines.c.number, numbers)
    )
    return set(conn.execute(query).scalars())


def _stream(conn: Connection, key: Key, known: Known) -> int:
    c = log_streams.c
    workspace, resource_type, resource = key
    query = select(c.id).where(
        c.workspace == workspace, c.resource_type == resource_type, c.resource == resource
    )
    found = conn.execute(query).scalar()
    if found is None:
        names = {"workspace": workspace, "resource_type": resource_type, "resource": resource}
        found = conn.execute(insert(log_streams).values(names).returning(c.id)).scalar_one()
    known.streams[key] = found
    return int(found)


def _origin(conn: Connection, stream_id: int, day: int, origin: Origin, known: Known) -> int:
    c = log_origins.c
    values = {"day": day, **dict(zip(ORIGIN, origin, strict=True))}
    same = [c[name] == value for name, value in values.items()]
    found = conn.execute(select(c.id).where(c.stream_id == stream_id, *same)).scalar()
    if found is None:
        row = values | {"stream_id": stream_id}
        found = conn.execute(insert(log_origins).values(row).returning(c.id)).scalar_one()
    known.origins[stream_id, day, origin] = found
    return int(found)
