"""Create, read, list, replace and delete over HTTP, for every kind whose life is a document."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec
from litestar import Response, delete, get, post, put
from litestar.types import ControllerRouterHandler
from sqlalchemy import Connection

from serai.api.exchange import AnyRequest, current_origin, decode_body, flag, json_response
from serai.api.pages import page_of
from serai.identity.caller import Caller, caller_of
from serai.kernel.cursors import CursorCodec
from serai.kernel.errors import Forbidden
from serai.resources import events, revisions
from serai.resources.actor import Actor, entity_tag
from serai.resources.documents import Document
from serai.resources.kind import Kind
from serai.resources.listing import answer_list
from serai.resources.store import DocumentStore
from serai.resources.uploading import (
    UPLOAD,
    WAITING,
    Opened,
    Uploads,
    answer_opened,
    wants_upload,
)
from serai.store.database import Database
from serai.wire.common import CoreEvent

Complete = Callable[[bytes], bytes]
"""Adds to the JSON of a document what changes by itself, and is stored nowhere."""

Written = tuple[Document, Collection[str]]
"""A document just written, and the keys of the secrets that it had before."""

OnChange = Callable[[str, Document, bool], None]
"""Called after a commit with the kind's name, the document, and whether it is gone."""


class ResourceContext(msgspec.Struct, frozen=True):
    """What the operations of all kinds share."""

    db: Database
    store: DocumentStore
    cursors: CursorCodec
    on_change: OnChange
    complete: Mapping[str, Complete] = {}
    """By kind's name."""
    uploads: Uploads | None = None


SHOW = {"show_secrets": bool}


def actor_of(caller: Caller) -> Actor:
    """The caller as the one who changes something in the request's workspace."""
    return actor_in(caller, caller.workspace)


def actor_in(caller: Caller, workspace: str) -> Actor:
    """The caller as the one who changes something in a workspace, or (empty) in the account."""
    principal = caller.principal
    return Actor(
        workspace=workspace,
        email=principal.email,
        subject=principal.subject,
        credential=principal.credential_id,
        account_id=principal.account_id,
        origin=current_origin(),
    )


def answer(document: Document, complete: Complete = bytes) -> Response[bytes]:
    """One document as a write answers it, with its entity tag."""
    return json_response(complete(document.body.encode()), {"ETag": entity_tag(document)})


async def show(
    context: ResourceContext,
    kind: Kind,
    request: AnyRequest,
    find: Callable[[Connection], Document],
) -> Response[bytes]:
    """One document with its events; with ``show_secrets`` in clear, for admins only."""

    def read(conn: Connection) -> tuple[Document, list[CoreEvent]]:
        document = find(conn)
        return document, events.of_document(conn, document.id) if kind.has_events else []

    document, shown = await context.db.read(read)
    body = document.body.encode()
    if flag(request, "show_secrets"):
        if not caller_of(request).is_admin:
            raise Forbidden("show_secrets needs the admin role in this workspace.")
        body = msgspec.json.encode(context.store.reveal(kind, document))
    body = context.complete.get(kind.name, bytes)(body)
    if kind.has_events:
        body = body[:-1] + b',"events":' + msgspec.json.encode(shown) + b"}"
    return json_response(body, {"ETag": entity_tag(document)})


def template(kind: Kind, rest: str = "") -> str:
    """The route of a kind's list, or of what is below it."""
    return f"/v0/{kind.path}{rest}".replace("{parent}", "{parent:str}")


def parent_of(request: AnyRequest) -> str:
    """The parent's name in the path; empty for kinds without one."""
    return str(request.path_params.get("parent", ""))


def labelled(operation_id: str, answer: Any, body: Any = None, **more: Any) -> dict[str, Any]:
    """What every handler says of its operation: its id, the types of its body and answer, and
    more, such as ``query`` (see ``api.contract``)."""
    return {"operation_id": operation_id or None, "opt": {"body": body, "answer": answer} | more}


def list_query(kind: Kind) -> dict[str, Any]:
    """The query parameters of a kind's list, without those that all pages have."""
    return kind.list_query if kind.paged else {"externalId": str} | kind.list_query


def list_answer(kind: Kind) -> Any:
    """The newest answer type of a kind's list."""
    shape: Any = kind.shape
    return page_of(shape) if kind.paged else list[shape]


def read_operations(context: ResourceContext, kind: Kind) -> list[ControllerRouterHandler]:
    """List and get."""
    db, store = context.db, context.store
    ids = kind.operations

    @get(template(kind), **labelled(ids.list, list_answer(kind), query=list_query(kind)))
    async def list_documents(request: AnyRequest) -> Response[bytes]:
        workspace, parent = caller_of(request).workspace, parent_of(request)
        version, params = request.state["version"], request.query_params

        def read(conn: Connection) -> bytes:
            if kind.owner is not None:
                store.need(conn, kind.owner, workspace, parent)
            complete = context.complete.get(kind.name)
            return answer_list(
                conn, context.cursors, kind, workspace, version, params, parent, complete
            )

        return json_response(await db.read(read))

    @get(template(kind, "/{name:str}"), **labelled(ids.get, kind.shape, query=SHOW))
    async def get_document(request: AnyRequest, name: str) -> Response[bytes]:
        workspace, parent = caller_of(request).workspace, parent_of(request)

        def find(conn: Connection) -> Document:
            return store.need(conn, kind, workspace, name, parent)

        return await show(context, kind, request, find)

    revisions_of = [revision_operation(context, kind)] if kind.versioned else []
    return [list_documents, get_document, *revisions_of]


def revision_operation(context: ResourceContext, kind: Kind) -> ControllerRouterHandler:
    """List the revisions that are kept, newest first."""
    db, store = context.db, context.store
    shape: Any = list[kind.revision_shape]  # type: ignore[name-defined]

    @get(template(kind, "/{name:str}/revisions"), **labelled(kind.operations.revisions, shape))
    async def list_revisions(request: AnyRequest, name: str) -> Response[bytes]:
        workspace, parent = caller_of(request).workspace, parent_of(request)

        def read(conn: Connection) -> list[Any]:
            document = store.need(conn, kind, workspace, name, parent)
            return revisions.show(kind, document, revisions.of_document(conn, document.id))

        return json_response(msgspec.json.encode(await db.read(read)))

    return list_revisions


def write_operations(context: ResourceContext, kind: Kind) -> list[ControllerRouterHandler]:
    """Create, replace and delete, each in one transaction."""
    db, store = context.db, context.store
    ids, shape = kind.operations, kind.shape
    query = UPLOAD if kind.built else {}

    async def done(
        request: AnyRequest, write: Callable[[Connection, str | None], Written]
    ) -> Response[bytes]:
        """Write; ``write`` is given the status of a document whose code is still to come."""
        uploads = context.uploads if kind.built and wants_upload(request) else None
        actor = actor_of(caller_of(request))

        def both(conn: Connection) -> tuple[Written, Opened | None]:
            written = write(conn, WAITING if uploads else None)
            return written, uploads.open(conn, actor, kind, written[0]) if uploads else None

        (document, before), opened = await db.write(both)
        context.on_change(kind.name, document, False)
        shown = store.announced(kind, document, before)
        if opened is not None:
            return answer_opened(document, opened, shown)
        return answer(document, lambda _: shown)

    @post(template(kind), status_code=200, **labelled(ids.create, shape, shape, query=query))
    async def create_document(request: AnyRequest) -> Response[bytes]:
        actor, parent = actor_of(caller_of(request)), parent_of(request)
        body = store.wanted(kind, await decode_body(request, shape))

        def write(conn: Connection, status: str | None) -> Written:
            return store.create(conn, kind, actor, body, status, parent), ()

        return await done(request, write)

    @put(template(kind, "/{name:str}"), **labelled(ids.replace, shape, shape, query=query))
    async def replace_document(request: AnyRequest, name: str) -> Response[bytes]:
        actor, parent = actor_of(caller_of(request)), parent_of(request)
        sent: Any = await decode_body(request, shape)

        def write(conn: Connection, held: str | None) -> Written:
            old = store.need(conn, kind, actor.workspace, name, parent)
            known = store.secrets(old).keys()
            wanted = store.wanted(kind, sent, name)
            return store.replace(conn, kind, actor, old, wanted, held), known

        return await done(request, write)

    @delete(template(kind, "/{name:str}"), status_code=200, **labelled(ids.delete, shape))
    async def delete_document(request: AnyRequest, name: str) -> Response[bytes]:
        actor, parent = actor_of(caller_of(request)), parent_of(request)

        def write(conn: Connection) -> Document:
            document = store.need(conn, kind, actor.workspace, name, parent)
            store.delete(conn, actor, document)
            return document

        document = await db.write(write)
        context.on_change(kind.name, document, True)
        return json_response(document.body.encode())

    return [create_document, replace_document, delete_document]
