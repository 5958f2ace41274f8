"""Volumes over HTTP."""

import asyncio

import msgspec
from litestar import Response, delete, get, post, put
from litestar.types import ControllerRouterHandler
from sqlalchemy import Connection

from serai.api.exchange import AnyRequest, decode_body, json_response
from serai.identity.caller import caller_of
from serai.kernel.errors import Conflict
from serai.resources import events
from serai.resources.actor import entity_tag
from serai.resources.attachments import attachments
from serai.resources.documents import Document
from serai.resources.listing import answer_list
from serai.resources.operations import ResourceContext, actor_of
from serai.runtime.port import RuntimeProblem
from serai.storage.ports import HostDisks
from serai.storage.templates import Templates
from serai.storage.volumes import VOLUMES, Volumes, lite, size_of, view
from serai.wire.storage import Volume, VolumeList

PATH = "/v0/volumes"


def volume_operations(
    context: ResourceContext, templates: Templates, disks: HostDisks
) -> list[ControllerRouterHandler]:
    """Every operation on volumes."""
    volumes = Volumes(context.store)
    return [
        *_reads(context),
        *_writes(context, volumes, disks),
        _delete(context, volumes, templates, disks),
    ]


def _reads(context: ResourceContext) -> list[ControllerRouterHandler]:
    @get(PATH, operation_id="ListVolumes", opt={"answer": VolumeList})
    async def list_volumes(request: AnyRequest) -> Response[bytes]:
        workspace, version = caller_of(request).workspace, request.state["version"]

        def read(conn: Connection) -> bytes:
            listed = msgspec.json.decode(
                answer_list(
                    conn, context.cursors, VOLUMES, workspace, version, request.query_params
                )
            )
            items = listed if isinstance(listed, list) else listed["data"]
            attached = attachments(conn, workspace)
            items[:] = [lite(item, attached) for item in items]
            return msgspec.json.encode(listed)

        return json_response(await context.db.read(read))

    @get(PATH + "/{name:str}", operation_id="GetVolume", opt={"answer": Volume})
    async def get_volume(request: AnyRequest, name: str) -> Response[bytes]:
        workspace = caller_of(request).workspace

        def read(conn: Connection) -> Response[bytes]:
            document = context.store.need(conn, VOLUMES, workspace, name)
            return _with_events(conn, document)

        return await context.db.read(read)

    @get(
        PATH + "/by-external-id/{external_id:str}",
        operation_id="GetVolumeByExternalId",
        opt={"answer": Volume},
    )
    async def get_volume_by_external_id(request: AnyRequest, external_id: str) -> Response[bytes]:
        workspace = caller_of(request).workspace

        def read(conn: Connection) -> Response[bytes]:
            document = context.store.need_external(conn, VOLUMES, workspace, external_id)
            return _with_events(conn, document)

        return await context.db.read(read)

    return [list_volumes, get_volume, get_volume_by_external_id]


def _with_events(conn: Connection, document: Document) -> Response[bytes]:
    body = msgspec.json.decode(view(document, attachments(conn, document.workspace)))
    body["events"] = events.of_document(conn, document.id)
    return json_response(msgspec.json.encode(body), {"ETag": entity_tag(document)})


def _writes(
    context: ResourceContext, volumes: Volumes, disks: HostDisks
) -> list[ControllerRouterHandler]:
    described = {"body": Volume, "answer": Volume}

    @post(PATH, status_code=200, operation_id="CreateVolume", opt=described)
    async def create_volume(request: AnyRequest) -> Response[bytes]:
        actor = actor_of(caller_of(request))
        body = context.store.wanted(VOLUMES, await decode_body(request, Volume))

        def write(conn: Connection) -> tuple[Document, bytes]:
            document = volumes.create(conn, actor, body)
            return document, view(document, attachments(conn, actor.workspace))

        document, shown = await context.db.write(write)
        context.on_change(VOLUMES.name, document, False)
        return json_response(shown, {"ETag": entity_tag(document)})

    @put(PATH + "/{name:str}", operation_id="UpdateVolume", opt=described)
    async def replace_volume(request: AnyRequest, name: str) -> Response[bytes]:
        actor, shape = actor_of(caller_of(request)), await decode_body(request, Volume)

        def write(conn: Connection) -> tuple[Document, bytes]:
            document = volumes.replace(conn, actor, name, shape)
            return document, view(document, attachments(conn, actor.workspace))

        before = await context.db.read(
            lambda conn: context.store.need(conn, VOLUMES, actor.workspace, name)
        )
        document, shown = await context.db.write(write)
        try:
            await asyncio.to_thread(disks.grow_volume, document.id, size_of(document))
        except RuntimeProblem as problem:
            await context.db.write(
                lambda conn: volumes.shrink_back(conn, document, size_of(before))
            )
            raise Conflict(f"Volume {name!r}: {problem}", code="VOLUME_TOO_LARGE") from problem
        context.on_change(VOLUMES.name, document, False)
        return json_response(shown, {"ETag": entity_tag(document)})

    return [create_volume, replace_volume]


def _delete(
    context: ResourceContext, volumes: Volumes, templates: Templates, disks: HostDisks
) -> ControllerRouterHandler:
    @delete(
        PATH + "/{name:str}",
        status_code=200,
        operation_id="DeleteVolume",
        opt={"answer": Volume},
    )
    async def delete_volume(request: AnyRequest, name: str) -> Response[bytes]:
        actor = actor_of(caller_of(request))
        document, digest = await context.db.write(lambda conn: volumes.delete(conn, actor, name))
        await templates.release(digest)
        await asyncio.to_thread(disks.remove_volume, document.id)
        context.on_change(VOLUMES.name, document, True)
        return json_response(view(document, {}))

    return delete_volume
