"""Registering an image: what this installation can do with a request to create one."""

from collections.abc import Callable

import msgspec
from sqlalchemy import Connection

from serai.images import records
from serai.images.names import DEFAULT_TAG, split_reference, wanted_tag, wanted_type
from serai.images.records import StoredImage
from serai.kernel.errors import BadRequest, Conflict
from serai.kernel.names import check_name
from serai.runtime.port import ImageInfo
from serai.wire.images import CreateImage, CreateImageAnswer

NOT_AVAILABLE = "NOT_AVAILABLE"


class Provided(msgspec.Struct, frozen=True):
    """What the runtime can start: images that it knows, and those of registries it may ask."""

    infos: Callable[[], list[ImageInfo]]
    allows: Callable[[str], bool]


def register(
    conn: Connection, workspace: str, wanted: CreateImage, provided: Provided
) -> CreateImageAnswer:
    """Give a reference that the runtime provides a name and a tag in the workspace.

    Raises:
        BadRequest: name, type or tag break a rule.
        Conflict: this installation would have to build the image, or may not fetch it, or the tag
            is taken.
    """
    name = check_name(wanted.name, "name")
    resource_type = wanted_type(wanted.resource_type)
    explicit = wanted_tag(wanted.tag) if wanted.tag else None
    info = _provided_image(wanted.image, provided)
    reference = info.reference
    tag = explicit or split_reference(reference)[1] or DEFAULT_TAG
    if explicit is not None:
        _refuse_taken(conn, workspace, resource_type, name, tag)
    records.register(conn, workspace, resource_type, name, tag, reference, size=info.size)
    return CreateImageAnswer(
        message=f"Registered {reference} as {resource_type}/{name}:{tag}; nothing was built.",
        name=name,
        resource_type=resource_type,
        image=reference,
        build=False,
    )


def _provided_image(image: str | None, provided: Provided) -> ImageInfo:
    known = {info.reference: info for info in provided.infos()}
    choice = f"register one that it provides: {', '.join(known) or '(none)'}"
    if not image:
        raise BadRequest(
            "image is missing: name the one to register, or send upload=true to have it built "
            "from code that you upload."
        )
    repository, tag = split_reference(image)
    full = f"{repository}:{tag or DEFAULT_TAG}"
    if full in known:
        return known[full]
    if provided.allows(image):
        return ImageInfo(reference=image if "@" in image else full, state="available")
    raise Conflict(
        f"image {image[:200]!r}: this installation does not fetch images from that registry (the "
        f"setting image_registries names those that it asks); {choice}.",
        code=NOT_AVAILABLE,
    )


def _refuse_taken(
    conn: Connection, workspace: str, resource_type: str, name: str, tag: str
) -> None:
    image: StoredImage | None = records.find(conn, workspace, resource_type, name, workspace)
    if image is None:
        return
    if any(known.name == tag for known in records.tags_of(conn, [image.id])[image.id]):
        raise Conflict(
            f"tag {tag!r} of {resource_type} image {name!r} exists, and tags do not change; "
            "use another one.",
            code="IMAGE_TAG_ALREADY_EXISTS",
        )
