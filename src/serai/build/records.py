"""Builds as rows: functions of a Connection.

``status``: ``UPLOADING`` (code is awaited), ``QUEUED``, ``BUILDING``, ``BUILT``, ``FAILED``, or
``CANCELLED`` (newer code came, or its resource was deleted).
"""

from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from serai.store.reach import unbounded
from serai.store.tables.builds import builds

BuildStatus = Literal["UPLOADING", "QUEUED", "BUILDING", "BUILT", "FAILED", "CANCELLED"]
OPEN: tuple[BuildStatus, ...] = ("UPLOADING", "QUEUED", "BUILDING")
KEPT = 50
"""Rows of ended builds of one resource; older ones are forgotten."""


class BuildRow(msgspec.Struct, frozen=True, kw_only=True):
    """One build.

    Attributes:
        id: also the tag of its image.
        resource_type: as images know it: ``agent``, ``function``, ``job``, ``application`` or
            ``sandbox``.
        document_id: of the resource; empty where only an image is wanted.
        revision: of the resource that waits for the image; empty where it has none.
        message: what went wrong, or what is going on, for people.
        options: JSON of ``serai.build.options.Options``.
        digest, size: of the uploaded archive; SHA-256 in hexadecimal.
        image, image_size: what was built: its reference for the runtime, and bytes.
        attempt: how often it was begun.
        expires_at: until when code is awaited.
    """

    id: str
    workspace: str
    resource_type: str
    name: str
    document_id: str
    revision: str
    status: BuildStatus
    message: str = ""
    options: str = "{}"
    digest: str = ""
    size: int = 0
    image: str = ""
    image_size: int = 0
    attempt: int = 0
    created_at: str
    expires_at: str
    uploaded_at: str | None = None
    started_at: str | None = None
    finished_at: str | None = None


FIELDS = BuildRow.__struct_fields__
COLUMNS = [builds.c[name] for name in FIELDS]


def _rows(found: Any) -> list[BuildRow]:
    return [BuildRow(**dict(zip(FIELDS, row, strict=True))) for row in found]


def add(conn: Connection, row: BuildRow) -> None:
    """Insert a row, and forget the oldest ended ones of the same resource."""
    conn.execute(insert(builds).values({name: getattr(row, name) for name in FIELDS}))
    ended = [one for one in of_resource(conn, row) if one.status not in OPEN]
    gone = [one.id for one in ended[KEPT:]]
    if gone:
        c = builds.c
        conn.execute(delete(builds).where(c.workspace == row.workspace, c.id.in_(gone)))


def get(conn: Connection, build_id: str) -> BuildRow | None:
    """A row by its id, which nobody can guess."""
    found = _rows(conn.execute(select(*COLUMNS).where(builds.c.id == build_id)))
    return found[0] if found else None


def change(conn: Connection, build_id: str, **values: Any) -> None:
    """Set some columns of a row."""
    conn.execute(update(builds).where(builds.c.id == build_id).values(values))


def of_resource(conn: Connection, like: BuildRow) -> list[BuildRow]:
    """All builds of the resource of a row, newest first."""
    return of_name(conn, like.workspace, like.resource_type, like.name)


def of_name(conn: Connection, workspace: str, resource_type: str, name: str) -> list[BuildRow]:
    """All builds of a name, newest first."""
    c = builds.c
    mine = (c.workspace == workspace, c.resource_type == resource_type, c.name == name)
    query = select(*COLUMNS).where(*mine).order_by(c.created_at.desc(), c.id.desc())
    return _rows(conn.execute(query))


@unbounded("the queue serves every workspace in turn")
def with_status(conn: Connection, *statuses: BuildStatus) -> list[BuildRow]:
    """Every build with one of these statuses, the one uploaded first first."""
    c = builds.c
    query = select(*COLUMNS).where(c.status.in_(statuses)).order_by(c.uploaded_at, c.id)
    return _rows(conn.execute(query))
