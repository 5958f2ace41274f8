"""Drives over HTTP: life, access tokens and folders."""

import asyncio

import msgspec
from litestar import Response, delete, get, post, put
from litestar.types import ControllerRouterHandler
from sqlalchemy import Connection

from serai.api.exchange import AnyRequest, decode_body, json_response
from serai.identity.caller import caller_of
from serai.kernel.errors import BadRequest
from serai.resources.documents import Document
from serai.resources.operations import (
    ResourceContext,
    actor_of,
    answer,
    read_operations,
    show,
)
from serai.resources.spans import meter
from serai.storage.drive_files import DriveFiles
from serai.storage.drive_tokens import DriveTokens
from serai.storage.drives import DRIVES, STORED, locate, need_unmounted
from serai.storage.volumes import keep_fixed
from serai.wire.storage import (
    DeletedDrive,
    Drive,
    DriveAccessToken,
    DriveFolder,
    DriveKeys,
)

PATH = "/v0/drives"


def drive_operations(
    context: ResourceContext, files: DriveFiles, tokens: DriveTokens, endpoint: str | None = None
) -> list[ControllerRouterHandler]:
    """Every operation on drives."""
    return [
        *read_operations(context, DRIVES),
        _create(context, endpoint),
        *_life(context, files, endpoint),
        *_tokens(context, tokens),
        *_folders(context, files),
    ]


def _create(context: ResourceContext, endpoint: str | None) -> ControllerRouterHandler:
    @post(
        PATH,
        status_code=200,
        operation_id="CreateDrive",
        opt={"body": Drive, "answer": Drive},
    )
    async def create_drive(request: AnyRequest) -> Response[bytes]:
        actor = actor_of(caller_of(request))
        body = context.store.wanted(DRIVES, await decode_body(request, Drive))

        def write(conn: Connection) -> Document:
            document = context.store.create(conn, DRIVES, actor, body)
            return locate(conn, document, endpoint)

        document = await context.db.write(write)
        context.on_change(DRIVES.name, document, False)
        return answer(document)

    return create_drive


def _life(
    context: ResourceContext, files: DriveFiles, endpoint: str | None
) -> list[ControllerRouterHandler]:
    store = context.store

    @get(
        PATH + "/by-external-id/{external_id:str}",
        operation_id="GetDriveByExternalId",
        opt={"answer": Drive},
    )
    async def get_drive_by_external_id(request: AnyRequest, external_id: str) -> Response[bytes]:
        workspace = caller_of(request).workspace

        def find(conn: Connection) -> Document:
            return store.need_external(conn, DRIVES, workspace, external_id)

        return await show(context, DRIVES, request, find)

    @put(
        PATH + "/{name:str}",
        operation_id="UpdateDrive",
        opt={"body": Drive, "answer": Drive},
    )
    async def replace_drive(request: AnyRequest, name: str) -> Response[bytes]:
        actor, shape = actor_of(caller_of(request)), await decode_body(request, Drive)

        def write(conn: Connection) -> Document:
            old = store.need(conn, DRIVES, actor.workspace, name)
            body = store.wanted(DRIVES, shape, name)
            keep_fixed(body["spec"], msgspec.json.decode(old.body)["spec"], "region")
            return locate(conn, store.replace(conn, DRIVES, actor, old, body), endpoint)

        document = await context.db.write(write)
        context.on_change(DRIVES.name, document, False)
        return answer(document)

    @delete(
        PATH + "/{name:str}",
        status_code=200,
        operation_id="DeleteDrive",
        opt={"answer": DeletedDrive},
    )
    async def delete_drive(request: AnyRequest, name: str) -> Response[bytes]:
        actor = actor_of(caller_of(request))

        def write(conn: Connection) -> Document:
            document = store.need(conn, DRIVES, actor.workspace, name)
            need_unmounted(conn, document)
            store.delete(conn, actor, document)
            meter(conn, STORED, document, 0)
            return document

        document = await context.db.write(write)
        files.retire(document.id)
        await asyncio.to_thread(files.empty_trash)
        context.on_change(DRIVES.name, document, True)
        return json_response(msgspec.json.encode(DeletedDrive(message="Drive deleted", name=name)))

    return [get_drive_by_external_id, replace_drive, delete_drive]


def _tokens(context: ResourceContext, tokens: DriveTokens) -> list[ControllerRouterHandler]:
    @post(
        PATH + "/{name:str}/access-token",
        status_code=200,
        operation_id="CreateDriveAccessToken",
        opt={"answer": DriveAccessToken},
    )
    async def create_access_token(request: AnyRequest, name: str) -> Response[bytes]:
        caller = caller_of(request)
        document = await context.db.read(
            lambda conn: context.store.need(conn, DRIVES, caller.workspace, name)
        )
        token = await tokens.issue(
            caller.principal.subject, caller.workspace, document.name, document.id
        )
        return json_response(msgspec.json.encode(token), {"Cache-Control": "no-store"})

    @get(
        PATH + "/jwks.json", operation_id="GetDriveJWKS", opt={"answer": DriveKeys, "public": True}
    )
    async def list_keys() -> Response[bytes]:
        return json_response(msgspec.json.encode(DriveKeys(keys=await tokens.keys())))

    return [create_access_token, list_keys]


def _folders(context: ResourceContext, files: DriveFiles) -> list[ControllerRouterHandler]:
    async def drive_id(request: AnyRequest, name: str) -> str:
        workspace = caller_of(request).workspace
        document = await context.db.read(
            lambda conn: context.store.need(conn, DRIVES, workspace, name)
        )
        return document.id

    @get(
        PATH + "/{name:str}/folders",
        operation_id="ListDriveFolders",
        opt={"answer": list[DriveFolder], "query": {"path": str}},
    )
    async def list_folders(request: AnyRequest, name: str) -> Response[bytes]:
        path = request.query_params.get("path") or "/"
        names = await asyncio.to_thread(files.folders, await drive_id(request, name), path)
        base = "/" + path.strip("/") + "/" if path.strip("/") else "/"
        folders = [DriveFolder(name=found, path=base + found) for found in names]
        return json_response(msgspec.json.encode(folders))

    @delete(
        PATH + "/{name:str}/folders",
        status_code=204,
        operation_id="DeleteDriveFolder",
        opt={"answer": None, "query": {"path": str}},
    )
    async def delete_folder(request: AnyRequest, name: str) -> None:
        path = request.query_params.get("path")
        if not path:
            raise BadRequest("path is missing: name the folder to delete, for example /data/old.")
        await asyncio.to_thread(files.remove_folder, await drive_id(request, name), path)

    return [list_folders, delete_folder]
