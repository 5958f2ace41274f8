"""Which built images stay: those that something uses, and the newest ones of each resource."""

from collections.abc import Callable

import structlog
from sqlalchemy import Connection, select

from serai.build import records
from serai.build.records import BuildRow
from serai.images import records as image_records
from serai.kernel.repeating import again_and_again
from serai.runtime.making import Making
from serai.store.database import Database
from serai.store.reach import unbounded
from serai.store.tables.documents import document_revisions, documents

EVERY_SECONDS = 3600.0
CACHED_SECONDS = 30 * 86400.0
CACHED_MOST = 50
"""Layers of dependencies: how long they stay unused, and how many."""
log = structlog.get_logger(__name__)


class Collector:
    """Removes built images by the policy.

    Args:
        making: where they are; None where no images are made.
        kept: how many builds of each resource stay, whether they are used or not.
    """

    def __init__(self, db: Database, making: Callable[[], Making | None], kept: int) -> None:
        self._db = db
        self._making = making
        self._kept = kept

    async def run(self) -> None:
        """Collect from time to time, until cancelled."""
        await again_and_again(self.collect, EVERY_SECONDS, "collecting_images_failed")

    async def collect(self) -> None:
        """Remove what the policy does not keep."""
        making = self._making()
        if making is None:
            return
        gone = await self._db.write(self._forget)
        for reference in gone:
            await making.forget(reference)
        await making.expire(CACHED_SECONDS, CACHED_MOST)
        freed = await making.prune()
        if gone:
            log.info("built_images_removed", count=len(gone), bytes=freed)

    def _forget(self, conn: Connection) -> list[str]:
        """Take names of images away that are not kept; references that go with them."""
        rows = [row for row in records.with_status(conn, "BUILT") if row.image]
        newest: dict[tuple[str, str, str], int] = {}
        gone = []
        for row in sorted(rows, key=lambda each: each.finished_at or "", reverse=True):
            key = (row.workspace, row.resource_type, row.name)
            has_tag = _has_tag(conn, row)
            newest[key] = newest.get(key, 0) + has_tag
            if has_tag and (newest[key] <= self._kept or _is_used(conn, row)):
                continue
            if has_tag:
                _drop_tag(conn, row)
            records.change(conn, row.id, image="")
            gone.append(row.image)
        return gone


def _has_tag(conn: Connection, row: BuildRow) -> bool:
    """Whether a build's image has its name still: a client may have deleted it."""
    image = image_records.find(conn, row.workspace, row.resource_type, row.name, row.workspace)
    if image is None:
        return False
    tags = image_records.tags_of(conn, [image.id])[image.id]
    return any(tag.reference == row.image for tag in tags)


def _drop_tag(conn: Connection, row: BuildRow) -> None:
    image = image_records.find(conn, row.workspace, row.resource_type, row.name, row.workspace)
    assert image is not None
    image_records.drop_tag(conn, image, row.id)
    if not image_records.tags_of(conn, [image.id])[image.id]:
        image_records.drop(conn, image)


@unbounded("an image is in use wherever it is named; nobody is told where")
def _is_used(conn: Connection, row: BuildRow) -> bool:
    """Whether a resource or one of its revisions names the image: ids of builds are unique."""
    for column in (documents.c.body, document_revisions.c.spec):
        query = select(column).where(column.contains(f":{row.id}", autoescape=True)).limit(1)
        if conn.execute(query).first() is not None:
            return True
    return False
