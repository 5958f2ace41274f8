"""Images as clients see them."""

from sqlalchemy import Connection

from serai.images.records import StoredImage, StoredTag, sizes_of, tags_of
from serai.wire.images import (
    Image,
    ImageMetadata,
    ImageSpec,
    ImageSummary,
    ImageSummarySpec,
    ImageTag,
)


def tag_view(tag: StoredTag) -> ImageTag:
    """A tag without what only the platform knows."""
    return ImageTag(
        name=tag.name, size=tag.size, created_at=tag.created_at, updated_at=tag.updated_at
    )


def metadata_view(image: StoredImage, workspace: str) -> ImageMetadata:
    """Metadata as a workspace sees it that owns the image or got it shared."""
    shared = image.workspace != workspace
    return ImageMetadata(
        name=image.name,
        display_name=f"{image.workspace}/{image.name}",
        resource_type=image.resource_type,
        workspace=workspace,
        status=image.status,
        created_at=image.created_at,
        updated_at=image.updated_at,
        last_deployed_at=image.deployed_at,
        source_workspace=image.workspace if shared else None,
    )


def image_views(conn: Connection, images: list[StoredImage], workspace: str) -> list[Image]:
    """Images with all their tags."""
    tags = tags_of(conn, [image.id for image in images])
    return [
        Image(
            metadata=metadata_view(image, workspace),
            spec=ImageSpec(
                size=sum(tag.size for tag in tags[image.id]),
                tags=[tag_view(tag) for tag in tags[image.id]],
            ),
        )
        for image in images
    ]


def summary_views(
    conn: Connection, images: list[StoredImage], workspace: str
) -> list[ImageSummary]:
    """Images with the number of their tags."""
    sizes = sizes_of(conn, [image.id for image in images])
    return [
        ImageSummary(
            metadata=metadata_view(image, workspace),
            spec=ImageSummarySpec(tag_count=sizes[image.id][0], size=sizes[image.id][1]),
        )
        for image in images
    ]
