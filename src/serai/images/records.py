"""Images and tags as rows: functions of a Connection."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, or_, select, update

from serai.api.pages import PageQuery
from serai.images.charges import charge
from serai.kernel.clock import now, rfc3339
from serai.kernel.ids import token
from serai.runtime.making import BUILT
from serai.store.tables.sharing import image_shares, image_tags, images

ACTIVE = "active"
PENDING = "pending"


class StoredImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image of a workspace's registry."""

    id: str
    workspace: str
    resource_type: Any
    name: str
    status: Any
    created_at: str
    updated_at: str
    deployed_at: str | None


class StoredTag(msgspec.Struct, frozen=True, kw_only=True):
    """A tag, and the reference that the runtime is given for it."""

    image_id: str
    name: str
    reference: str
    size: int
    created_at: str
    updated_at: str


class Rows(msgspec.Struct, frozen=True):
    """One page of rows, whether more follow, and the position of the last one."""

    rows: list[Any]
    more: bool
    last: list[str]
    total: int


IMAGE = [images.c[name] for name in StoredImage.__struct_fields__]
TAG = [image_tags.c[name] for name in StoredTag.__struct_fields__]


def _images(rows: Sequence[Any]) -> list[StoredImage]:
    names = StoredImage.__struct_fields__
    return [StoredImage(**dict(zip(names, row, strict=True))) for row in rows]


def _tags(rows: Sequence[Any]) -> list[StoredTag]:
    names = StoredTag.__struct_fields__
    return [StoredTag(**dict(zip(names, row, strict=True))) for row in rows]


def visible(workspace: str) -> ColumnElement[bool]:
    """A workspace sees its own images and those that are shared with it."""
    s = image_shares.c
    shared = select(s.image_id).where(s.target == workspace, s.status == ACTIVE)
    return or_(images.c.workspace == workspace, images.c.id.in_(shared))


def find(
    conn: Connection,
    workspace: str,
    resource_type: str | None,
    name: str,
    source: str | None = None,
) -> StoredImage | None:
    """The image of that name: the workspace's own first, then one shared with it.

    ``source`` asks for the one of that workspace, ``resource_type`` ``None`` for any type.
    """
    c = images.c
    query = select(*IMAGE).where(visible(workspace), c.name == name)
    if resource_type is not None:
        query = query.where(c.resource_type == resource_type)
    if source is not None:
        query = query.where(c.workspace == source)
    query = query.order_by(c.workspace != workspace, c.updated_at.desc(), c.id).limit(1)
    found = _images(conn.execute(query).all())
    return found[0] if found else None


def by_id(conn: Connection, image_id: str) -> StoredImage | None:
    """The image with that id."""
    found = _images(conn.execute(select(*IMAGE).where(images.c.id == image_id)).all())
    return found[0] if found else None


def every(conn: Connection, workspace: str, *, own: bool = False) -> list[StoredImage]:
    """All images that a workspace sees, or only its own; newest first."""
    c = images.c
    condition = c.workspace == workspace if own else visible(workspace)
    query = select(*IMAGE).where(condition).order_by(c.created_at.desc(), c.id.desc())
    return _images(conn.execute(query).all())


def page(
    conn: Connection, workspace: str, query: PageQuery, after: list[str] | None, size: int
) -> Rows:
    """One page of the images that a workspace sees; rows are StoredImage."""
    c = images.c
    within = [visible(workspace)]
    found = _page(conn, IMAGE, c[query.column], c.id, within, c.name, query, after, size)
    return msgspec.structs.replace(found, rows=_images(found.rows))


def tag_page(
    conn: Connection,
    image_id: str,
    query: PageQuery,
    name: str | None,
    after: list[str] | None,
    size: int,
) -> Rows:
    """One page of an image's tags, or the tag of that name; rows are StoredTag."""
    c = image_tags.c
    within = [c.image_id == image_id]
    if name is not None:
        within.append(c.name == name)
    found = _page(conn, TAG, c[query.column], c.name, within, c.name, query, after, size)
    return msgspec.structs.replace(found, rows=_tags(found.rows))


def _page(
    conn: Connection,
    columns: list[Any],
    key: Any,
    identity: Any,
    within: list[ColumnElement[bool]],
    searched: Any,
    query: PageQuery,
    after: list[str] | None,
    size: int,
) -> Rows:
    descending = query.descending != query.from_end
    conditions = list(within)
    if query.q:
        conditions.append(func.lower(searched).contains(query.q, autoescape=True))
    if after is not None:
        value, last = after
        if descending:
            conditions.append(or_(key < value, and_(key == value, identity < last)))
        else:
            conditions.append(or_(key > value, and_(key == value, identity > last)))
    order = (key.desc(), identity.desc()) if descending else (key.asc(), identity.asc())
    statement = select(*columns, key, identity).where(*conditions).order_by(*order)
    rows = list(conn.execute(statement.limit(size + 1)))
    total = conn.execute(select(func.count()).select_from(key.table).where(*within)).scalar_one()
    more, rows = len(rows) > size, rows[:size]
    width = len(columns)
    last_position = [str(rows[-1][width]), str(rows[-1][width + 1])] if rows else []
    if query.from_end:
        rows.reverse()
    return Rows([row[:width] for row in rows], more, last_position, total)


def tags_of(conn: Connection, image_ids: Sequence[str]) -> dict[str, list[StoredTag]]:
    """All tags of some images, by image, in order of their names."""
    found: dict[str, list[StoredTag]] = {image_id: [] for image_id in image_ids}
    c = image_tags.c
    for start in range(0, len(image_ids), 500):
        some = image_ids[start : start + 500]
        query = select(*TAG).where(c.image_id.in_(some)).order_by(c.name)
        for tag in _tags(conn.execute(query).all()):
            found[tag.image_id].append(tag)
    return found


def sizes_of(conn: Connection, image_ids: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Number of tags and their size together, by image."""
    c = image_tags.c
    query = select(c.image_id, func.count(), func.sum(c.size)).where(c.image_id.in_(image_ids))
    rows = conn.execute(query.group_by(c.image_id))
    found = {image_id: (count, int(size)) for image_id, count, size in rows}
    return {image_id: found.get(image_id, (0, 0)) for image_id in image_ids}


def register(
    conn: Connection,
    workspace: str,
    resource_type: str,
    name: str,
    tag: str,
    reference: str,
    *,
    size: int,
    status: str = "BUILT",
) -> StoredImage:
    """Give an image of the workspace a tag, making the image when it is new.

    A tag that is there already then means the new reference.
    """
    c, t, moment = images.c, image_tags.c, rfc3339(now())
    own = (c.workspace == workspace, c.resource_type == resource_type, c.name == name)
    image_id = conn.execute(select(c.id).where(*own)).scalar()
    if image_id is None:
        image_id = token(16)
        key = {"id": image_id, "workspace": workspace, "resource_type": resource_type}
        stamp = {"created_at": moment, "updated_at": moment}
        conn.execute(insert(images).values(key | stamp | {"name": name, "status": status}))
    else:
        change = {"updated_at": moment, "status": status}
        conn.execute(update(images).where(c.id == image_id, *own).values(change))
    fields = {"reference": reference, "size": size, "updated_at": moment}
    known = update(image_tags).where(t.image_id == image_id, t.name == tag).values(fields)
    if not conn.execute(known).rowcount:
        fields |= {"image_id": image_id, "name": tag, "created_at": moment}
        conn.execute(insert(image_tags).values(fields))
    stored = _images(conn.execute(select(*IMAGE).where(*own)).all())[0]
    charge(conn, stored, built_bytes(conn, image_id))
    return stored


def put_status(
    conn: Connection, workspace: str, resource_type: str, name: str, status: str, *, make: bool
) -> None:
    """Note how far the newest build of an image is; ``make`` makes an image that is new."""
    c, moment = images.c, rfc3339(now())
    own = (c.workspace == workspace, c.resource_type == resource_type, c.name == name)
    change = {"updated_at": moment, "status": status}
    if conn.execute(update(images).where(*own).values(change)).rowcount or not make:
        return
    key = {"id": token(16), "workspace": workspace, "resource_type": resource_type, "name": name}
    conn.execute(insert(images).values(key | change | {"created_at": moment}))


def built_bytes(conn: Connection, image_id: str) -> int:
    """Bytes that the builds of an image take; what is only registered is stored elsewhere."""
    c = image_tags.c
    mine = (c.image_id == image_id, c.reference.startswith(f"{BUILT}/", autoescape=True))
    return int(conn.execute(select(func.coalesce(func.sum(c.size), 0)).where(*mine)).scalar_one())


def drop(conn: Connection, image: StoredImage) -> None:
    """Delete an image with its tags and shares."""
    c = images.c
    charge(conn, image, 0)
    conn.execute(delete(images).where(c.id == image.id, c.workspace == image.workspace))


def drop_tag(conn: Connection, image: StoredImage, tag: str) -> None:
    """Delete a tag."""
    c = image_tags.c
    conn.execute(delete(image_tags).where(c.image_id == image.id, c.name == tag))
    charge(conn, image, built_bytes(conn, image.id))
