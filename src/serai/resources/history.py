"""What a write adds to a document's past: its revisions and its events."""

import msgspec
from sqlalchemy import Connection

from serai.resources import events, revisions
from serai.resources.documents import Document
from serai.resources.kind import Body, Kind
from serai.resources.masking import take_out
from serai.resources.revisions import RevisionStore, settings
from serai.resources.routing import first_route, held_route, next_route, only_points
from serai.store.secrets import Vault


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A write on its way: the body to store and what it means for the past.

    Attributes:
        body: as wanted, with ``spec.revision`` decided.
        revision: id of the revision it adds, if any.
        before: where traffic went before.
        route: where traffic goes from now on.
        settings: whether the settings differ from those before.
        held: whether the revision waits until it can serve, see ``rollout``.
    """

    body: Body
    revision: str | None
    before: Body
    route: Body
    settings: bool
    held: bool = False


class History:
    """Revisions and events of documents, written in the transaction of the change."""

    def __init__(self, vault: Vault) -> None:
        self.revisions = RevisionStore(vault)

    def first(self, kind: Kind, body: Body) -> Change:
        """The change that creates a document."""
        if not kind.versioned:
            return Change(body=body, revision=None, before={}, route={}, settings=True)
        revision = revisions.new_id()
        route = first_route(body["spec"].get("revision"), revision)
        return Change(
            body=_routed(kind, body, route),
            revision=revision,
            before={},
            route=route,
            settings=True,
        )

    def begun(
        self,
        conn: Connection,
        kind: Kind,
        document: Document,
        secrets: dict[str, str],
        change: Change,
    ) -> None:
        """Keep the first revision and event of a document just added."""
        if change.revision is not None:
            self.revisions.add(conn, document, change.revision, secrets, active=True)
        message = f"The {kind.title} was created."
        events.append(conn, document, events.CREATED, message, revision=change.revision or "")

    def next(
        self,
        conn: Connection,
        kind: Kind,
        old: Document,
        body: Body,
        known: dict[str, str],
        *,
        held: bool = False,
    ) -> Change:
        """The change that replaces a document; one without revisions yet gets its first.

        A held one makes a revision in any case, and leaves traffic where it is.

        Raises:
            BadRequest: ``spec.revision`` names a revision that is not kept.
        """
        before: Body = msgspec.json.decode(old.body)
        route = before["spec"].get("revision") or {}
        if kind.versioned and kind.routed and only_points(body["spec"], route):
            body = body | {"spec": settings(before) | {"revision": body["spec"]["revision"]}}
        differs = _differ(kind, before, body, known)
        if not kind.versioned:
            return Change(body=body, revision=None, before={}, route={}, settings=differs)
        kept = [one.id for one in revisions.of_document(conn, old.id)]
        if not kept:
            kept = [revisions.new_id()]
            self.revisions.add(conn, old, kept[0], known, active=True)
        if not route:
            route = {"active": kept[-1]}
        new = revisions.new_id() if differs or held else None
        sent = body["spec"].get("revision") if kind.routed else None
        after = held_route(route, sent) if held else next_route(kept, route, sent, new)
        return Change(
            body=_routed(kind, body, after),
            revision=new,
            before=route,
            route=after,
            settings=differs or held,
            held=held,
        )

    def changed(
        self,
        conn: Connection,
        kind: Kind,
        document: Document,
        secrets: dict[str, str],
        change: Change,
    ) -> None:
        """Keep the revision and the event of a document just replaced, if there is news."""
        if change.held:
            revisions.drop_waiting(conn, document.id, change.route)
        if change.revision is not None:
            self.revisions.add(conn, document, change.revision, secrets)
        active, former = change.route.get("active"), change.before.get("active")
        if active is not None and active != former:
            revisions.activate(conn, document, former, active)
        if change.revision is not None:
            revisions.prune(conn, document.id, change.route)
        if change.settings or change.route != change.before:
            kind_of_event, message = _news(kind, change)
            canary = change.route.get("canary") or ""
            revision = change.revision or active or ""
            events.append(conn, document, kind_of_event, message, revision=revision, canary=canary)

    def moved(self, conn: Connection, document: Document, why: str = "") -> None:
        """A document has another status; ``why`` is for people."""
        route = (msgspec.json.decode(document.body).get("spec") or {}).get("revision")
        active = route.get("active") if isinstance(route, dict) else None
        message = f"The status is {document.status} now{f': {why}' if why else '.'}"
        events.append(conn, document, "status", message, revision=active or "")


def _routed(kind: Kind, body: Body, route: Body) -> Body:
    spec = settings(body)
    return body | {"spec": spec | {"revision": route} if kind.routed else spec}


def _differ(kind: Kind, before: Body, wanted: Body, known: dict[str, str]) -> bool:
    masked: Body = msgspec.json.decode(msgspec.json.encode(wanted))
    taken = take_out(kind.secrets(masked), known)
    return taken != known or settings(masked) != settings(before)


def _news(kind: Kind, change: Change) -> tuple[str, str]:
    active, canary = change.route.get("active"), change.route.get("canary")
    if change.revision is None:
        if not change.settings and active != change.before.get("active"):
            former = change.before.get("active")
            return "rollout", f"Revision {active} serves now instead of {former}."
        if canary:
            share = change.route.get("canaryPercent")
            return "canary", f"Revision {canary} takes {share} % of the traffic."
        return "updated", f"The {kind.title} was updated."
    if change.held:
        return "updated", f"Revision {change.revision} was made and waits for its code."
    if change.revision == active:
        return "updated", f"Revision {change.revision} was made and serves now."
    if change.revision == canary:
        share = change.route.get("canaryPercent")
        return "canary", f"Revision {canary} was made and takes {share} % of the traffic."
    return "updated", f"Revision {change.revision} was made; {active} goes on serving."
