"""What kept files of sandboxes cost: snapshots and archives, by the space they take on disk."""

from datetime import datetime

from sqlalchemy import Connection

from serai.resources.spans import Metered, close_span, open_span

DIMENSION = "sandbox_snapshot_storage_gbs"
MEGABYTE = 1 << 20


def megabytes(size: int) -> int:
    """Bytes as whole MiB, rounded up."""
    return -(-size // MEGABYTE)


def begin_storage(
    conn: Connection,
    kept_id: str,
    account_id: str,
    workspace: str,
    sandbox: str,
    size: int,
    at: datetime,
) -> None:
    """From ``at`` on, so many bytes of a sandbox are kept under an id."""
    resource = Metered(
        id=kept_id, account_id=account_id, workspace=workspace, type="sandbox", name=sandbox
    )
    open_span(conn, resource, DIMENSION, megabytes(size), at)


def end_storage(conn: Connection, kept_id: str, at: datetime) -> None:
    """They were kept until then."""
    close_span(conn, kept_id, DIMENSION, at)
