"""Create, read, list, replace and delete over HTTP, for every kind whose life is a document."""

from collections.abc import Callable
from typing import Any

import msgspec
from litestar import Response, delete, get, post, put
from litestar.types import ControllerRouterHandler
from sqlalchemy import Connection

from serai.api.exchange import AnyRequest, decode_body, flag, json_response
from serai.identity.caller import Caller
from serai.kernel.cursors import CursorCodec
from serai.kernel.errors import Forbidden
from serai.resources import documents
from serai.resources.documents import Document
from serai.resources.kind import Kind
from serai.resources.listing import answer_list
from serai.resources.store import Actor, DocumentStore
from serai.store.database import Database

OnChange = Callable[[str, Document, bool], None]
"""Called after a commit with the kind's name, the document, and whether it is gone."""


class ResourceContext(msgspec.Struct, frozen=True):
    """What the operations of all kinds share."""

    db: Database
    store: DocumentStore
    cursors: CursorCodec
    on_change: OnChange


def caller_of(request: AnyRequest) -> Caller:
    """The authenticated caller."""
    caller: Caller = request.state["caller"]
    return caller


def actor_of(caller: Caller) -> Actor:
    """The caller as the one who changes something in the request's workspace."""
    return Actor(caller.workspace, caller.principal.email)


def render(
    context: ResourceContext, kind: Kind, request: AnyRequest, document: Document
) -> Response[bytes]:
    """One document; with ``show_secrets`` in clear, for admins only."""
    if flag(request, "show_secrets"):
        if not caller_of(request).is_admin:
            raise Forbidden("show_secrets needs the admin role in this workspace.")
        return json_response(msgspec.json.encode(context.store.reveal(kind, document)))
    return json_response(document.body.encode())


def read_operations(context: ResourceContext, kind: Kind) -> list[ControllerRouterHandler]:
    """List and get."""
    db, store = context.db, context.store

    @get(f"/v0/{kind.path}")
    async def list_documents(request: AnyRequest) -> Response[bytes]:
        workspace, version = caller_of(request).workspace, request.state["version"]
        params = request.query_params

        def read(conn: Connection) -> bytes:
            return answer_list(conn, context.cursors, kind, workspace, version, params)

        return json_response(await db.read(read))

    @get(f"/v0/{kind.path}/{{name:str}}")
    async def get_document(request: AnyRequest, name: str) -> Response[bytes]:
        workspace = caller_of(request).workspace
        document = await db.read(lambda conn: store.need(conn, kind, workspace, name))
        return render(context, kind, request, document)

    return [list_documents, get_document]


def write_operations(context: ResourceContext, kind: Kind) -> list[ControllerRouterHandler]:
    """Create, replace and delete, each in one transaction."""
    db, store = context.db, context.store

    @post(f"/v0/{kind.path}", status_code=200)
    async def create_document(request: AnyRequest) -> Response[bytes]:
        actor = actor_of(caller_of(request))
        body = store.wanted(kind, await decode_body(request, kind.shape))
        document = await db.write(lambda conn: store.create(conn, kind, actor, body))
        context.on_change(kind.name, document, False)
        return json_response(document.body.encode())

    @put(f"/v0/{kind.path}/{{name:str}}")
    async def replace_document(request: AnyRequest, name: str) -> Response[bytes]:
        actor = actor_of(caller_of(request))
        shape: Any = await decode_body(request, kind.shape)

        def write(conn: Connection) -> Document:
            old = store.need(conn, kind, actor.workspace, name)
            return store.replace(conn, kind, actor, old, store.wanted(kind, shape, name))

        document = await db.write(write)
        context.on_change(kind.name, document, False)
        return json_response(document.body.encode())

    @delete(f"/v0/{kind.path}/{{name:str}}", status_code=200)
    async def delete_document(request: AnyRequest, name: str) -> Response[bytes]:
        workspace = caller_of(request).workspace

        def write(conn: Connection) -> Document:
            document = store.need(conn, kind, workspace, name)
            documents.drop(conn, document.id)
            return document

        document = await db.write(write)
        context.on_change(kind.name, document, True)
        return json_response(document.body.encode())

    return [create_document, replace_document, delete_document]
