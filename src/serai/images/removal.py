"""Removing images and tags, as long as nothing uses them."""

from sqlalchemy import Connection, select

from serai.images import records
from serai.images.names import image_not_found
from serai.images.records import StoredImage
from serai.images.shares import unshare
from serai.images.uses import unused, users_of
from serai.images.views import image_views
from serai.kernel.errors import BadRequest, Forbidden, NotFound
from serai.store.tables.sharing import image_shares, images
from serai.wire.images import Image

UNFINISHED = frozenset({"UPLOADING", "BUILDING", "DEPLOYING"})


def remove(conn: Connection, image: StoredImage, workspace: str) -> Image:
    """Delete an image, or in a workspace that it is shared with end that share.

    Raises:
        BadRequest: something uses it.
    """
    view = image_views(conn, [image], workspace)[0]
    if image.workspace != workspace:
        unshare(conn, image, workspace)
        return view
    _refuse_used(conn, image, None)
    records.drop(conn, image)
    return view


def remove_tag(conn: Connection, image: StoredImage, workspace: str, tag: str) -> Image:
    """Delete a tag; with the last one the image goes too, and is answered as it was.

    Raises:
        NotFound: no such tag.
        Forbidden: the image is another workspace's.
        BadRequest: something uses the tag.
    """
    if image.workspace != workspace:
        raise Forbidden(
            f"Image {image.name!r} is shared by workspace {image.workspace!r} and read-only here."
        )
    names = [known.name for known in records.tags_of(conn, [image.id])[image.id]]
    if tag not in names:
        raise NotFound(
            f"{image_not_found(image.resource_type, f'{image.name}:{tag}').message}",
            code="IMAGE_TAG_NOT_FOUND",
        )
    _refuse_used(conn, image, tag)
    if names == [tag]:
        return remove(conn, image, workspace)
    records.drop_tag(conn, image, tag)
    return image_views(conn, [image], workspace)[0]


def cleanup(conn: Connection, workspace: str) -> int:
    """Delete the workspace's own images that nothing uses and nobody shares; returns how many."""
    c = image_shares.c
    own_images = select(images.c.id).where(images.c.workspace == workspace)
    shared = set(conn.execute(select(c.image_id).where(c.image_id.in_(own_images))).scalars())
    own = [
        image
        for image in records.every(conn, workspace, own=True)
        if image.id not in shared and image.status not in UNFINISHED
    ]
    gone = unused(conn, workspace, own)
    for image in gone:
        records.drop(conn, image)
    return len(gone)


def _refuse_used(conn: Connection, image: StoredImage, tag: str | None) -> None:
    users = users_of(conn, image, tag)
    if users:
        what = f"{image.name}:{tag}" if tag else image.name
        raise BadRequest(
            f"Image {what!r} is in use by {', '.join(users[:5])}"
            f"{' and others' if len(users) > 5 else ''}; delete or change them first.",
            code="IMAGE_IN_USE",
        )
