"""Rows of sandboxes, as functions of a Connection.

``phase`` is where a sandbox stands between what is wanted and what runs: ``creating``,
``forking`` (its files are being copied), ``running``, ``suspended`` (stands, and goes on on the
next request), ``stopped`` (starts on the next request), ``archiving``, ``archived`` (its files are
packed), ``unarchiving``, ``deleting``, ``terminated`` (only its record is left, until
``expires_at``). ``layers`` are the saved sets of files that it lies on, ``memory_from`` is the
saved set (or the sandbox itself, for a copy) with whose processes its next start goes on.
``saved_processes`` are those that its next start begins anew, see ``serai.compute.relaunch``.
"""

from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from serai.compute.ports import RunningSandbox
from serai.compute.snapshot_records import layers_text, parse_layers
from serai.runtime.port import SandboxHandle
from serai.store.tables.sandboxes import sandboxes

Phase = Literal[
    "creating",
    "forking",
    "running",
    "suspended",
    "stopped",
    "archiving",
    "archived",
    "unarchiving",
    "deleting",
    "terminated",
]


class SandboxRow(msgspec.Struct, frozen=True, kw_only=True):
    """What the platform knows of one sandbox. Times are RFC 3339 text."""

    id: str
    workspace: str
    account_id: str
    name: str
    memory_mb: int
    phase: Phase
    handle: SandboxHandle | None
    expires_at: str | None
    last_active_at: str
    layers: tuple[str, ...] = ()
    memory_from: str | None = None
    saved_processes: bytes | None = None


FIELDS = SandboxRow.__struct_fields__
COLUMNS = [sandboxes.c[name] for name in FIELDS]


def _parse(row: Any) -> SandboxRow:
    values = dict(zip(FIELDS, row, strict=True))
    if values["handle"] is not None:
        values["handle"] = msgspec.json.decode(values["handle"], type=SandboxHandle)
    values["layers"] = parse_layers(values["layers"])
    return SandboxRow(**values)


def add(conn: Connection, row: SandboxRow) -> None:
    """Insert a row."""
    values = {name: getattr(row, name) for name in FIELDS}
    values["handle"] = _text(row.handle)
    values["layers"] = layers_text(row.layers) if row.layers else None
    conn.execute(insert(sandboxes).values(values))


def get(conn: Connection, sandbox_id: str) -> SandboxRow | None:
    """The row of a sandbox, by id."""
    row = conn.execute(select(*COLUMNS).where(sandboxes.c.id == sandbox_id)).first()
    return _parse(row) if row is not None else None


def need(conn: Connection, sandbox_id: str) -> SandboxRow:
    """The row of a sandbox that must exist."""
    row = get(conn, sandbox_id)
    if row is None:
        raise LookupError(f"no row for sandbox {sandbox_id}")
    return row


def running(row: SandboxRow, handle: SandboxHandle) -> RunningSandbox:
    """A row that runs, as the siblings of compute see it."""
    return RunningSandbox(
        id=row.id,
        account_id=row.account_id,
        workspace=row.workspace,
        name=row.name,
        memory_mb=row.memory_mb,
        handle=handle,
    )


def every(conn: Connection) -> list[SandboxRow]:
    """All rows, for the reconciler."""
    return [_parse(row) for row in conn.execute(select(*COLUMNS))]


def change(conn: Connection, sandbox_id: str, **values: Any) -> None:
    """Set some columns of a row."""
    if "handle" in values:
        values["handle"] = _text(values["handle"])
    if "layers" in values:
        values["layers"] = layers_text(values["layers"]) if values["layers"] else None
    conn.execute(update(sandboxes).where(sandboxes.c.id == sandbox_id).values(values))


def past_retention(conn: Connection, moment: str) -> list[str]:
    """Ids of terminated sandboxes whose records may go."""
    c = sandboxes.c
    query = select(c.id).where(c.phase == "terminated", c.expires_at <= moment)
    return list(conn.execute(query).scalars())


def drop(conn: Connection, sandbox_id: str) -> None:
    """Delete a row."""
    conn.execute(delete(sandboxes).where(sandboxes.c.id == sandbox_id))


def _text(handle: SandboxHandle | None) -> str | None:
    return msgspec.json.encode(handle).decode() if handle is not None else None
