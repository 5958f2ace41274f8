"""A new revision on its way: made, given its image, and then the one that serves.

Between these steps it waits, and whatever served before goes on. Each step is one transaction of
the caller.
"""

import msgspec
from sqlalchemy import Connection

from serai.resources import documents, revisions
from serai.resources.documents import Document
from serai.resources.kind import Body, Kind
from serai.resources.revisions import Revision
from serai.resources.routing import released_route
from serai.resources.store import DocumentStore


def newest(conn: Connection, document: Document) -> Revision | None:
    """The newest revision that is kept."""
    kept = revisions.of_document(conn, document.id)
    return kept[-1] if kept else None


def move(
    conn: Connection,
    store: DocumentStore,
    document: Document,
    revision: str,
    status: str,
    why: str = "",
) -> Document:
    """Another status of a waiting revision, and of its document while it is the newest."""
    revisions.set_status(conn, document.id, revision, status)
    last = newest(conn, document)
    if revision and (last is None or last.id != revision):
        return document
    return store.with_status(conn, document, status, why)


def give_image(
    conn: Connection,
    store: DocumentStore,
    kind: Kind,
    document: Document,
    revision: str,
    image: str,
) -> Document:
    """Write the image of a waiting revision, which can be started from now on (DEPLOYING)."""
    kept = {one.id: one for one in revisions.of_document(conn, document.id)}
    if revision in kept:
        spec: Body = msgspec.json.decode(kept[revision].spec)
        image_holder(kind, spec)["image"] = image
        revisions.set_spec(conn, document.id, revision, spec)
    if not revision or list(kept)[-1:] == [revision]:
        body: Body = msgspec.json.decode(document.body)
        image_holder(kind, body["spec"])["image"] = image
        text = msgspec.json.encode(body).decode()
        document = msgspec.structs.replace(document, body=text)
        documents.save(conn, document)
    return move(conn, store, document, revision, "DEPLOYING")


def release(
    conn: Connection, store: DocumentStore, document: Document, revision: str, status: str
) -> Document:
    """Let a revision that waited take the traffic that was wished for, all of it if none was."""
    body: Body = msgspec.json.decode(document.body)
    before: Body = body["spec"].get("revision") or {}
    route = released_route(before, revision)
    body["spec"]["revision"] = route
    changed = msgspec.structs.replace(document, body=msgspec.json.encode(body).decode())
    documents.save(conn, changed)
    if route.get("active") == revision:
        former = before.get("active")
        revisions.activate(conn, document, former if former != revision else None, revision)
    revisions.set_status(conn, document.id, revision, status)
    revisions.prune(conn, document.id, route)
    return store.with_status(conn, changed, status)


def image_holder(kind: Kind, spec: Body) -> Body:
    """Where in a spec the image stands: applications have it in the spec itself."""
    if kind.name == "application":
        return spec
    holder: Body = spec.setdefault("runtime", {})
    return holder
