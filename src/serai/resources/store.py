"""Creating, replacing and reading documents: the part that is the same for every kind."""

from collections.abc import Callable, Collection

import msgspec
from sqlalchemy import Connection

from serai.kernel.clock import now, rfc3339
from serai.kernel.errors import BadRequest, Conflict, NotFound
from serai.kernel.ids import token
from serai.kernel.names import check_external_id, check_labels, check_name
from serai.resources import audit, documents, quotas
from serai.resources.actor import Actor, check_match
from serai.resources.audit import Target
from serai.resources.documents import Document
from serai.resources.history import History
from serai.resources.kind import Body, Kind
from serai.resources.masking import put_back, take_out
from serai.resources.routing import check_routing
from serai.resources.spans import meter
from serai.store.secrets import Vault

__all__ = ["Actor", "DocumentStore", "already_exists", "not_found"]


Rules = Callable[[Connection, Kind, str, Body], None]
"""``rules(conn, kind, workspace, body)``: raises where a body may not be written."""


def no_rules(conn: Connection, kind: Kind, workspace: str, body: Body) -> None:
    """Nothing is forbidden."""


class Place(msgspec.Struct, frozen=True):
    """Where a document stands: its id, its parent, how often it was written, its status."""

    id: str
    parent: str
    generation: int
    status: str


class DocumentStore:
    """Documents of every kind. All methods run inside the caller's transaction.

    ``origin`` is put before the path of a resource to make its ``metadata.url``. ``rules`` are
    asked before anything is written, and raise where it may not be: for what a kind by itself
    cannot know.
    """

    def __init__(self, vault: Vault, origin: str, rules: Rules = no_rules) -> None:
        self._vault = vault
        self.origin = origin
        self._rules = rules
        self.history = History(vault)

    def wanted(self, kind: Kind, shape: object, name: str | None = None) -> Body:
        """A checked body from what a client sent; read-only fields are dropped.

        Args:
            kind: of the document.
            shape: the decoded Struct.
            name: the name in the path, which the body may repeat but not contradict.

        Raises:
            BadRequest: a rule is broken; names the field and the rule.
        """
        sent: Body = msgspec.to_builtins(shape)
        metadata = sent["metadata"]
        kept = {k: v for k in WRITABLE if (v := metadata.get(k)) is not None}
        if name is not None and kept.setdefault("name", name) != name:
            raise BadRequest(
                f"metadata.name {kept['name'][:80]!r} differs from the name in the path, "
                f"{name[:80]!r}; a resource cannot be renamed."
            )
        _check_metadata(kept)
        body: Body = {"metadata": kept, "spec": sent["spec"]}
        if kind.versioned and kind.routed:
            check_routing(body["spec"])
        kind.prepare(body)
        return body

    def ask_rules(self, conn: Connection, kind: Kind, document: Document) -> None:
        """Ask the rules again whether a document that was written may be used now."""
        self._rules(conn, kind, document.workspace, msgspec.json.decode(document.body))

    def create(
        self,
        conn: Connection,
        kind: Kind,
        actor: Actor,
        body: Body,
        status: str | None = None,
        parent: str = "",
    ) -> Document:
        """Insert a new document, its first event and revision, and an audit entry.

        Raises:
            Conflict: the name is taken.
            UsageLimitExceeded: a quota of the account or the workspace is used up.
        """
        name = body["metadata"]["name"]
        if kind.owner is not None:
            self.need(conn, kind.owner, actor.workspace, parent)
        if documents.find(conn, actor.workspace, kind.name, name, parent) is not None:
            raise already_exists(kind, name)
        self._rules(conn, kind, actor.workspace, body)
        quotas.check_kind(conn, actor.workspace, kind.name)
        stamp = {"createdAt": rfc3339(now()), "createdBy": actor.email}
        place = Place(token(16), parent, 1, kind.status if status is None else status)
        change = self.history.first(kind, body)
        document, taken = self._document(kind, actor, change.body, place, stamp, {})
        documents.add(conn, document)
        if kind.usage is not None and (rate := kind.usage.rate(body)) > 0:
            meter(conn, kind.usage, document, rate)
        self.history.begun(conn, kind, document, taken, change)
        after = audit.written(msgspec.json.decode(document.body))
        audit.record(conn, actor, "create", Target.of(document), None, after)
        return document

    def replace(
        self,
        conn: Connection,
        kind: Kind,
        actor: Actor,
        old: Document,
        body: Body,
        held: str | None = None,
    ) -> Document:
        """Replace a document's spec and metadata; masked secrets keep their values.

        New settings make an event, and a revision where the kind has them; new labels alone do
        not. The generation rises with everything that a client changed. With ``held``, the new
        status, there is a new revision in any case, and it waits (see ``rollout``).

        Raises:
            Conflict: ``If-Match`` of the request names another state of the document.
            BadRequest: ``spec.revision`` names a revision that is not kept.
        """
        check_match(actor, old)
        self._rules(conn, kind, actor.workspace, body)
        before: Body = msgspec.json.decode(old.body)
        known = self.secrets(old)
        change = self.history.next(conn, kind, old, body, known, held=held is not None)
        stamp = {k: v for k in ("createdAt", "createdBy") if (v := before["metadata"].get(k))}
        place = Place(old.id, old.parent, old.generation, held or old.status)
        document, taken = self._document(kind, actor, change.body, place, stamp, known)
        after: Body = msgspec.json.decode(document.body)
        secrets = sorted(key for key, value in taken.items() if known.get(key, value) != value)
        if secrets or audit.written(after) != audit.written(before):
            document = msgspec.structs.replace(document, generation=old.generation + 1)
        documents.save(conn, document)
        if kind.usage is not None and (rate := kind.usage.rate(after)) != kind.usage.rate(before):
            meter(conn, kind.usage, document, rate)
        self.history.changed(conn, kind, document, taken, change)
        target, was = Target.of(document), audit.written(before)
        audit.record(conn, actor, "update", target, was, audit.written(after), secrets)
        return document

    def delete(self, conn: Connection, actor: Actor, document: Document) -> None:
        """Delete a document for good, with an audit entry.

        Raises:
            Conflict: ``If-Match`` of the request names another state of the document.
        """
        self.deleting(conn, actor, document)
        documents.drop(conn, document)

    def deleting(self, conn: Connection, actor: Actor, document: Document) -> None:
        """The first half of a delete that takes its time: check ``If-Match``, write the entry."""
        check_match(actor, document)
        before = audit.written(msgspec.json.decode(document.body))
        audit.record(conn, actor, "delete", Target.of(document), before)

    def need(
        self, conn: Connection, kind: Kind, workspace: str, name: str, parent: str = ""
    ) -> Document:
        """The document of that name.

        Raises:
            NotFound: there is none in this workspace.
        """
        document = documents.find(conn, workspace, kind.name, name, parent)
        if document is None:
            raise not_found(kind, name)
        return document

    def need_external(
        self, conn: Connection, kind: Kind, workspace: str, external_id: str
    ) -> Document:
        """The newest document with that external id.

        Raises:
            NotFound: there is none in this workspace.
        """
        document = documents.find_external(conn, workspace, kind.name, external_id)
        if document is None:
            raise NotFound(
                f"There is no {kind.title} with external id {external_id[:80]!r} in this "
                "workspace.",
                code=f"{kind.name.upper()}_NOT_FOUND",
            )
        return document

    def with_status(
        self, conn: Connection, document: Document, status: str, why: str = "", **fields: object
    ) -> Document:
        """Save a new status and other top-level fields (``None`` removes one).

        Another status is an event, which says ``why``; the generation stays, as no client changed
        anything.
        """
        body = msgspec.json.decode(document.body)
        body["status"] = status
        for key, value in fields.items():
            body.pop(key, None)
            if value is not None:
                body[key] = value
        changed = msgspec.structs.replace(
            document, status=status, body=msgspec.json.encode(body).decode()
        )
        documents.save(conn, changed)
        if status != document.status:
            self.history.moved(conn, changed, why)
        return changed

    def secrets(self, document: Document) -> dict[str, str]:
        """The real values of a document's masked slots, by slot key."""
        if document.secrets is None:
            return {}
        plain = self._vault.unseal(document.secrets, _context(document))
        return msgspec.json.decode(plain, type=dict[str, str])

    def reveal(self, kind: Kind, document: Document) -> Body:
        """The body with its secrets in clear: for the platform, and admins who ask."""
        body: Body = msgspec.json.decode(document.body)
        put_back(kind.secrets(body), self.secrets(document))
        return body

    def announced(self, kind: Kind, document: Document, before: Collection[str]) -> bytes:
        """The body as a write answers it, with secrets that it made in clear, this once.

        Args:
            kind: of the document.
            document: as written.
            before: slot keys of the secrets that it had earlier.
        """
        body: Body = msgspec.json.decode(document.body)
        made = {slot.key for slot in kind.secrets(body) if slot.made is not None} - set(before)
        if not made:
            return document.body.encode()
        known = self.secrets(document)
        put_back(kind.secrets(body), {key: known[key] for key in made if key in known})
        return msgspec.json.encode(body)

    def relocate(self, conn: Connection, kind: Kind) -> None:
        """Give every document of a kind its URL below the current origin."""
        while document := documents.elsewhere(conn, kind.name, self.origin):
            body = msgspec.json.decode(document.body)
            url = self._url(kind, document.workspace, document.parent, document.name)
            path, before = url.removeprefix(self.origin), body["metadata"].get("url") or ""
            if before.endswith(path):
                documents.move(conn, kind.name, before.removesuffix(path), self.origin)
            body["metadata"]["url"] = url
            text = msgspec.json.encode(body).decode()
            documents.save(conn, msgspec.structs.replace(document, body=text))

    def _document(
        self,
        kind: Kind,
        actor: Actor,
        wanted: Body,
        place: "Place",
        stamp: dict[str, str],
        known: dict[str, str],
    ) -> tuple[Document, dict[str, str]]:
        body: Body = msgspec.json.decode(msgspec.json.encode(wanted))
        moment = rfc3339(now())
        metadata = body["metadata"]
        metadata.setdefault("displayName", metadata["name"])
        metadata |= {"createdAt": moment} | stamp
        metadata |= {"updatedAt": moment, "updatedBy": actor.email, "workspace": actor.workspace}
        if kind.has_url:
            metadata["url"] = self._url(kind, actor.workspace, place.parent, metadata["name"])
        if place.status:
            body["status"] = place.status
        taken = take_out(kind.secrets(body), known)
        document = Document(
            id=place.id,
            workspace=actor.workspace,
            kind=kind.name,
            parent=place.parent,
            name=metadata["name"],
            external_id=metadata.get("externalId"),
            status=place.status,
            generation=place.generation,
            created_at=metadata["createdAt"],
            updated_at=moment,
            search=_searchable(metadata),
            body=msgspec.json.encode(body).decode(),
            secrets=None,
        )
        if not taken:
            return document, taken
        sealed = self._vault.seal(msgspec.json.encode(taken), _context(document))
        return msgspec.structs.replace(document, secrets=sealed), taken

    def _url(self, kind: Kind, workspace: str, parent: str, name: str) -> str:
        path = kind.path.replace("{parent}", parent)
        return f"{self.origin}/{workspace}/{path}/{name}"


WRITABLE = ("name", "displayName", "externalId", "labels")


def already_exists(kind: Kind, name: str) -> Conflict:
    """The answer to a create whose name is taken."""
    code = f"{kind.name.upper()}_ALREADY_EXISTS"
    return Conflict(f"A {kind.title} named {name!r} exists already in this workspace.", code=code)


def not_found(kind: Kind, name: str) -> NotFound:
    """The answer when a workspace has no such document."""
    code = f"{kind.name.upper()}_NOT_FOUND"
    return NotFound(f"There is no {kind.title} named {name[:80]!r} in this workspace.", code=code)


def _check_metadata(metadata: Body) -> None:
    if "name" not in metadata:
        raise BadRequest("metadata.name is missing: give the resource a name.")
    check_name(metadata["name"])
    if "externalId" in metadata:
        check_external_id(metadata["externalId"])
    if len(metadata.get("displayName", "")) > DISPLAY_NAME_MAX:
        raise BadRequest(f"metadata.displayName is longer than {DISPLAY_NAME_MAX} characters.")
    check_labels(metadata.get("labels") or {})


DISPLAY_NAME_MAX = 63


def _context(document: Document) -> str:
    return f"document/{document.id}"


def _searchable(metadata: Body) -> str:
    labels = metadata.get("labels") or {}
    words = [metadata["name"], metadata.get("displayName", ""), metadata.get("externalId", "")]
    return "\n".join([*words, *labels.keys(), *labels.values()]).lower()
