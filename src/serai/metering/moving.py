"""Moving usage into the usage store from where an earlier version or setting kept it.

The rows and a note that they have come are written in one transaction; only then is the source
removed. A crash at any line leaves a state from which the next start goes on.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import structlog
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    MetaData,
    String,
    Table,
    inspect,
    select,
)
from sqlalchemy.engine import Row

from serai.metering.dimensions import SANDBOX_RUNTIME
from serai.store.database import Database
from serai.store.dialect import insert_into, insert_new
from serai.store.engines import DatabaseUnusable
from serai.store.tables.usage import (
    usage_changes,
    usage_days,
    usage_events,
    usage_hours,
    usage_notes,
    usage_series,
    usage_spans,
)

log = structlog.get_logger(__name__)

CHUNK = 2000
FORMER = ("usage_spans", "usage_days", "usage_hours", "usage_events", "usage_series")
"""Tables that the platform's database had before usage got its own, in the order to drop them."""

former_spans = Table(
    "usage_spans",
    MetaData(),
    Column("resource_id", String),
    Column("account_id", String),
    Column("workspace", String),
    Column("name", String),
    Column("memory_mb", Integer),
    Column("opened_at", BigInteger),
    Column("metered_until", BigInteger),
    Column("closed_at", BigInteger),
)


async def move_from_platform(db: Database, usage: Database) -> None:
    """Move what the platform's database holds of usage, once.

    Raises:
        DatabaseUnusable: the usage store has other usage already.
    """
    if not await db.read(lambda conn: inspect(conn).has_table("usage_series")):
        return
    moved = await usage.write(lambda conn: _receive(conn, "platform", db, _from_platform))
    await db.write(_drop_former)
    if moved:
        log.info("usage_moved", series=moved)


def _receive(
    conn: Connection,
    source: str,
    origin: Database,
    copy: Callable[[Connection, Connection], int],
) -> int:
    """Copy from another database unless that is noted as done; returns how many series came."""
    if not insert_new(conn, usage_notes, {"name": f"moved:{source}", "value": "done"}):
        return 0
    return origin.read_now(lambda old: copy(old, conn) if _has_rows(old) else 0)


def _has_rows(conn: Connection) -> bool:
    return conn.execute(select(usage_series.c.id).limit(1)).first() is not None


def _from_platform(old: Connection, conn: Connection) -> int:
    series = _copy_sums(old, conn)
    for row in old.execute(select(former_spans)):
        _copy_span(conn, row)
    return series


def _copy_sums(old: Connection, conn: Connection) -> int:
    if _has_rows(conn):
        raise DatabaseUnusable(
            "The usage database holds usage already, and so does this data directory: they are "
            "of two installations. Give each a usage database of its own (usage_database_url)."
        )
    for rows in _chunks(old, usage_series):
        conn.execute(usage_series.insert(), [_without_id(row) for row in rows])
    ids = {k: i for k, i in conn.execute(select(usage_series.c.key, usage_series.c.id))}  # noqa: C416
    known = {i: ids[k] for i, k in old.execute(select(usage_series.c.id, usage_series.c.key))}
    for table in (usage_events, usage_hours, usage_days):
        for rows in _chunks(old, table):
            renumbered = [dict(row._mapping) | {"series_id": known[row.series_id]} for row in rows]
            conn.execute(insert_into(conn, table), renumbered)
    return len(known)


def _copy_span(conn: Connection, row: Row[Any]) -> None:
    """A span as it stands: what is metered stays, and only what comes can change."""
    rate = row.memory_mb if row.closed_at is None else 0
    mine = {"resource_id": row.resource_id, "dimension": SANDBOX_RUNTIME}
    whose = {"account_id": row.account_id, "workspace": row.workspace, "name": row.name}
    moments = dict.fromkeys(
        ("since", "changed_at", "metered_until", "settled_at"), row.metered_until
    )
    span = mine | whose | {"resource_type": "sandbox", "rate": rate, "last_number": 0} | moments
    conn.execute(usage_spans.insert().values(span))
    change = {"number": 0, "at": row.metered_until, "rate": rate}
    conn.execute(usage_changes.insert().values(mine | change))


def _chunks(conn: Connection, table: Table) -> Iterator[list[Row[Any]]]:
    rows = iter(conn.execute(select(table)))
    while chunk := list(islice(rows, CHUNK)):
        yield chunk


def _without_id(row: Row[Any]) -> dict[str, Any]:
    return {name: value for name, value in row._mapping.items() if name != "id"}


def _drop_former(conn: Connection) -> None:
    for name in FORMER:
        conn.exec_driver_sql(f"DROP TABLE IF EXISTS {name}")
