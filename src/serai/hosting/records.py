"""Rows of what runs, as functions of a Connection.

``phase`` of an instance: ``creating`` (its box may be there), ``running``, ``suspended`` (stands,
and goes on on the next request), ``ending`` (gets no more requests). A row goes with its box.
"""

from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, delete, func, insert, select, update

from serai.runtime.port import SandboxHandle
from serai.store.dialect import insert_into
from serai.store.tables.hosting import hosted_bridges as bridges
from serai.store.tables.hosting import hosted_deployments as deployments
from serai.store.tables.hosting import hosted_instances as instances

Phase = Literal["creating", "running", "suspended", "ending"]


class InstanceRow(msgspec.Struct, frozen=True, kw_only=True):
    """What the platform knows of one instance; ``lines`` of its output were kept."""

    id: str
    workspace: str
    account_id: str
    document_id: str
    kind: str
    name: str
    revision: str
    phase: Phase
    port: int
    memory_mb: int
    handle: SandboxHandle | None
    started_at: str
    lines: int = 0


FIELDS = InstanceRow.__struct_fields__
COLUMNS = [instances.c[name] for name in FIELDS]


def add(conn: Connection, row: InstanceRow) -> None:
    """Insert the row of an instance."""
    values = {name: getattr(row, name) for name in FIELDS}
    conn.execute(insert(instances).values(values | {"handle": _text(row.handle)}))


def every(conn: Connection) -> list[InstanceRow]:
    """All instances, oldest first: for the platform itself."""
    return [_parse(row) for row in conn.execute(select(*COLUMNS).order_by(instances.c.started_at))]


def exists(conn: Connection, instance_id: str) -> bool:
    """Whether there is a row of an instance."""
    query = select(instances.c.id).where(instances.c.id == instance_id)
    return conn.execute(query).first() is not None


def change(conn: Connection, instance_id: str, **values: Any) -> None:
    """Set some columns of an instance's row."""
    if "handle" in values:
        values["handle"] = _text(values["handle"])
    conn.execute(update(instances).where(instances.c.id == instance_id).values(values))


def drop(conn: Connection, instance_id: str) -> None:
    """Delete an instance's row."""
    conn.execute(delete(instances).where(instances.c.id == instance_id))


def memory_of(conn: Connection, document_id: str) -> int:
    """MiB of all instances of a deployment that run now."""
    c = instances.c
    query = select(func.coalesce(func.sum(c.memory_mb), 0)).where(
        c.document_id == document_id, c.phase.in_(("running", "ending"))
    )
    return int(conn.execute(query).scalar_one())


class Serving(msgspec.Struct, frozen=True):
    """Ids of the revisions of a deployment that requests reach; empty for none."""

    active: str = ""
    canary: str = ""


def serving(conn: Connection, document_id: str) -> Serving:
    """What serves of a deployment."""
    c = deployments.c
    row = conn.execute(select(c.serving, c.canary).where(c.document_id == document_id)).first()
    return Serving(*row) if row is not None else Serving()


def serve(conn: Connection, document_id: str, workspace: str, served: Serving) -> None:
    """Write down what serves of a deployment from now on."""
    values = {"serving": served.active, "canary": served.canary}
    statement = insert_into(conn, deployments).values(
        document_id=document_id, workspace=workspace, **values
    )
    conn.execute(statement.on_conflict_do_update(index_elements=["document_id"], set_=values))


def forget(conn: Connection, document_id: str) -> None:
    """The deployment is gone."""
    conn.execute(delete(deployments).where(deployments.c.document_id == document_id))
    conn.execute(delete(bridges).where(bridges.c.document_id == document_id))


def is_bridged(conn: Connection, row: InstanceRow) -> bool:
    """Whether the revision of an instance is known to speak MCP on its standard streams."""
    c = bridges.c
    query = select(c.revision).where(c.document_id == row.document_id, c.revision == row.revision)
    return conn.execute(query).first() is not None


def bridge(conn: Connection, row: InstanceRow) -> None:
    """Write that down, and that this instance has no port. Repeatable."""
    statement = insert_into(conn, bridges).values(
        document_id=row.document_id, revision=row.revision, workspace=row.workspace
    )
    conn.execute(statement.on_conflict_do_nothing())
    change(conn, row.id, port=0)


def deployed(conn: Connection) -> list[str]:
    """Ids of all deployments of which something serves, or did."""
    return list(conn.execute(select(deployments.c.document_id)).scalars())


def _parse(row: Any) -> InstanceRow:
    values = dict(zip(FIELDS, row, strict=True))
    if values["handle"] is not None:
        values["handle"] = msgspec.json.decode(values["handle"], type=SandboxHandle)
    return InstanceRow(**values)


def _text(handle: SandboxHandle | None) -> str | None:
    return msgspec.json.encode(handle).decode() if handle is not None else None
