"""Previews and their tokens over HTTP. Lists are bare arrays in every version."""

import msgspec
from litestar import Response, delete, get, post, put
from litestar.types import ControllerRouterHandler

from serai.api.exchange import AnyRequest, decode_body, flag, json_response
from serai.api.pages import join_array
from serai.compute.preview_kind import PREVIEWS
from serai.compute.previews import PreviewService
from serai.compute.tokens import Place
from serai.identity.caller import caller_of
from serai.resources.operations import ResourceContext, actor_of, show
from serai.wire.sandboxes import Preview, PreviewToken, PreviewTokenDeleted

LIST = "/v0/sandboxes/{parent:str}/previews"
ONE = LIST + "/{name:str}"
TOKENS = ONE + "/tokens"


def preview_operations(
    context: ResourceContext, service: PreviewService
) -> list[ControllerRouterHandler]:
    """Every operation on previews."""
    return [*_reads(context, service), *_writes(service), *_token_operations(service)]


def _reads(context: ResourceContext, service: PreviewService) -> list[ControllerRouterHandler]:
    @get(
        LIST,
        operation_id="ListSandboxPreviews",
        opt={"body": None, "answer": list[Preview]},
    )
    async def list_previews(request: AnyRequest, parent: str) -> Response[bytes]:
        items = await service.every(caller_of(request).workspace, parent)
        return json_response(join_array(items))

    @get(ONE, operation_id="GetSandboxPreview", opt={"body": None, "answer": Preview})
    async def get_preview(request: AnyRequest, parent: str, name: str) -> Response[bytes]:
        place = Place(caller_of(request).workspace, parent, name)
        await service.expire()
        return await show(context, PREVIEWS, request, lambda conn: service.need(conn, place))

    return [list_previews, get_preview]


def _writes(service: PreviewService) -> list[ControllerRouterHandler]:
    @post(
        LIST,
        status_code=200,
        operation_id="CreateSandboxPreview",
        opt={"body": Preview, "answer": Preview, "query": {"force": bool}},
    )
    async def create_preview(request: AnyRequest, parent: str) -> Response[bytes]:
        shape = await decode_body(request, Preview)
        actor, force = actor_of(caller_of(request)), flag(request, "force")
        document = await service.create(actor, parent, shape, force=force)
        return json_response(document.body.encode())

    @put(ONE, operation_id="UpdateSandboxPreview", opt={"body": Preview, "answer": Preview})
    async def replace_preview(request: AnyRequest, parent: str, name: str) -> Response[bytes]:
        shape = await decode_body(request, Preview)
        document = await service.replace(actor_of(caller_of(request)), parent, name, shape)
        return json_response(document.body.encode())

    @delete(
        ONE,
        status_code=200,
        operation_id="DeleteSandboxPreview",
        opt={"body": None, "answer": Preview},
    )
    async def delete_preview(request: AnyRequest, parent: str, name: str) -> Response[bytes]:
        document = await service.delete(caller_of(request).workspace, parent, name)
        return json_response(document.body.encode())

    return [create_preview, replace_preview, delete_preview]


def _token_operations(service: PreviewService) -> list[ControllerRouterHandler]:
    @get(
        TOKENS,
        operation_id="ListSandboxPreviewTokens",
        opt={"body": None, "answer": list[PreviewToken]},
    )
    async def list_tokens(request: AnyRequest, parent: str, name: str) -> Response[bytes]:
        found = await service.list_tokens(_place(request, parent, name))
        return json_response(msgspec.json.encode(found))

    @post(
        TOKENS,
        status_code=200,
        operation_id="CreateSandboxPreviewToken",
        opt={"body": PreviewToken, "answer": PreviewToken},
    )
    async def create_token(request: AnyRequest, parent: str, name: str) -> Response[bytes]:
        shape = await decode_body(request, PreviewToken)
        actor, place = actor_of(caller_of(request)), _place(request, parent, name)
        made = await service.create_token(actor, place, shape)
        return json_response(msgspec.json.encode(made))

    @delete(
        TOKENS + "/{token:str}",
        status_code=200,
        operation_id="DeleteSandboxPreviewToken",
        opt={"body": None, "answer": PreviewTokenDeleted},
    )
    async def delete_token(
        request: AnyRequest, parent: str, name: str, token: str
    ) -> Response[bytes]:
        await service.delete_token(_place(request, parent, name), token)
        return json_response(msgspec.json.encode(PreviewTokenDeleted(message="Token deleted.")))

    return [list_tokens, create_token, delete_token]


def _place(request: AnyRequest, sandbox: str, preview: str) -> Place:
    return Place(caller_of(request).workspace, sandbox, preview)
