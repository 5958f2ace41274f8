"""Images over HTTP."""

from typing import Any, Protocol, get_args

import msgspec
from litestar import Response, delete, get, post
from litestar.types import ControllerRouterHandler
from sqlalchemy import Connection

from serai.api.exchange import AnyRequest, decode_body, flag, json_response
from serai.api.pages import LIMIT_DEFAULT, PageQuery, parse_page_query
from serai.api.versions import at_least
from serai.identity.caller import caller_of
from serai.images import records
from serai.images.names import PLURALS, image_not_found, wanted_type
from serai.images.records import Rows, StoredImage
from serai.images.registration import Provided, register
from serai.images.removal import cleanup, remove, remove_tag
from serai.images.views import image_views, summary_views, tag_view
from serai.kernel.names import check_name
from serai.resources.operations import ResourceContext
from serai.resources.uploading import HEADER
from serai.wire.common import CoreEvent, PageMeta, Status
from serai.wire.images import (
    CleanupAnswer,
    CreateImage,
    CreateImageAnswer,
    Image,
    ImagePage,
    ImageSummary,
    ImageTagPage,
    ResourceType,
)

IMAGE_PAGES_SINCE = "2026-09-22"
"""From this version on the list is a page, and images are shown without their tags."""
ANY_TYPE = "_"
STATUSES: tuple[str, ...] = get_args(Status)


class ImageBuilds(Protocol):
    """Builds of images that no resource waits for."""

    def announce(
        self, conn: Connection, workspace: str, resource_type: ResourceType, name: str
    ) -> str:
        """Wait for the code of an image; answers where it is sent to."""

    def events(
        self, conn: Connection, workspace: str, resource_type: str, name: str
    ) -> list[CoreEvent]:
        """How the newest build of an image went, oldest first."""


def image_operations(
    context: ResourceContext, provided: Provided, builds: ImageBuilds
) -> list[ControllerRouterHandler]:
    """Operations on images and tags; see ``share_operations`` for sharing."""
    return [
        *_reads(context, builds),
        _tags(context),
        _create(context, provided, builds),
        *_deletes(context),
    ]


def need(
    conn: Connection, workspace: str, resource_type: str, name: str, source: str | None = None
) -> StoredImage:
    """The image that a path names; the type ``_`` stands for any.

    Raises:
        NotFound: the workspace sees no such image.
    """
    known = PLURALS.get(resource_type)
    found = None
    if known is not None or resource_type == ANY_TYPE:
        found = records.find(conn, workspace, known, name, source)
    if found is None:
        raise image_not_found(None if resource_type == ANY_TYPE else resource_type, name)
    return found


def image_answer(image: Image | ImageSummary) -> Response[bytes]:
    """One image as JSON."""
    return json_response(msgspec.json.encode(image))


def _reads(context: ResourceContext, builds: ImageBuilds) -> list[ControllerRouterHandler]:
    db = context.db

    @get(
        "/v0/images",
        operation_id="ListImages",
        opt={"body": None, "answer": ImagePage, "paged": IMAGE_PAGES_SINCE},
    )
    async def list_images(request: AnyRequest) -> Response[bytes]:
        workspace = caller_of(request).workspace
        params, version = request.query_params, request.state["version"]
        if not at_least(version, IMAGE_PAGES_SINCE):
            return json_response(
                await db.read(
                    lambda conn: msgspec.json.encode(
                        image_views(conn, records.every(conn, workspace), workspace)
                    )
                )
            )
        query = parse_page_query(params, STATUSES)
        scope = query.fingerprint(f"{workspace}/image")
        after, size = _position(context, scope, query)

        def read(conn: Connection) -> bytes:
            rows = records.page(conn, workspace, query, after, size)
            data = summary_views(conn, rows.rows, workspace)
            return msgspec.json.encode(
                ImagePage(data=data, meta=_meta(context, scope, query, rows))
            )

        return json_response(await db.read(read))

    @get(
        "/v0/images/{resource_type:str}/{name:str}",
        operation_id="GetImage",
        opt={"body": None, "answer": ImageSummary, "query": {"sourceWorkspace": str}},
    )
    async def get_image(request: AnyRequest, resource_type: str, name: str) -> Response[bytes]:
        workspace = caller_of(request).workspace
        source = request.query_params.get("sourceWorkspace") or None
        brief = at_least(request.state["version"], IMAGE_PAGES_SINCE)

        def read(conn: Connection) -> Image | ImageSummary:
            found = [need(conn, workspace, resource_type, name, source)]
            views: Any = summary_views if brief else image_views
            view: Image | ImageSummary = views(conn, found, workspace)[0]
            owner, kind = found[0].workspace, found[0].resource_type
            if owner == workspace:
                view.events = builds.events(conn, owner, kind, found[0].name) or None
            return view

        return image_answer(await db.read(read))

    return [list_images, get_image]


def _tags(context: ResourceContext) -> ControllerRouterHandler:
    @get(
        "/v0/images/{resource_type:str}/{name:str}/tags",
        operation_id="ListImageTags",
        opt={"body": None, "answer": ImageTagPage, "query": {"name": str, "sourceWorkspace": str}},
    )
    async def list_image_tags(
        request: AnyRequest, resource_type: str, name: str
    ) -> Response[bytes]:
        workspace, params = caller_of(request).workspace, request.query_params
        source, tag = params.get("sourceWorkspace") or None, params.get("name") or None
        query = parse_page_query({"sort": "name:asc"} | dict(params), STATUSES)

        def read(conn: Connection) -> bytes:
            image = need(conn, workspace, resource_type, name, source)
            scope = query.fingerprint(f"{image.id}/tags/{tag}")
            after, size = _position(context, scope, query)
            rows = records.tag_page(conn, image.id, query, tag, after, size)
            meta = _meta(context, scope, query, rows)
            data = [tag_view(row) for row in rows.rows]
            return msgspec.json.encode(ImageTagPage(data=data, meta=meta))

        return json_response(await context.db.read(read))

    return list_image_tags


def _create(
    context: ResourceContext, provided: Provided, builds: ImageBuilds
) -> ControllerRouterHandler:
    @post(
        "/v0/images",
        status_code=200,
        operation_id="CreateImage",
        opt={
            "body": CreateImage,
            "answer": CreateImageAnswer,
            "query": {"upload": bool, "skip-build": bool},
        },
    )
    async def create_image(request: AnyRequest) -> Response[bytes]:
        workspace = caller_of(request).workspace
        upload = flag(request, "upload")
        flag(request, "skip-build")
        wanted = await decode_body(request, CreateImage)
        if upload and not wanted.image:
            return await announce(workspace, wanted)
        answer = await context.db.write(lambda conn: register(conn, workspace, wanted, provided))
        return json_response(msgspec.json.encode(answer))

    async def announce(workspace: str, wanted: CreateImage) -> Response[bytes]:
        name, kind = check_name(wanted.name, "name"), wanted_type(wanted.resource_type)
        url = await context.db.write(lambda conn: builds.announce(conn, workspace, kind, name))
        answer = CreateImageAnswer(
            message=f"Send the code of {kind}/{name} to the upload URL; it is built then.",
            name=name,
            resource_type=kind,
            build=True,
        )
        return json_response(msgspec.json.encode(answer), {HEADER: url})

    return create_image


def _deletes(context: ResourceContext) -> list[ControllerRouterHandler]:
    db = context.db

    @delete(
        "/v0/images",
        status_code=200,
        operation_id="CleanupImages",
        opt={"body": None, "answer": CleanupAnswer},
    )
    async def cleanup_images(request: AnyRequest) -> Response[bytes]:
        workspace = caller_of(request).workspace
        deleted = await db.write(lambda conn: cleanup(conn, workspace))
        message = f"Removed {deleted} image(s) that nothing refers to."
        return json_response(msgspec.json.encode(CleanupAnswer(deleted=deleted, message=message)))

    @delete(
        "/v0/images/{resource_type:str}/{name:str}",
        status_code=200,
        operation_id="DeleteImage",
        opt={"body": None, "answer": Image},
    )
    async def delete_image(request: AnyRequest, resource_type: str, name: str) -> Response[bytes]:
        workspace = caller_of(request).workspace
        plain, colon, tag = name.partition(":")

        def write(conn: Connection) -> Image:
            image = need(conn, workspace, resource_type, plain)
            if colon:
                return remove_tag(conn, image, workspace, tag)
            return remove(conn, image, workspace)

        return image_answer(await db.write(write))

    @delete(
        "/v0/images/{resource_type:str}/{name:str}/tags/{tag:str}",
        status_code=200,
        operation_id="DeleteImageTag",
        opt={"body": None, "answer": Image},
    )
    async def delete_image_tag(
        request: AnyRequest, resource_type: str, name: str, tag: str
    ) -> Response[bytes]:
        workspace = caller_of(request).workspace
        image = await db.write(
            lambda conn: remove_tag(
                conn, need(conn, workspace, resource_type, name), workspace, tag
            )
        )
        return image_answer(image)

    return [cleanup_images, delete_image, delete_image_tag]


def _position(
    context: ResourceContext, scope: str, query: PageQuery
) -> tuple[list[str] | None, int]:
    after = context.cursors.decode(scope, query.cursor) if query.cursor else None
    return after, query.limit or LIMIT_DEFAULT


def _meta(context: ResourceContext, scope: str, query: PageQuery, rows: Rows) -> PageMeta:
    more = rows.more and not query.from_end
    cursor = context.cursors.encode(scope, rows.last) if more else ""
    return PageMeta(has_more=more, next_cursor=cursor, total=rows.total)
