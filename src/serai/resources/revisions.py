"""The last revisions of a deployment: immutable snapshots of its settings."""

from typing import Any

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from serai.kernel.clock import now, rfc3339
from serai.kernel.ids import token
from serai.resources.documents import Document
from serai.resources.kind import Body, Kind
from serai.resources.masking import put_back
from serai.store.secrets import Vault
from serai.store.tables.documents import document_revisions as revisions
from serai.store.tables.hosting import hosted_deployments

REVISIONS_MAX = 5
WAITING = ("UPLOADING", "BUILDING")
"""Statuses of a revision whose code is not there yet."""


class Revision(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot: ``spec`` is JSON with masked secrets, without ``revision``.

    ``active_since`` is when it last became the active one; empty when it never was.
    """

    id: str
    created_at: str
    created_by: str
    status: str
    active_since: str
    spec: str
    secrets: bytes | None


FIELDS = Revision.__struct_fields__
COLUMNS = [revisions.c[name] for name in FIELDS]


def new_id() -> str:
    """An id for a revision."""
    return f"rev-{token(10)}"


def settings(body: Body) -> Body:
    """What a revision keeps of a document: its spec but for the choice of revisions."""
    return {key: value for key, value in (body.get("spec") or {}).items() if key != "revision"}


def of_document(conn: Connection, document_id: str) -> list[Revision]:
    """The revisions of a document, oldest first."""
    c = revisions.c
    query = select(*COLUMNS).where(c.document_id == document_id).order_by(c.number)
    return [Revision(**dict(zip(FIELDS, row, strict=True))) for row in conn.execute(query)]


class RevisionStore:
    """Keeps revisions; their secrets are sealed for the one revision."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def add(
        self,
        conn: Connection,
        document: Document,
        revision_id: str,
        secrets: dict[str, str],
        *,
        active: bool = False,
    ) -> None:
        """Keep a document's settings as a new revision, which may be the active one at once."""
        body: Body = msgspec.json.decode(document.body)
        sealed = None
        if secrets:
            plain = msgspec.json.encode(secrets)
            sealed = self._vault.seal(plain, _context(document.id, revision_id))
        conn.execute(
            insert(revisions).values(
                document_id=document.id,
                id=revision_id,
                created_at=body["metadata"]["updatedAt"],
                created_by=body["metadata"]["updatedBy"],
                status=document.status,
                active_since=rfc3339(now()) if active else "",
                spec=msgspec.json.encode(settings(body)).decode(),
                secrets=sealed,
            )
        )

    def reveal(self, kind: Kind, document_id: str, revision: Revision) -> Body:
        """A body with a revision's spec, secrets in clear: for whoever runs it."""
        body: Body = {"spec": msgspec.json.decode(revision.spec)}
        if revision.secrets is not None:
            plain = self._vault.unseal(revision.secrets, _context(document_id, revision.id))
            put_back(kind.secrets(body), msgspec.json.decode(plain, type=dict[str, str]))
        return body


def set_status(conn: Connection, document_id: str, revision_id: str, status: str) -> None:
    """Note how far a revision has come that does not serve."""
    c = revisions.c
    mine = (c.document_id == document_id, c.id == revision_id)
    conn.execute(update(revisions).where(*mine).values(status=status))


def set_spec(conn: Connection, document_id: str, revision_id: str, spec: Body) -> None:
    """Complete a revision's settings by what the platform found out, such as its image."""
    c = revisions.c
    mine = (c.document_id == document_id, c.id == revision_id)
    text = msgspec.json.encode(spec).decode()
    conn.execute(update(revisions).where(*mine).values(spec=text))


def drop_waiting(conn: Connection, document_id: str, route: Body) -> None:
    """Forget revisions that wait for their code, as newer code comes instead of it."""
    serving = [one for one in (route.get("active"), route.get("canary")) if one]
    c = revisions.c
    mine = (c.document_id == document_id, c.status.in_(WAITING), c.id.not_in(serving))
    conn.execute(delete(revisions).where(*mine))


def activate(conn: Connection, document: Document, before: str | None, active: str) -> None:
    """Note that another revision became the active one; the old one keeps its last status."""
    c = revisions.c
    mine = c.document_id == document.id
    if before is not None:
        conn.execute(update(revisions).where(mine, c.id == before).values(status=document.status))
    stamp = {"active_since": rfc3339(now())}
    conn.execute(update(revisions).where(mine, c.id == active).values(stamp))


def prune(conn: Connection, document_id: str, route: Body) -> None:
    """Forget the oldest revisions beyond the limit, but never one that serves or is to serve."""
    c = hosted_deployments.c
    query = select(c.serving, c.canary).where(c.document_id == document_id)
    serving = set(conn.execute(query).first() or ()) | {route.get("active"), route.get("canary")}
    kept = of_document(conn, document_id)
    idle = [one.id for one in kept if one.id not in serving]
    gone = idle[: max(len(kept) - REVISIONS_MAX, 0)]
    if gone:
        d = revisions.c
        conn.execute(delete(revisions).where(d.document_id == document_id, d.id.in_(gone)))


def show(kind: Kind, document: Document, kept: list[Revision]) -> list[Any]:
    """The revisions of a document as its kind answers them, newest first."""
    route = _route_of(kind, document, kept)
    active, canary = route.get("active"), route.get("canary")
    former = [one for one in kept if one.active_since and one.id != active]
    previous = max(former, key=lambda one: one.active_since, default=None)
    shown = []
    for one in reversed(kept):
        serves = one.id in {active, canary}
        percent = int(route.get("canaryPercent") or 0) if canary else 0
        share = {active: 100 - percent, canary: percent}.get(one.id, 0)
        facts = (
            {"image": ""}
            | msgspec.json.decode(one.spec)
            | {
                "id": one.id,
                "createdAt": one.created_at,
                "createdBy": one.created_by,
                "status": (document.status if serves else one.status) or None,
                "active": one.id == active,
                "canary": one.id == canary,
                "previousActive": previous is not None and one.id == previous.id,
                "trafficPercent": share,
            }
        )
        shown.append(msgspec.convert(facts, kind.revision_shape))
    return shown


def _route_of(kind: Kind, document: Document, kept: list[Revision]) -> Body:
    if kind.routed:
        route: Body = msgspec.json.decode(document.body)["spec"].get("revision") or {}
        return route
    return {"active": kept[-1].id} if kept else {}


def _context(document_id: str, revision_id: str) -> str:
    return f"revision/{document_id}/{revision_id}"
