"""Everything that stores files, put together for the composition root."""

from pathlib import Path

from litestar.types import ControllerRouterHandler

from serai.resources import documents
from serai.resources.operations import ResourceContext
from serai.storage.archives import Archives
from serai.storage.drive_files import DriveFiles
from serai.storage.drive_operations import drive_operations
from serai.storage.drive_tokens import DriveTokens
from serai.storage.drives import DRIVES
from serai.storage.template_operations import template_operations
from serai.storage.templates import Templates
from serai.storage.uploads import UploadSigner
from serai.storage.volume_operations import volume_operations
from serai.store.secrets import Vault


def drive_files(data_dir: Path) -> DriveFiles:
    """Where the files of drives are."""
    return DriveFiles(data_dir / "drives")


def storage_operations(
    context: ResourceContext, vault: Vault, data_dir: Path
) -> list[ControllerRouterHandler]:
    """Every operation on volumes, volume templates and drives.

    Call it once the database is open and before anything is served: it also removes files that a
    crash left behind.
    """
    db, store, origin = context.db, context.store, context.store.origin
    signer = UploadSigner(vault.digest("uploads"), origin)
    templates = Templates(db, store, Archives(data_dir / "archives"), signer)
    templates.prepare()
    files = drive_files(data_dir)
    drives = db.read_now(lambda conn: documents.every(conn, DRIVES.name))
    files.prepare({drive.id for drive in drives})
    return [
        *volume_operations(context, templates),
        *template_operations(context, templates),
        *drive_operations(context, files, DriveTokens(db, vault, origin)),
    ]
