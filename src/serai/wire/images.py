"""Images of a workspace's registry, their tags, and sharing them.

Sizes are in bytes. ``size`` and counts have no default, so that zero is sent too.
"""

from typing import Literal

from serai.wire.common import CoreEvent, PageMeta, Status, Wire

ResourceType = Literal["agent", "application", "function", "job", "sandbox"]


class ImageTag(Wire):
    """One tag of an image."""

    name: str
    size: int
    created_at: str
    updated_at: str


class ImageMetadata(Wire):
    """``source_workspace`` is set when another workspace shares the image with this one."""

    name: str
    display_name: str
    resource_type: ResourceType
    workspace: str
    status: Status
    created_at: str
    updated_at: str
    last_deployed_at: str | None = None
    source_workspace: str | None = None


class ImageSpec(Wire):
    """All tags of an image, and their size together."""

    size: int
    tags: list[ImageTag]


class ImageSummarySpec(Wire):
    """How many tags an image has, and their size together."""

    size: int
    tag_count: int


class Image(Wire):
    """An image as versions before 2026-09-22 show it, and as changes answer it."""

    metadata: ImageMetadata
    spec: ImageSpec
    events: list[CoreEvent] | None = None


class ImageSummary(Wire):
    """An image as lists and gets show it from 2026-09-22 on."""

    metadata: ImageMetadata
    spec: ImageSummarySpec
    events: list[CoreEvent] | None = None


class ImagePage(Wire):
    """A page of images."""

    data: list[ImageSummary]
    meta: PageMeta


class ImageTagPage(Wire):
    """A page of tags."""

    data: list[ImageTag]
    meta: PageMeta


class CreateImage(Wire):
    """A request to register or build an image.

    ``image`` is the reference to register; without it the image would be built from uploaded
    source. ``tag`` is the tag to give; the reference's own, or ``latest``, when absent.
    ``docker_config`` holds credentials of a registry: it is never stored.
    """

    name: str
    resource_type: str
    image: str | None = None
    tag: str | None = None
    generation: str | None = None
    docker_config: str | None = None


class CreateImageAnswer(Wire):
    """What became of the request."""

    message: str
    name: str
    resource_type: ResourceType
    image: str | None = None
    build: bool | None = None


class CleanupAnswer(Wire):
    """How many images a cleanup removed."""

    deleted: int
    message: str


class ShareImage(Wire):
    """Whom to share an image with; ``target_account_id`` is needed for another account."""

    target_workspace: str
    target_account_id: str | None = None


class ImageShareTarget(Wire):
    """One share: ``active``, or ``pending`` until an admin of the other account accepts it."""

    workspace: str
    account_id: str
    status: Literal["active", "pending"]
    workspace_display_name: str | None = None
    account_owner_email: str | None = None
    pending_share_id: str | None = None


class PendingImageShare(Wire):
    """A share with another account that waits for an answer."""

    id: str
    image_name: str
    resource_type: ResourceType
    source_workspace: str
    source_account_id: str
    target_workspace: str
    target_account_id: str
    shared_by: str
    created_at: str
    created_by: str
    expires_at: str


class PendingImageShareView(Wire):
    """A pending share as lists show it."""

    id: str
    image_name: str
    resource_type: ResourceType
    source_workspace: str
    source_workspace_display_name: str
    source_account_id: str
    target_workspace: str
    target_workspace_display_name: str
    target_account_id: str
    shared_by: str
    shared_by_email: str
    created_at: str
    expires_at: str
    has_conflict: bool
