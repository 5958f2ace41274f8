"""The drive kind: defaults and rules."""

import msgspec
from sqlalchemy import Connection, select

from serai.kernel.errors import BadRequest, Conflict
from serai.kernel.names import check_labels
from serai.resources import documents
from serai.resources.documents import Document
from serai.resources.kind import Body, Kind, Operations, Usage
from serai.storage.drive_files import split_path
from serai.storage.volumes import check_region
from serai.store.tables.mounts import drive_mounts
from serai.wire.storage import Drive

PERMISSIONS_MAX = 3


def prepare_drive(body: Body) -> None:
    """Complete defaults and check the rules of a wanted drive."""
    spec = body["spec"]
    check_region(spec)
    permissions = spec["permissions"] = spec.get("permissions") or []
    if len(permissions) > PERMISSIONS_MAX:
        raise BadRequest(
            f"spec.permissions has {len(permissions)} entries; at most {PERMISSIONS_MAX}."
        )
    for number, permission in enumerate(permissions):
        field = f"spec.permissions[{number}]"
        try:
            check_labels(permission.get("labels") or {})
        except BadRequest as problem:
            raise BadRequest(problem.message.replace("metadata", field, 1)) from None
        permission.setdefault("mode", "read-write")
        path = permission.get("path") or "/"
        if not path.startswith("/"):
            raise BadRequest(f"{field}.path {path[:80]!r} does not begin with '/'.")
        permission["path"] = "/" + "/".join(split_path(path, f"{field}.path"))


def locate(conn: Connection, drive: Document, endpoint: str | None) -> Document:
    """Say where a drive is reached over S3: its id is the bucket; None for nowhere."""
    body: Body = msgspec.json.decode(drive.body)
    state = {"s3Url": f"{endpoint}/{drive.id}"} if endpoint else None
    if body.pop("state", None) == state:
        return drive
    if state is not None:
        body["state"] = state
    located = msgspec.structs.replace(drive, body=msgspec.json.encode(body).decode())
    documents.save(conn, located)
    return located


def locate_all(conn: Connection, endpoint: str | None) -> None:
    """Say it of every drive, as the endpoint may be another than before."""
    for drive in documents.every(conn, DRIVES.name):
        locate(conn, drive, endpoint)


def need_unmounted(conn: Connection, drive: Document) -> None:
    """A drive that is mounted somewhere stays.

    Raises:
        Conflict: naming sandboxes that have it.
    """
    c = drive_mounts.c
    query = (
        select(c.sandbox)
        .distinct()
        .where(c.workspace == drive.workspace, c.drive_id == drive.id)
        .order_by(c.sandbox)
    )
    users = list(conn.execute(query).scalars())
    if users:
        more = f" and {len(users) - 3} more" if len(users) > 3 else ""
        raise Conflict(
            f"Drive {drive.name!r} is mounted in sandbox {', '.join(users[:3])}{more}; unmount it "
            "there, or delete them, first.",
            code="DRIVE_MOUNTED",
        )


STORED = Usage("drive_storage_gbs", "drive", lambda body: 0)
"""Not of the kind: a body does not tell what is stored; it is measured, see ``drive_sizes``."""

DRIVES = Kind(
    name="drive",
    title="drive",
    path="drives",
    shape=Drive,
    has_url=False,
    prepare=prepare_drive,
    operations=Operations.of("Drive"),
)
