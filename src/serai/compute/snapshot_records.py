"""Rows of snapshots, as functions of a Connection."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import ColumnElement, Connection, delete, func, insert, or_, select, tuple_, update

from serai.api.pages import PageQuery
from serai.runtime.port import Contents
from serai.store.tables.sandboxes import sandboxes
from serai.store.tables.snapshots import snapshots

Status = Literal["pending", "ready", "failed", "deleted"]
SHOWN: tuple[Status, ...] = ("pending", "ready", "failed")


class SnapshotRow(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot; see ``store.tables.snapshots``."""

    id: str
    workspace: str
    account_id: str
    sandbox_id: str
    sandbox: str
    name: str
    status: Status
    level: Contents
    created_at: str
    created_by: str
    size: int
    layers: tuple[str, ...]
    body: str
    sealed: bytes


FIELDS = SnapshotRow.__struct_fields__
COLUMNS = [snapshots.c[name] for name in FIELDS]


def parse_layers(text: str | None) -> tuple[str, ...]:
    """Ids of saved files as a column holds them."""
    return msgspec.json.decode(text, type=tuple[str, ...]) if text else ()


def layers_text(layers: Sequence[str]) -> str:
    """The opposite of ``parse_layers``."""
    return msgspec.json.encode(layers).decode()


def _parse(row: Any) -> SnapshotRow:
    values = dict(zip(FIELDS, row, strict=True))
    values["layers"] = parse_layers(values["layers"])
    return SnapshotRow(**values)


def add(conn: Connection, row: SnapshotRow) -> None:
    """Insert a row."""
    values = msgspec.structs.asdict(row) | {"layers": layers_text(row.layers)}
    conn.execute(insert(snapshots).values(values))


def find(conn: Connection, workspace: str, snapshot_id: str) -> SnapshotRow | None:
    """The snapshot of that id, unless it was deleted."""
    c = snapshots.c
    query = select(*COLUMNS).where(
        c.workspace == workspace, c.id == snapshot_id, c.status.in_(SHOWN)
    )
    row = conn.execute(query).first()
    return _parse(row) if row is not None else None


def find_of(conn: Connection, workspace: str, sandbox_id: str, word: str) -> SnapshotRow | None:
    """The snapshot of a sandbox that has this id or this name."""
    c = snapshots.c
    mine = c.workspace == workspace, c.sandbox_id == sandbox_id, c.status.in_(SHOWN)
    query = select(*COLUMNS).where(*mine, or_(c.id == word, c.name == word))
    row = conn.execute(query.order_by(c.id == word)).first()
    return _parse(row) if row is not None else None


def of_sandbox(conn: Connection, workspace: str, sandbox_id: str) -> list[SnapshotRow]:
    """All snapshots of a sandbox, the newest first."""
    c = snapshots.c
    query = select(*COLUMNS).where(
        c.workspace == workspace, c.sandbox_id == sandbox_id, c.status.in_(SHOWN)
    )
    rows = conn.execute(query.order_by(c.created_at.desc(), c.id.desc()))
    return [_parse(row) for row in rows]


def page(
    conn: Connection, workspace: str, query: PageQuery, after: list[str] | None, size: int
) -> tuple[list[SnapshotRow], list[str], int]:
    """Some snapshots of a workspace, where the next page goes on (empty: nowhere), and how many."""
    c = snapshots.c
    within: list[ColumnElement[bool]] = [c.workspace == workspace, c.status.in_(SHOWN)]
    if query.q:
        places = (func.lower(place) for place in (c.name, c.id, c.sandbox))
        within.append(or_(*(place.contains(query.q, autoescape=True) for place in places)))
    total = conn.execute(select(func.count()).select_from(snapshots).where(*within)).scalar_one()
    keys = [c[query.column], c.id]
    backwards = query.descending != query.from_end
    wanted = select(*COLUMNS).where(*within)
    if after is not None:
        key, last = tuple_(*keys), tuple_(*after)
        wanted = wanted.where(key < last if backwards else key > last)
    order = [key.desc() if backwards else key.asc() for key in keys]
    rows = [_parse(row) for row in conn.execute(wanted.order_by(*order).limit(size + 1))]
    more, rows = len(rows) > size, rows[:size]
    if query.from_end:
        return rows[::-1], [], int(total)
    return rows, [getattr(rows[-1], query.column), rows[-1].id] if more else [], int(total)


def change(conn: Connection, snapshot_id: str, **values: Any) -> None:
    """Set some columns of a row."""
    conn.execute(update(snapshots).where(snapshots.c.id == snapshot_id).values(values))


def drop(conn: Connection, *ids: str) -> None:
    """Delete rows."""
    conn.execute(delete(snapshots).where(snapshots.c.id.in_(ids)))


def every(conn: Connection) -> list[SnapshotRow]:
    """All rows of all workspaces."""
    return [_parse(row) for row in conn.execute(select(*COLUMNS))]


def begun_with(conn: Connection) -> set[str]:
    """Ids of saved sets with whose processes a sandbox is about to go on."""
    column = sandboxes.c.memory_from
    return set(conn.execute(select(column).where(column.is_not(None))).scalars())


def needed(conn: Connection) -> set[str]:
    """Ids of saved files that a snapshot is made of, or a sandbox lies on."""
    c, s = snapshots.c, sandboxes.c
    texts = [
        *conn.execute(select(c.layers).where(c.status.in_(SHOWN))).scalars(),
        *conn.execute(select(s.layers).where(s.layers.is_not(None))).scalars(),
    ]
    return {layer for text in texts for layer in parse_layers(text)}
