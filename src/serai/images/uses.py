"""Who uses an image: resources whose specification refers to it."""

from collections.abc import Iterator
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, select

from serai.images.names import refers, split_reference
from serai.images.records import ACTIVE, StoredImage
from serai.store.reach import unbounded
from serai.store.tables.documents import documents
from serai.store.tables.sharing import image_shares

KINDS = ("agent", "application", "function", "job", "sandbox")
ENDED = ("TERMINATED", "DELETING")


@unbounded("an image is in use wherever it is shared; of others only the workspace is told")
def users_of(conn: Connection, image: StoredImage, tag: str | None = None) -> list[str]:
    """Resources that use an image (or one tag of it), here and where it is shared.

    Each as ``kind name``; those of other workspaces only as the workspace.
    """
    found = _users(conn, image, image.workspace, tag)
    s = image_shares.c
    query = select(s.target).where(s.image_id == image.id, s.status == ACTIVE)
    for (target,) in conn.execute(query).all():
        if _users(conn, image, target, tag):
            found.append(f"workspace {target}")
    return found


def unused(conn: Connection, workspace: str, images: list[StoredImage]) -> list[StoredImage]:
    """Those of a workspace's own images that nothing in it refers to; one pass over all."""
    named: dict[str, set[str]] = {image.name: set() for image in images}
    for _, _, body in conn.execute(_candidates(workspace)):
        for reference in _references(msgspec.json.decode(body)["spec"]):
            name = split_reference(reference)[0].rpartition("/")[2]
            if name in named:
                named[name].add(reference)
    return [
        image
        for image in images
        if not any(
            refers(reference, workspace, image.resource_type, image.name)
            for reference in named[image.name]
        )
    ]


def _candidates(workspace: str) -> Select[Any]:
    c = documents.c
    return select(c.kind, c.name, c.body).where(
        c.workspace == workspace, c.kind.in_(KINDS), c.status.not_in(ENDED)
    )


def _users(conn: Connection, image: StoredImage, workspace: str, tag: str | None) -> list[str]:
    mentioned = documents.c.body.contains(image.name, autoescape=True)
    owners = {workspace, image.workspace}
    return [
        f"{kind} {name}"
        for kind, name, body in conn.execute(_candidates(workspace).where(mentioned))
        if any(
            refers(reference, owner, image.resource_type, image.name, tag)
            for reference in _references(msgspec.json.decode(body)["spec"])
            for owner in owners
        )
    ]


def _references(spec: dict[str, Any]) -> Iterator[str]:
    holders = [spec.get("runtime"), *(spec.get("revisions") or [])]
    for holder in holders:
        if isinstance(holder, dict) and isinstance(holder.get("image"), str):
            yield holder["image"]
