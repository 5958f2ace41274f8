"""What ends together with a sandbox."""

from sqlalchemy import Connection

from serai.compute import mount_records, records, schedule_records
from serai.compute.previews import drop_previews
from serai.resources import documents
from serai.resources.documents import Document


def drop_belongings(conn: Connection, workspace: str, sandbox: str) -> None:
    """Delete previews, tokens, schedules, executions and mounts of a sandbox that has ended."""
    drop_previews(conn, workspace, sandbox)
    schedule_records.drop_sandbox(conn, workspace, sandbox)
    mount_records.drop(conn, workspace, sandbox)


def drop_record(conn: Connection, sandbox: Document) -> None:
    """Forget a sandbox, its document and its row."""
    documents.drop(conn, sandbox)
    records.drop(conn, sandbox.id)
