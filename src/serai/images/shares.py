"""Sharing images with other workspaces: at once within an account, after a yes across accounts."""

from datetime import timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from serai.identity.principal import Principal
from serai.images.records import ACTIVE, PENDING, StoredImage, by_id, find
from serai.kernel.clock import now, rfc3339
from serai.kernel.errors import BadRequest, Conflict, NotFound, SeraiError
from serai.kernel.ids import new_uuid
from serai.resources.tenants import account_owner_email, find_tenant, need_tenant
from serai.store.reach import unbounded
from serai.store.tables.sharing import image_shares, images
from serai.wire.images import ImageShareTarget, PendingImageShare, PendingImageShareView

SHARED = "a share is between two workspaces, neither of which reaches the other"
LIFETIME = timedelta(days=7)
"""How long a pending share waits for an answer."""


class Gone(SeraiError):
    """It was here, and its time is over (410)."""

    status = 410
    code = "GONE"


class StoredShare(msgspec.Struct, frozen=True, kw_only=True):
    """A share; ``expires_at`` only while it is pending."""

    id: str
    image_id: str
    target: str
    target_account_id: str
    status: str
    shared_by: str
    shared_by_email: str
    created_at: str
    expires_at: str | None

    @property
    def expired(self) -> bool:
        """Whether it waited too long for an answer."""
        return self.expires_at is not None and self.expires_at <= rfc3339(now())


COLUMNS = [image_shares.c[name] for name in StoredShare.__struct_fields__]


def _find(conn: Connection, *conditions: Any) -> list[StoredShare]:
    query = select(*COLUMNS).where(*conditions).order_by(image_shares.c.created_at.desc())
    names = StoredShare.__struct_fields__
    return [StoredShare(**dict(zip(names, row, strict=True))) for row in conn.execute(query)]


@unbounded(SHARED)
def share(
    conn: Connection,
    image: StoredImage,
    by: Principal,
    target: str,
    target_account: str | None,
) -> StoredShare:
    """Share an image with a workspace; repeating it changes nothing.

    The share is pending when the workspace is another account's, which must be named then: who
    cannot name it learns nothing about the workspace.

    Raises:
        BadRequest: the target is the image's own workspace.
        NotFound: no such workspace, or not in that account.
        Conflict: the target has an image of the same name.
    """
    if target == image.workspace:
        raise BadRequest("targetWorkspace is the image's own workspace: name another one.")
    own_account = need_tenant(conn, image.workspace).account_id
    tenant = need_tenant(conn, target, target_account or own_account)
    for known in _find(conn, image_shares.c.image_id == image.id, image_shares.c.target == target):
        if not known.expired:
            return known
        conn.execute(delete(image_shares).where(image_shares.c.id == known.id))
    pending = tenant.account_id != own_account
    if not pending:
        _refuse_conflict(conn, image, target)
    made = StoredShare(
        id=new_uuid(),
        image_id=image.id,
        target=target,
        target_account_id=tenant.account_id,
        status=PENDING if pending else ACTIVE,
        shared_by=by.subject,
        shared_by_email=by.email,
        created_at=rfc3339(now()),
        expires_at=rfc3339(now() + LIFETIME) if pending else None,
    )
    conn.execute(insert(image_shares).values(msgspec.structs.asdict(made)))
    return made


def unshare(conn: Connection, image: StoredImage, target: str) -> None:
    """End a share, pending or active.

    Raises:
        NotFound: there is none with that workspace.
    """
    s = image_shares.c
    gone = conn.execute(
        delete(image_shares).where(s.image_id == image.id, s.target == target)
    ).rowcount
    if not gone:
        raise NotFound(
            f"Image {image.name!r} is not shared with {target[:80]!r}.", code="SHARE_NOT_FOUND"
        )


@unbounded(SHARED)
def targets_of(conn: Connection, image: StoredImage) -> list[ImageShareTarget]:
    """Everybody an image is shared with; pending shares that expired are left out."""
    return [
        _target(conn, one)
        for one in _find(conn, image_shares.c.image_id == image.id)
        if not one.expired
    ]


def _target(conn: Connection, one: StoredShare) -> ImageShareTarget:
    tenant = find_tenant(conn, one.target)
    pending = one.status == PENDING
    return ImageShareTarget(
        workspace=one.target,
        account_id=one.target_account_id,
        status="pending" if pending else "active",
        # What the other account calls itself is its own until it has accepted.
        workspace_display_name=tenant.display_name if tenant and not pending else None,
        account_owner_email=(None if pending else account_owner_email(conn, one.target_account_id)),
        pending_share_id=one.id if pending else None,
    )


@unbounded(SHARED)
def accept(conn: Connection, share_id: str, workspace: str, *, force: bool) -> StoredImage:
    """Activate a share that waits for this workspace's answer.

    With ``force`` also when the workspace has an image of the same name: its own comes first
    then, and ``sourceWorkspace`` asks for the shared one.

    Raises:
        NotFound: no such share waits for this workspace.
        Gone: it has expired.
        Conflict: the workspace has an image of the same name.
    """
    one = _need_pending(conn, share_id, workspace)
    if one.expired:
        raise Gone(f"The image share {share_id!r} expired on {one.expires_at}; ask for a new one.")
    image = by_id(conn, one.image_id)
    assert image is not None
    if not force:
        _refuse_conflict(conn, image, workspace)
    change = {"status": ACTIVE, "expires_at": None}
    conn.execute(update(image_shares).where(image_shares.c.id == one.id).values(change))
    return image


def decline(conn: Connection, share_id: str, workspace: str) -> None:
    """Refuse a share that waits for this workspace's answer.

    Raises:
        NotFound: no such share waits for this workspace.
    """
    one, s = _need_pending(conn, share_id, workspace), image_shares.c
    conn.execute(delete(image_shares).where(s.id == one.id, s.target == workspace))


@unbounded(SHARED)
def pending_shares(
    conn: Connection, workspace: str, *, outgoing: bool
) -> list[PendingImageShareView]:
    """Shares that wait for this workspace's answer, or for another's to this one's images."""
    s = image_shares.c
    own = select(images.c.id).where(images.c.workspace == workspace)
    side = s.image_id.in_(own) if outgoing else s.target == workspace
    found = _find(conn, s.status == PENDING, side)
    return [_view(conn, one) for one in found if not one.expired]


@unbounded(SHARED)
def pending_view(conn: Connection, one: StoredShare) -> PendingImageShare:
    """A pending share as the answer to sharing."""
    image, source_account = _origin(conn, one)
    return PendingImageShare(
        id=one.id,
        image_name=image.name,
        resource_type=image.resource_type,
        source_workspace=image.workspace,
        source_account_id=source_account,
        target_workspace=one.target,
        target_account_id=one.target_account_id,
        shared_by=one.shared_by,
        created_at=one.created_at,
        created_by=one.shared_by_email,
        expires_at=one.expires_at or "",
    )


def _view(conn: Connection, one: StoredShare) -> PendingImageShareView:
    image, source_account = _origin(conn, one)
    source, target = find_tenant(conn, image.workspace), find_tenant(conn, one.target)
    clash = find(conn, one.target, image.resource_type, image.name) is not None
    return PendingImageShareView(
        id=one.id,
        image_name=image.name,
        resource_type=image.resource_type,
        source_workspace=image.workspace,
        source_workspace_display_name=source.display_name if source else image.workspace,
        source_account_id=source_account,
        target_workspace=one.target,
        target_workspace_display_name=target.display_name if target else one.target,
        target_account_id=one.target_account_id,
        shared_by=one.shared_by,
        shared_by_email=one.shared_by_email,
        created_at=one.created_at,
        expires_at=one.expires_at or "",
        has_conflict=clash,
    )


def _origin(conn: Connection, one: StoredShare) -> tuple[StoredImage, str]:
    image = by_id(conn, one.image_id)
    assert image is not None
    return image, need_tenant(conn, image.workspace).account_id


def _need_pending(conn: Connection, share_id: str, workspace: str) -> StoredShare:
    s = image_shares.c
    for one in _find(conn, s.id == share_id, s.target == workspace, s.status == PENDING):
        return one
    raise NotFound(
        f"No pending image share {share_id[:80]!r} waits for this workspace.",
        code="PENDING_IMAGE_SHARE_NOT_FOUND",
    )


def _refuse_conflict(conn: Connection, image: StoredImage, target: str) -> None:
    if find(conn, target, image.resource_type, image.name) is not None:
        raise Conflict(
            f"Workspace {target!r} has a {image.resource_type} image {image.name!r} already.",
            code="IMAGE_CONFLICT",
        )
