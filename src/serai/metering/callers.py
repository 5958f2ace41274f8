"""What each credential used of each model, by hour: for budgets of keys and of labels.

Usage itself is kept by resource (``serai.metering.records``). Who called, and which labels the
model had at that moment, stands here, in sums that are written in the same transaction.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Connection, select

from serai.metering.times import DAY, HOUR, moment_of
from serai.store.dialect import among, insert_into, upsert_many
from serai.store.tables.usage import usage_caller_hours, usage_callers


class ModelCaller(msgspec.Struct, frozen=True, kw_only=True):
    """One credential's use of one model; ``labels`` are the model's, as a JSON object."""

    account_id: str
    workspace: str
    resource_id: str
    model: str
    provider: str
    credential_id: str
    labels: str


CallerAmounts = dict[tuple[ModelCaller, int, str], int]
"""Quantities by caller, hour since 1970, and dimension."""


class Used(NamedTuple):
    """A quantity, with what its price depends on."""

    dimension: str
    provider: str
    model: str
    day: date
    quantity: int


def record_callers(conn: Connection, amounts: CallerAmounts) -> None:
    """Add quantities to what is stored."""
    if not amounts:
        return
    keys = {_key(caller): caller for caller, _, _ in amounts}
    ids = _known(conn, list(keys))
    new = [
        msgspec.structs.asdict(caller) | {"key": key}
        for key, caller in keys.items()
        if key not in ids
    ]
    if new:
        statement = insert_into(conn, usage_callers)
        conn.execute(statement.on_conflict_do_nothing(index_elements=["key"]), new)
        ids = _known(conn, list(keys))
    rows = [
        (ids[_key(caller)], hour, dimension, quantity)
        for (caller, hour, dimension), quantity in amounts.items()
    ]
    upsert_many(conn, usage_caller_hours, rows, "add")


def callers_used(
    conn: Connection, account_id: str, start: int, end: int, filters: Mapping[str, str]
) -> Iterator[Used]:
    """What was used in a window of whole hours (milliseconds since 1970) by some callers.

    Args:
        conn: of the usage store.
        account_id: whose usage.
        start: where the window begins.
        end: where it ends.
        filters: values that ``workspace``, ``model`` and ``credential_id`` must have, and
            ``label``, as ``NAME=VALUE``, that the model must have had.
    """
    c, hours = usage_callers.c, usage_caller_hours.c
    wanted: list[ColumnElement[bool]] = [c.account_id == account_id]
    wanted += [c[name] == value for name, value in filters.items() if name != "label"]
    callers = {
        row.id: row
        for row in conn.execute(select(usage_callers).where(*wanted))
        if _has_label(row, filters.get("label"))
    }
    query = (
        select(hours.caller_id, hours.hour, hours.dimension, hours.quantity)
        .join(usage_callers, c.id == hours.caller_id)
        .where(*wanted, hours.hour >= start // HOUR, hours.hour < -(-end // HOUR))
    )
    sums: dict[tuple[str, str, str, int], int] = defaultdict(int)
    for caller_id, hour, dimension, quantity in conn.execute(query):
        row = callers.get(caller_id)
        if row is not None:
            sums[dimension, row.provider, row.model, hour // 24] += quantity
    for (dimension, provider, model, day), quantity in sums.items():
        yield Used(dimension, provider, model, moment_of(day * DAY).date(), quantity)


def has_label(labels: str, wanted: str) -> bool:
    """Whether labels, as a JSON object, have a label that is given as ``NAME=VALUE``."""
    name, _, value = wanted.partition("=")
    known: dict[str, str] = msgspec.json.decode(labels or "{}")
    return known.get(name) == value


def _has_label(row: Any, wanted: str | None) -> bool:
    return wanted is None or has_label(row.labels, wanted)


def _key(caller: ModelCaller) -> str:
    return msgspec.json.encode(msgspec.structs.astuple(caller)).decode()


def _known(conn: Connection, keys: list[str]) -> dict[str, int]:
    c = usage_callers.c
    rows = conn.execute(select(c.key, c.id).where(among(conn, c.key, keys)))
    return {key: id_ for key, id_ in rows}  # noqa: C416
