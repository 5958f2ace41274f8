"""What a sandbox is given to write to: its own disk, volumes, and drives."""

from collections.abc import Callable

import msgspec
import structlog
from sqlalchemy import Connection

from serai.compute import mount_records
from serai.compute.mount_records import DriveMount
from serai.compute.mount_rules import VOLUME, granted, is_kept
from serai.resources import documents
from serai.resources.documents import Document
from serai.resources.kind import Body
from serai.runtime.port import DISK_MB_DEFAULT, Mount, RuntimeProblem, SandboxPlan

log = structlog.get_logger(__name__)

DRIVE = "drive"
Content = Callable[[Connection, str], str]
"""The archive on disk that a volume starts with, by the volume's id; empty for none."""


def _nothing(conn: Connection, volume_id: str) -> str:
    return ""


class SandboxDisks:
    """Completes plans of sandboxes.

    Args:
        disk_mb: what a sandbox may write, in MiB.
        content: what volumes start with.
    """

    def __init__(self, disk_mb: int = DISK_MB_DEFAULT, content: Content = _nothing) -> None:
        self._disk_mb = disk_mb
        self._content = content

    def complete(self, conn: Connection, document: Document, plan: SandboxPlan) -> SandboxPlan:
        """The plan with the disk, the volumes and the drives of the sandbox.

        Raises:
            RuntimeProblem: a volume is gone.
        """
        body: Body = msgspec.json.decode(document.body)
        volumes: list[Mount | None] = [
            self._volume(conn, document, number, volume)
            for number, volume in enumerate(body["spec"].get("volumes") or [])
        ]
        drives = self._drives(conn, document, body)
        return msgspec.structs.replace(
            plan, disk_mb=self._disk_mb, mounts=tuple(each for each in volumes + drives if each)
        )

    def _volume(self, conn: Connection, document: Document, number: int, volume: Body) -> Mount:
        return volume_mount(
            conn, document.workspace, f"{document.id}.{number}", volume, self._content
        )

    def _drives(self, conn: Connection, document: Document, body: Body) -> list[Mount | None]:
        rows = mount_records.of_sandbox(conn, document.workspace, document.name)
        return [self._drive(conn, row, body) for row in rows]

    def _drive(self, conn: Connection, row: DriveMount, body: Body) -> Mount | None:
        """The mount of a row, unless the drive is gone or was closed to the sandbox since."""
        found = documents.find(conn, row.workspace, DRIVE, row.drive)
        if found is None or found.id != row.drive_id:
            return None
        mode = allowed(found, body, row.folder)
        if mode is None:
            log.warning("drive_not_mounted_again", sandbox=row.sandbox, drive=row.drive)
            return None
        return mount_of(row, read_only=row.read_only or mode == "read")


def volume_mount(
    conn: Connection, workspace: str, own_id: str, volume: Body, content: Content
) -> Mount:
    """What the runtime mounts for an attachment of a volume.

    Args:
        conn: for reading.
        workspace: of whoever has it.
        own_id: id of a volume that ends with whoever has it.
        volume: the attachment, as settings have it.
        content: what volumes start with.

    Raises:
        RuntimeProblem: the volume is gone.
    """
    path, read_only = volume["mountPath"], bool(volume.get("readOnly"))
    if not is_kept(volume):
        name, size, start = own_id, volume["sizeMb"], ""
    else:
        found = documents.find(conn, workspace, VOLUME, volume["name"])
        if found is None:
            raise RuntimeProblem(f"volume {volume['name']!r} is gone")
        name, start = found.id, content(conn, found.id)
        size = msgspec.json.decode(found.body)["spec"]["size"]
    return Mount(
        id=name, kind="volume", path=path, read_only=read_only, size_mb=size, content=start
    )


def allowed(drive: Document, sandbox: Body, folder: str) -> str | None:
    """How a sandbox may use a folder of a drive; None for not at all."""
    permissions = msgspec.json.decode(drive.body)["spec"].get("permissions") or []
    return granted(permissions, sandbox["metadata"].get("labels") or {}, folder)


def mount_of(row: DriveMount, *, read_only: bool) -> Mount:
    """What the runtime mounts for a row."""
    return Mount(
        id=row.drive_id,
        kind="drive",
        path=row.path,
        read_only=read_only,
        folder=row.folder.strip("/"),
    )
