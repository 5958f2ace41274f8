"""Volume templates over HTTP, and the URL their archives are sent to."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
from litestar import Response, delete, get, post, put
from litestar.exceptions import InternalServerException
from litestar.types import ControllerRouterHandler
from sqlalchemy import Connection

from serai.api.exchange import AnyRequest, decode_body, flag, json_response
from serai.identity.caller import caller_of
from serai.kernel.clock import now
from serai.kernel.errors import BadRequest, SeraiError
from serai.resources import documents
from serai.resources.actor import entity_tag
from serai.resources.documents import Document
from serai.resources.kind import Body
from serai.resources.operations import ResourceContext, actor_of
from serai.resources.store import Actor
from serai.storage import template_records as records
from serai.storage import uploads
from serai.storage.archives import ARCHIVE_MAX
from serai.storage.template_records import VersionRow
from serai.storage.templates import TEMPLATES, Templates, view
from serai.wire.storage import DeletedVersion, UploadedArchive, VolumeTemplate

PATH = "/v0/volume_templates"


def template_operations(
    context: ResourceContext, templates: Templates
) -> list[ControllerRouterHandler]:
    """Every operation on volume templates."""
    return [
        *_reads(context),
        *_writes(context, templates),
        *_deletes(context, templates),
        _upload(templates),
    ]


def _reads(context: ResourceContext) -> list[ControllerRouterHandler]:
    @get(PATH, operation_id="ListVolumeTemplates", opt={"answer": list[VolumeTemplate]})
    async def list_templates(request: AnyRequest) -> Response[bytes]:
        workspace = caller_of(request).workspace

        def read(conn: Connection) -> bytes:
            versions = records.of_workspace(conn, workspace)
            found = documents.every(conn, TEMPLATES.name, workspace)
            found.sort(key=lambda document: (document.created_at, document.id), reverse=True)
            items = (view(document, versions.get(document.name, [])) for document in found)
            return b"[" + b",".join(items) + b"]"

        return json_response(await context.db.read(read))

    @get(PATH + "/{name:str}", operation_id="GetVolumeTemplate", opt={"answer": VolumeTemplate})
    async def get_template(request: AnyRequest, name: str) -> Response[bytes]:
        workspace = caller_of(request).workspace

        def read(conn: Connection) -> bytes:
            document = context.store.need(conn, TEMPLATES, workspace, name)
            return view(document, records.of_template(conn, workspace, name))

        return json_response(await context.db.read(read))

    return [list_templates, get_template]


def _writes(context: ResourceContext, templates: Templates) -> list[ControllerRouterHandler]:
    store = context.store
    described: dict[str, Any] = {"body": VolumeTemplate, "answer": VolumeTemplate}
    described |= {"query": {"upload": bool, "version": str}}

    async def answer(request: AnyRequest, write: Any) -> Response[bytes]:
        """Write the document and, if asked, open a version for an upload, in one transaction."""
        actor, upload = actor_of(caller_of(request)), flag(request, "upload")
        version = request.query_params.get("version") or None
        if version is not None and not upload:
            raise BadRequest("version names the version to upload: send upload=true with it.")

        def both(conn: Connection) -> tuple[Document, VersionRow | None, bytes]:
            document: Document = write(conn, actor)
            opened = None
            if upload:
                opened = templates.open_version(
                    conn, actor.workspace, document.name, version, now()
                )
            versions = records.of_template(conn, actor.workspace, document.name)
            return document, opened, view(document, versions)

        document, opened, body = await context.db.write(both)
        context.on_change(TEMPLATES.name, document, False)
        headers = {"ETag": entity_tag(document)}
        if opened is not None:
            headers["X-Blaxel-Upload-Url"] = templates.upload_url(opened)
        return json_response(body, headers)

    @post(PATH, status_code=200, operation_id="CreateVolumeTemplate", opt=described)
    async def create_template(request: AnyRequest) -> Response[bytes]:
        body = store.wanted(TEMPLATES, await decode_body(request, VolumeTemplate))

        def write(conn: Connection, actor: Actor) -> Document:
            return store.create(conn, TEMPLATES, actor, body)

        return await answer(request, write)

    @put(PATH + "/{name:str}", operation_id="UpdateVolumeTemplate", opt=described)
    async def put_template(request: AnyRequest, name: str) -> Response[bytes]:
        shape = await decode_body(request, VolumeTemplate)
        body: Body = store.wanted(TEMPLATES, shape, name)

        def write(conn: Connection, actor: Actor) -> Document:
            old = documents.find(conn, actor.workspace, TEMPLATES.name, name)
            if old is None:
                return store.create(conn, TEMPLATES, actor, body)
            return store.replace(conn, TEMPLATES, actor, old, body)

        return await answer(request, write)

    return [create_template, put_template]


def _deletes(context: ResourceContext, templates: Templates) -> list[ControllerRouterHandler]:
    @delete(
        PATH + "/{name:str}",
        status_code=200,
        operation_id="DeleteVolumeTemplate",
        opt={"answer": VolumeTemplate},
    )
    async def delete_template(request: AnyRequest, name: str) -> Response[bytes]:
        document, versions = await templates.delete(actor_of(caller_of(request)), name)
        context.on_change(TEMPLATES.name, document, True)
        return json_response(view(document, versions))

    @delete(
        PATH + "/{name:str}/versions/{version:str}",
        status_code=200,
        operation_id="DeleteVolumeTemplateVersion",
        opt={"answer": DeletedVersion},
    )
    async def delete_version(request: AnyRequest, name: str, version: str) -> Response[bytes]:
        workspace = caller_of(request).workspace
        document = await templates.delete_version(workspace, name, version)
        versions = await context.db.read(lambda conn: records.of_template(conn, workspace, name))
        answer = {
            "message": f"Version {version} deleted",
            "template": msgspec.Raw(view(document, versions)),
        }
        return json_response(msgspec.json.encode(answer))

    return [delete_template, delete_version]


def _upload(templates: Templates) -> ControllerRouterHandler:
    @put(uploads.PATH, request_max_body_size=ARCHIVE_MAX, opt={"answer": UploadedArchive})
    async def upload_archive(request: AnyRequest) -> Response[bytes]:
        token = request.query_params.get("token") or ""
        uploaded = await templates.upload(token, _content(request))
        return json_response(msgspec.json.encode(uploaded))

    return upload_archive


async def _content(request: AnyRequest) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.stream():
            yield chunk
    except InternalServerException:  # how Litestar says that the client is gone
        raise UploadBroken("The connection was lost before the archive had arrived.") from None


class UploadBroken(SeraiError):
    """The client went away in the middle of an upload; it may send the archive again (400)."""

    status = 400
    code = "UPLOAD_BROKEN"
