"""Rows of model calls: read for one workspace, pruned for all of them."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, Table, delete, func, select

from serai.store.reach import unbounded
from serai.store.tables.requests import model_request_logs, model_requests

COUNTED_MOST = 10_000
"""A total above it is not counted on."""

PRUNED_AT_ONCE = 20_000
_PER_MS = 1000 << 10
_c = model_requests.c


def first_number(ms: int) -> int:
    """The smallest number of a call that came in at or after ``ms`` milliseconds since 1970."""
    return ms * _PER_MS


def moment_ms(number: int) -> int:
    """When the call of a number came in, in milliseconds since 1970."""
    return (number >> 10) // 1000


def moment_seconds(number: int) -> float:
    """The same in seconds, to the microsecond."""
    return (number >> 10) / 1e6


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which calls somebody asks for.

    Attributes:
        account_id: whose workspace it is: its name may have been another account's before.
        workspace: the one workspace.
        exact: values of columns.
        statuses: first and last HTTP status.
        first: smallest number.
        last: numbers stay below it.
        slower_than: microseconds that they took at least.
    """

    account_id: str
    workspace: str
    exact: dict[str, str]
    statuses: tuple[int, int] | None = None
    first: int | None = None
    last: int | None = None
    slower_than: int | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """As SQL."""
        found: list[ColumnElement[bool]] = [
            _c.workspace == self.workspace,
            _c.account_id == self.account_id,
        ]
        found += [_c[name] == value for name, value in sorted(self.exact.items())]
        if self.statuses is not None:
            found += [_c.status >= self.statuses[0], _c.status <= self.statuses[1]]
        if self.first is not None:
            found.append(_c.number >= self.first)
        if self.last is not None:
            found.append(_c.number < self.last)
        if self.slower_than is not None:
            found.append(_c.duration >= self.slower_than)
        return found


def page(
    conn: Connection, wanted: Wanted, before: int | None, limit: int
) -> tuple[Sequence[Row[Any]], int]:
    """The newest calls before a number, and how many there are in all, up to ``COUNTED_MOST``."""
    conditions = wanted.conditions()
    some = select(_c.number).where(*conditions).limit(COUNTED_MOST).subquery()
    total = int(conn.execute(select(func.count()).select_from(some)).scalar_one())
    query = select(model_requests).where(*conditions)
    if before is not None:
        query = query.where(_c.number < before)
    rows = conn.execute(query.order_by(_c.number.desc()).limit(limit)).all()
    return rows, total


def newest(conn: Connection, wanted: Wanted) -> Row[Any] | None:
    """The newest such call."""
    query = select(model_requests).where(*wanted.conditions())
    return conn.execute(query.order_by(_c.number.desc()).limit(1)).first()


def prune(conn: Connection, before: int, table: Table = model_requests) -> int:
    """Delete calls with a number below ``before``, of every workspace, so many at once.

    Args:
        conn: of the usage store.
        before: numbers stay from here on.
        table: the calls themselves, or what is kept of their contents.

    Returns how many were deleted; less than ``PRUNED_AT_ONCE`` when none is left.
    """
    left, c = PRUNED_AT_ONCE, table.c
    with unbounded("rows of all workspaces grow old alike"):
        for workspace in _workspaces(conn, table):
            old = (c.workspace == workspace, c.number < before)
            # the newest of those that go now; a DELETE with a LIMIT is not in every SQLite
            edge = conn.execute(
                select(c.number).where(*old).order_by(c.number).offset(left - 1).limit(1)
            ).scalar()
            chosen = old if edge is None else (old[0], c.number <= edge)
            left -= conn.execute(delete(table).where(*chosen)).rowcount
            if left <= 0:
                break
    return PRUNED_AT_ONCE - left


def _workspaces(conn: Connection, table: Table) -> Iterator[str]:
    """Every workspace with rows, found by jumping over them in the index."""
    last = ""
    while True:
        query = select(func.min(table.c.workspace)).where(table.c.workspace > last)
        found = conn.execute(query).scalar()
        if found is None:
            return
        last = str(found)
        yield last


def prune_logs(conn: Connection, now_ms: int) -> int:
    """Delete what was kept of contents and has come to its end."""
    with unbounded("rows of all workspaces grow old alike"):
        query = delete(model_request_logs).where(model_request_logs.c.ends_at <= now_ms)
        return conn.execute(query).rowcount


@unbounded("models of all workspaces are looked at alike")
def logged_models(conn: Connection) -> frozenset[str]:
    """Ids of the models of whose calls some content is kept."""
    column = model_request_logs.c.resource_id
    return frozenset(map(str, conn.execute(select(column).distinct()).scalars()))


@unbounded("a model that is gone takes along what was kept of its calls")
def forget_logs(conn: Connection, models: frozenset[str]) -> None:
    """Delete what was kept of the contents of calls of these models, by id."""
    for resource_id in sorted(models):
        found = model_request_logs.c.resource_id == resource_id
        conn.execute(delete(model_request_logs).where(found))
