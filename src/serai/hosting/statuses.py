"""What a document says of its deployment: status and events, in the caller's transaction."""

import msgspec
from sqlalchemy import Connection

from serai.hosting import records
from serai.hosting.records import Serving
from serai.resources import documents, events, revisions, rollout
from serai.resources.documents import Document
from serai.resources.kind import Body, Kind
from serai.resources.routing import released_route
from serai.resources.store import DocumentStore

DEPLOYMENT = "deployment"
DEPLOYING = "DEPLOYING"
MESSAGE_MAX = 2000


class Wanted(msgspec.Struct, frozen=True):
    """The revisions that a document wants to serve; empty for none.

    ``waiting`` is the one of them whose image has just been built, and which gets its traffic when
    it serves.
    """

    active: str = ""
    canary: str = ""
    percent: int = 0
    sticky_seconds: int = 0
    waiting: str = ""

    @property
    def revisions(self) -> list[str]:
        """Those that there must be instances of, the active one first."""
        return [each for each in (self.active, self.canary) if each]


def wanted_of(body: Body, waiting: str = "") -> Wanted:
    """What ``spec.revision`` asks for, once the revision that waits has its traffic."""
    route = body["spec"].get("revision") or {}
    if waiting:
        route = released_route(route, waiting)
    return Wanted(
        route.get("active") or "",
        route.get("canary") or "",
        route.get("canaryPercent") or 0,
        route.get("stickySessionTtl") or 0,
        waiting,
    )


def waiting_of(conn: Connection, document: Document) -> str:
    """The revision of a document whose image was built, and that waits to serve; empty for none."""
    if document.status != DEPLOYING:
        return ""
    route = msgspec.json.decode(document.body)["spec"].get("revision") or {}
    last = rollout.newest(conn, document)
    routed = {route.get("active"), route.get("canary")}
    return last.id if last and last.status == DEPLOYING and last.id not in routed else ""


class Statuses:
    """Moves documents from status to status."""

    def __init__(self, store: DocumentStore) -> None:
        self._store = store

    def current(self, conn: Connection, kind: Kind, known: Document) -> Document | None:
        """The document as it is now; None when it is gone, or another has its name."""
        found = documents.find(conn, known.workspace, kind.name, known.name)
        return found if found is not None and found.id == known.id else None

    def move(
        self,
        conn: Connection,
        kind: Kind,
        known: Document,
        status: str,
        message: str = "",
        revision: str = "",
    ) -> Document | None:
        """Give a document a status, and say why, of a revision or the active one."""
        document = self.current(conn, kind, known)
        if document is None:
            return None
        if document.status != status:
            document = self._store.with_status(conn, document, status)
        if message:
            active = wanted_of(msgspec.json.decode(document.body)).active
            said = message[:MESSAGE_MAX]
            events.append(conn, document, DEPLOYMENT, said, revision=revision or active)
        return document

    def deployed(
        self, conn: Connection, kind: Kind, known: Document, served: Wanted, message: str
    ) -> Document | None:
        """These revisions serve from now on.

        Returns:
            The document; None when it wants others meanwhile, and nothing was changed.
        """
        document = self.current(conn, kind, known)
        if document is None:
            return None
        waiting = waiting_of(conn, document)
        wanted = wanted_of(msgspec.json.decode(document.body), waiting)
        if wanted.revisions != served.revisions or document.status in revisions.WAITING:
            return None
        serving = Serving(served.active, served.canary)
        records.serve(conn, document.id, document.workspace, serving)
        if waiting:
            document = rollout.release(conn, self._store, document, waiting, "DEPLOYED")
        return self.move(conn, kind, document, "DEPLOYED", message)

    def failed(
        self, conn: Connection, kind: Kind, known: Document, wanted: Wanted, message: str
    ) -> Document | None:
        """What was wanted does not serve."""
        document = self.current(conn, kind, known)
        if document is None or document.status in revisions.WAITING:
            return document
        if wanted.waiting:
            revisions.set_status(conn, document.id, wanted.waiting, "FAILED")
        return self.move(conn, kind, document, "FAILED", message, wanted.waiting)
