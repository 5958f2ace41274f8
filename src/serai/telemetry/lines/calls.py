"""Calls of models as lines: read from their rows, and stored nowhere else."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, String, cast, or_, select

from serai.store.searching import holds
from serai.store.tables.requests import model_requests
from serai.telemetry.lines.entry import Key
from serai.telemetry.lines.query import COUNTED_MOST, RESOURCES_MOST, Page, Wanted
from serai.telemetry.lines.records import Stored
from serai.telemetry.records import first_number

SOURCE = "request"
MODEL = "model"
_c = model_requests.c
_STATUSES = {"INFO": (0, 399), "WARNING": (400, 499), "ERROR": (500, 999)}
_NUMBERS = {"INFO": 9, "WARNING": 13, "ERROR": 17}
_SEARCHED: ColumnElement[str] = (
    _c.operation
    + " "
    + cast(_c.status, String)
    + " "
    + _c.provider
    + " "
    + _c.provider_model
    + " "
    + _c.error
    + " "
    + _c.request_id
)


def find_models(
    conn: Connection, account_id: str, workspace: str, names: Sequence[str]
) -> list[str]:
    """The models that are asked for, or those that were called."""
    if names:
        return list(names)
    mine = (_c.workspace == workspace, _c.account_id == account_id)
    query = select(_c.model).where(*mine).distinct().order_by(_c.model).limit(RESOURCES_MOST)
    return list(conn.execute(query).scalars())


def page(
    conn: Connection, account_id: str, key: Key, wanted: Wanted, limit: int, offset: int = 0
) -> Page:
    """The first calls of a model, or some after those; and how many there are."""
    if not _may_have(wanted):
        return Page(lines=[], total=0, more=False)
    query = _rows(conn, account_id, key, wanted)
    numbers = query.with_only_columns(_c.number).limit(COUNTED_MOST + 1)
    total = len(conn.execute(numbers).all())
    rows = conn.execute(query.limit(limit).offset(offset)).all()
    lines = [line_of(row) for row in rows]
    return Page(lines=lines, total=min(total, COUNTED_MOST), more=total > offset + limit)


def page_after(
    conn: Connection, account_id: str, key: Key, wanted: Wanted, after: int, limit: int
) -> Page:
    """The calls of a model that come after the one of a number, without their total."""
    later = _c.number < after if wanted.newest_first else _c.number > after
    query = _rows(conn, account_id, key, wanted).where(later).limit(limit + 1)
    rows = conn.execute(query).all()
    return Page(lines=[line_of(row) for row in rows[:limit]], total=0, more=len(rows) > limit)


def _may_have(wanted: Wanted) -> bool:
    """A call has no revision, execution, task, build or trace; nobody printed it."""
    of_process = wanted.exact or wanted.execution or wanted.trace_id
    return not of_process and (not wanted.sources or SOURCE in wanted.sources)


def _rows(conn: Connection, account_id: str, key: Key, wanted: Wanted) -> Select[Any]:
    order = _c.number.desc() if wanted.newest_first else _c.number
    conditions: list[ColumnElement[bool]] = [
        _c.workspace == key[0],
        _c.account_id == account_id,
        _c.model == key[2],
        _c.number >= first_number(wanted.first // 1_000_000),
        _c.number < first_number(-(-wanted.last // 1_000_000)),
    ]
    if wanted.severities:
        ranges = (_STATUSES[name] for name in sorted(wanted.severities) if name in _STATUSES)
        statuses = [_c.status.between(low, high) for low, high in ranges]
        conditions.append(or_(*statuses) if statuses else _c.status < 0)
    if wanted.search:
        conditions.append(holds(conn, _SEARCHED, wanted.search))
    return select(model_requests).where(*conditions).order_by(order)


def line_of(row: Any) -> Stored:
    """A call as a line; its number is that of its row."""
    status = next(name for name, (low, high) in _STATUSES.items() if low <= row.status <= high)
    said = [
        row.operation,
        str(row.status),
        f"in {row.duration / 1000:.1f} ms",
        f"provider={row.provider}",
        f"model={row.provider_model or row.model}",
    ]
    if row.counted or row.estimated:
        said.append(f"tokens={row.input_tokens}+{row.output_tokens}")
    if row.error:
        said.append(f"error={row.error} origin={row.origin}")
    said.append(f"request={row.request_id}")
    return Stored(
        key=(row.workspace, MODEL, row.model),
        number=row.number,
        origin=(SOURCE, "", "", "", "", "", ""),
        severity=_NUMBERS[status],
        text=" ".join(said),
    )


def rows_as_lines(rows: Sequence[Sequence[Any]]) -> list[Stored]:
    """Rows that were just written, as lines."""
    names = [column.key for column in model_requests.columns]
    return [line_of(SimpleNamespace(**dict(zip(names, row, strict=True)))) for row in rows]


def at_ns(number: int) -> int:
    """When the call of a row's number came in; its counter keeps two of a microsecond apart."""
    return (number >> 10) * 1000 + number % 1024 % 1000
