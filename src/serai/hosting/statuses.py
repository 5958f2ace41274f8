"""What a document says of its deployment: status and events, in the caller's transaction."""

import msgspec
from sqlalchemy import Connection

from serai.hosting import records
from serai.hosting.records import Serving
from serai.resources import documents, events
from serai.resources.documents import Document
from serai.resources.kind import Body, Kind
from serai.resources.store import DocumentStore

DEPLOYMENT = "deployment"
MESSAGE_MAX = 2000


class Wanted(msgspec.Struct, frozen=True):
    """The revisions that a document wants to serve; empty for none."""

    active: str = ""
    canary: str = ""
    percent: int = 0
    sticky_seconds: int = 0

    @property
    def revisions(self) -> list[str]:
        """Those that there must be instances of, the active one first."""
        return [each for each in (self.active, self.canary) if each]


def wanted_of(body: Body) -> Wanted:
    """What ``spec.revision`` asks for."""
    route = body["spec"].get("revision") or {}
    return Wanted(
        route.get("active") or "",
        route.get("canary") or "",
        route.get("canaryPercent") or 0,
        route.get("stickySessionTtl") or 0,
    )


class Statuses:
    """Moves documents from status to status."""

    def __init__(self, store: DocumentStore) -> None:
        self._store = store

    def current(self, conn: Connection, kind: Kind, known: Document) -> Document | None:
        """The document as it is now; None when it is gone, or another has its name."""
        found = documents.find(conn, known.workspace, kind.name, known.name)
        return found if found is not None and found.id == known.id else None

    def move(
        self, conn: Connection, kind: Kind, known: Document, status: str, message: str = ""
    ) -> Document | None:
        """Give a document a status, and say why."""
        document = self.current(conn, kind, known)
        if document is None:
            return None
        if document.status != status:
            document = self._store.with_status(conn, document, status)
        if message:
            active = wanted_of(msgspec.json.decode(document.body)).active
            said = message[:MESSAGE_MAX]
            events.append(conn, document, DEPLOYMENT, said, revision=active)
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
        wanted = wanted_of(msgspec.json.decode(document.body))
        if wanted.revisions != served.revisions or document.status in {"UPLOADING", "BUILDING"}:
            return None
        serving = Serving(served.active, served.canary)
        records.serve(conn, document.id, document.workspace, serving)
        return self.move(conn, kind, document, "DEPLOYED", message)
