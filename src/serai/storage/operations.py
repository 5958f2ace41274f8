"""Everything that stores files, put together for the composition root."""

from collections.abc import Callable
from pathlib import Path

from litestar.types import ControllerRouterHandler
from sqlalchemy import Connection

from serai.resources import documents
from serai.resources.operations import ResourceContext
from serai.storage.archives import Archives
from serai.storage.drive_files import DriveFiles
from serai.storage.drive_operations import drive_operations
from serai.storage.drive_tokens import DriveTokens
from serai.storage.drives import DRIVES
from serai.storage.ports import HostDisks
from serai.storage.template_operations import template_operations
from serai.storage.template_records import content_of
from serai.storage.templates import Templates
from serai.storage.uploads import UploadSigner
from serai.storage.volume_operations import volume_operations
from serai.storage.volumes import VOLUMES
from serai.store.secrets import Vault


def drive_files(disks: HostDisks) -> DriveFiles:
    """Where the files of drives are."""
    return DriveFiles(disks.drives, disks.make_drive, disks.remove_drive)


def volume_content(data_dir: Path) -> Callable[[Connection, str], str]:
    """Finds the archive that a volume starts with, by the volume's id; empty for none."""
    archives = Archives(data_dir / "archives")

    def find(conn: Connection, volume_id: str) -> str:
        digest = content_of(conn, volume_id)
        return str(archives.path(digest)) if digest else ""

    return find


def storage_operations(
    context: ResourceContext,
    vault: Vault,
    data_dir: Path,
    disks: HostDisks,
    s3_endpoint: str | None = None,
) -> list[ControllerRouterHandler]:
    """Every operation on volumes, volume templates and drives.

    Call it once the database is open and before anything is served: it also removes files that a
    crash left behind.
    """
    db, store, origin = context.db, context.store, context.store.origin
    signer = UploadSigner(vault.digest("uploads"), origin)
    templates = Templates(db, store, Archives(data_dir / "archives"), signer)
    templates.prepare()
    files = drive_files(disks)
    volumes = db.read_now(lambda conn: documents.every(conn, VOLUMES.name))
    disks.keep_volumes({volume.id for volume in volumes})
    drives = db.read_now(lambda conn: documents.every(conn, DRIVES.name))
    files.prepare({drive.id for drive in drives})
    return [
        *volume_operations(context, templates, disks),
        *template_operations(context, templates),
        *drive_operations(context, files, DriveTokens(db, vault, origin), s3_endpoint),
    ]
