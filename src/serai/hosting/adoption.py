"""Instances that an earlier run of the platform started: taken over, or ended."""

import asyncio
from collections.abc import Mapping, Sequence

import structlog
from sqlalchemy import Connection

from serai.hosting import records
from serai.hosting.deployments import Table
from serai.hosting.ports import Workload
from serai.hosting.records import InstanceRow
from serai.hosting.starting import Starter
from serai.store.database import Database

log = structlog.get_logger(__name__)


async def adopt_all(
    db: Database, starter: Starter, table: Table, rows: Sequence[InstanceRow]
) -> None:
    """Lend the instances that still serve a revision that serves; end the others."""
    kept = await asyncio.gather(*(_adopt(starter, table, row) for row in rows))
    alive = {row.document_id for row, is_kept in zip(rows, kept, strict=True) if is_kept}

    def write(conn: Connection) -> None:
        starter.usage.recover(conn, sorted(alive))
        for document_id in alive:
            workload = table.by_id[document_id].workload
            starter.usage.runs(conn, workload, records.memory_of(conn, document_id))

    await db.write(write)


async def _adopt(starter: Starter, table: Table, row: InstanceRow) -> bool:
    deployment = table.by_id.get(row.document_id)
    fleet = deployment.fleet(row.revision) if deployment is not None else None
    if deployment is not None and fleet is not None:
        instance = await starter.adopt(deployment.workload, row)
        if instance is not None:
            fleet.adopt(instance)
            log.info("instance_adopted", name=row.name, instance=row.id)
            return True
    await starter.remove(workload_of(row), row.id, row.handle)
    return False


def workload_of(row: InstanceRow) -> Workload:
    """Whose instance a row is."""
    return Workload(
        kind=row.kind,
        workspace=row.workspace,
        name=row.name,
        document_id=row.document_id,
        account_id=row.account_id,
    )


def note_lines(conn: Connection, lines: Mapping[str, int]) -> None:
    """Write down how many lines of each instance were kept."""
    for instance_id, seen in lines.items():
        records.change(conn, instance_id, lines=seen)
