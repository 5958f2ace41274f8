"""How much drives hold: measured again and again, and told to whoever meters it."""

import asyncio

import structlog
from sqlalchemy import Connection

from serai.resources import documents
from serai.resources.documents import Document
from serai.resources.spans import meter
from serai.storage.drive_files import DriveFiles
from serai.storage.drives import DRIVES, STORED
from serai.store.database import Database

log = structlog.get_logger(__name__)

INTERVAL = 60.0
"""Seconds between two looks: what is stored for less time may not be seen."""

MEGABYTE = 1024 * 1024


class DriveSizes:
    """Tells each drive's size, in MB rounded up, whenever it has changed."""

    def __init__(self, db: Database, files: DriveFiles, interval: float = INTERVAL) -> None:
        self._db = db
        self._files = files
        self._interval = interval
        self._told: dict[str, int] = {}

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            try:
                await self.measure()
            except Exception:
                log.exception("drive_sizes_failed")
            await asyncio.sleep(self._interval)

    async def measure(self) -> None:
        """Measure every drive once."""
        drives = await self._db.read(lambda conn: documents.every(conn, DRIVES.name))
        sizes = {
            drive.id: -(-await asyncio.to_thread(self._files.size, drive.id) // MEGABYTE)
            for drive in drives
        }
        changed = [drive for drive in drives if self._told.get(drive.id) != sizes[drive.id]]
        if changed:
            await self._db.write(lambda conn: _tell(conn, changed, sizes))
        self._told = sizes


def _tell(conn: Connection, drives: list[Document], sizes: dict[str, int]) -> None:
    for drive in drives:
        known = documents.find(conn, drive.workspace, DRIVES.name, drive.name)
        if known is not None and known.id == drive.id:
            meter(conn, STORED, drive, sizes[drive.id])
