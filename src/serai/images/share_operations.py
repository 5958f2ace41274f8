"""Sharing images over HTTP."""

from typing import Literal, get_args

import msgspec
from litestar import Response, delete, get, post
from litestar.types import ControllerRouterHandler
from sqlalchemy import Connection

from serai.api.exchange import AnyRequest, decode_body, flag, json_response
from serai.identity.caller import Caller, caller_of
from serai.images.operations import image_answer, need
from serai.images.records import ACTIVE, StoredImage
from serai.images.shares import (
    accept,
    decline,
    pending_shares,
    pending_view,
    share,
    targets_of,
    unshare,
)
from serai.images.views import image_views
from serai.kernel.errors import BadRequest, Forbidden
from serai.resources.operations import ResourceContext
from serai.wire.images import (
    Image,
    ImageShareTarget,
    PendingImageShare,
    PendingImageShareView,
    ShareImage,
)

Direction = Literal["incoming", "outgoing"]
DIRECTIONS: tuple[str, ...] = get_args(Direction)


def share_operations(context: ResourceContext) -> list[ControllerRouterHandler]:
    """Operations on shares of images, pending ones included."""
    return [*_shares(context), _share(context), *_pending(context)]


def _need_own(conn: Connection, workspace: str, resource_type: str, name: str) -> StoredImage:
    image = need(conn, workspace, resource_type, name)
    if image.workspace != workspace:
        raise BadRequest(
            f"Image {name[:80]!r} is shared by workspace {image.workspace!r}; only that "
            "workspace can share it."
        )
    return image


def _shares(context: ResourceContext) -> list[ControllerRouterHandler]:
    db = context.db

    @get(
        "/v0/images/{resource_type:str}/{name:str}/share",
        operation_id="ListImageShares",
        opt={"body": None, "answer": list[ImageShareTarget]},
    )
    async def list_image_shares(
        request: AnyRequest, resource_type: str, name: str
    ) -> Response[bytes]:
        workspace = caller_of(request).workspace
        targets = await db.read(
            lambda conn: targets_of(conn, _need_own(conn, workspace, resource_type, name))
        )
        return json_response(msgspec.json.encode(targets))

    @delete(
        "/v0/images/{resource_type:str}/{name:str}/share/{target:str}",
        status_code=200,
        operation_id="UnshareImage",
        opt={"body": None, "answer": Image},
    )
    async def unshare_image(
        request: AnyRequest, resource_type: str, name: str, target: str
    ) -> Response[bytes]:
        workspace = caller_of(request).workspace

        def write(conn: Connection) -> Image:
            image = _need_own(conn, workspace, resource_type, name)
            unshare(conn, image, target)
            return image_views(conn, [image], workspace)[0]

        return image_answer(await db.write(write))

    return [list_image_shares, unshare_image]


def _share(context: ResourceContext) -> ControllerRouterHandler:
    @post(
        "/v0/images/{resource_type:str}/{name:str}/share",
        status_code=200,
        operation_id="ShareImage",
        opt={"body": ShareImage, "answer": Image, "answers": {202: PendingImageShare}},
    )
    async def share_image(request: AnyRequest, resource_type: str, name: str) -> Response[bytes]:
        caller = caller_of(request)
        wanted = await decode_body(request, ShareImage)

        def write(conn: Connection) -> tuple[int, bytes]:
            image = _need_own(conn, caller.workspace, resource_type, name)
            target, account = wanted.target_workspace, wanted.target_account_id
            made = share(conn, image, caller.principal, target, account)
            if made.status != ACTIVE:
                return 202, msgspec.json.encode(pending_view(conn, made))
            return 200, msgspec.json.encode(image_views(conn, [image], caller.workspace)[0])

        status, body = await context.db.write(write)
        return Response(body, media_type="application/json", status_code=status)

    return share_image


def _pending(context: ResourceContext) -> list[ControllerRouterHandler]:
    db = context.db

    @get(
        "/v0/pending-image-shares",
        operation_id="ListPendingImageShares",
        opt={
            "body": None,
            "answer": list[PendingImageShareView],
            "query": {"direction": Direction},
        },
    )
    async def list_pending_image_shares(request: AnyRequest) -> Response[bytes]:
        workspace = caller_of(request).workspace
        direction = request.query_params.get("direction") or DIRECTIONS[0]
        if direction not in DIRECTIONS:
            raise BadRequest(f"direction {direction[:40]!r} is not one of {', '.join(DIRECTIONS)}.")
        outgoing = direction == "outgoing"
        found = await db.read(lambda conn: pending_shares(conn, workspace, outgoing=outgoing))
        return json_response(msgspec.json.encode(found))

    @post(
        "/v0/pending-image-shares/{share_id:str}/accept",
        status_code=200,
        operation_id="AcceptImageShare",
        opt={"body": None, "answer": Image, "query": {"force": bool}},
    )
    async def accept_image_share(request: AnyRequest, share_id: str) -> Response[bytes]:
        workspace = _admin(caller_of(request))
        force = flag(request, "force")

        def write(conn: Connection) -> Image:
            image = accept(conn, share_id, workspace, force=force)
            return image_views(conn, [image], workspace)[0]

        return image_answer(await db.write(write))

    @post(
        "/v0/pending-image-shares/{share_id:str}/decline",
        status_code=204,
        operation_id="DeclineImageShare",
        opt={"body": None, "answer": None},
    )
    async def decline_image_share(request: AnyRequest, share_id: str) -> None:
        workspace = _admin(caller_of(request))
        await db.write(lambda conn: decline(conn, share_id, workspace))

    return [list_pending_image_shares, accept_image_share, decline_image_share]


def _admin(caller: Caller) -> str:
    if not caller.is_admin:
        raise Forbidden("Answering an image share needs the admin role in this workspace.")
    return caller.workspace
