"""Previews and their tokens: rows first, then what the gateway knows of them."""

import secrets
from datetime import datetime

import msgspec
import structlog
from sqlalchemy import Connection

from serai.compute import tokens
from serai.compute.kind import SANDBOXES, moment_of, need_living
from serai.compute.ports import PreviewRoutes, PublishedPreview
from serai.compute.preview_kind import (
    API_PORTS,
    PREVIEWS,
    decode,
    ends_at,
    host_of,
    slug_of,
)
from serai.compute.preview_places import PreviewPlaces
from serai.compute.tokens import Place, TokenRow
from serai.kernel.clock import now, rfc3339
from serai.kernel.errors import BadRequest, Conflict, NotFound
from serai.kernel.ids import token as random_name
from serai.resources import documents
from serai.resources.documents import Document
from serai.resources.kind import Body
from serai.resources.store import Actor, DocumentStore
from serai.store.database import Database
from serai.store.secrets import Vault
from serai.wire.sandboxes import PreviewToken, PreviewTokenMetadata, PreviewTokenSpec

TOKEN_NAME_MAX = 128
TOKENS_MAX = 1000
log = structlog.get_logger(__name__)


class PreviewService:
    """Keeps previews and tokens; tells ``routes`` of every change after its commit."""

    def __init__(
        self,
        db: Database,
        store: DocumentStore,
        vault: Vault,
        routes: PreviewRoutes,
        places: PreviewPlaces,
    ) -> None:
        self.db = db
        self.store = store
        self.vault = vault
        self.routes = routes
        self.places = places
        self._published: dict[Place, PublishedPreview] = {}

    async def open(self) -> None:
        """Give every preview its address below the current origin and publish it."""
        await self.db.write(self._relocate)
        await self.repair()

    def _relocate(self, conn: Connection) -> None:
        for document in documents.every(conn, PREVIEWS.name):
            body = decode(document.body)
            url = self.places.url(document.external_id, body)
            if body["spec"]["url"] != url:
                body["spec"]["url"] = url
                text = msgspec.json.encode(body).decode()
                documents.save(conn, msgspec.structs.replace(document, body=text))

    # -- previews
    async def create(
        self, actor: Actor, sandbox: str, shape: object, *, force: bool = False
    ) -> Document:
        """Create a preview.

        Args:
            actor: who, and in which workspace.
            sandbox: name of the sandbox.
            shape: the decoded body.
            force: take the prefix from a preview that has it; that one is deleted.

        Raises:
            NotFound: no such sandbox.
            Conflict: name or prefix are taken, or the sandbox has ended.
        """
        body = self.store.wanted(PREVIEWS, shape)
        await self.expire()
        removed: list[Place] = []

        def write(conn: Connection) -> Document:
            need_living(conn, self.store, actor.workspace, sandbox)
            slug = self._address(conn, actor.workspace, sandbox, body)
            removed.extend(self._take_prefix(conn, actor.workspace, sandbox, body, force))
            document = self.store.create(conn, PREVIEWS, actor, body, parent=sandbox)
            return _reserve(conn, document, slug)

        document = await self.db.write(write)
        for place in removed:
            self.refresh(place)
        self.refresh(Place(actor.workspace, sandbox, document.name))
        return document

    async def replace(self, actor: Actor, sandbox: str, name: str, shape: object) -> Document:
        """Replace a preview's spec; its tokens stay.

        Raises:
            NotFound: no such sandbox or preview.
            Conflict: the prefix is taken.
        """
        body = self.store.wanted(PREVIEWS, shape, name)
        await self.expire()

        def write(conn: Connection) -> Document:
            need_living(conn, self.store, actor.workspace, sandbox)
            old = self.store.need(conn, PREVIEWS, actor.workspace, name, sandbox)
            slug = self._address(conn, actor.workspace, sandbox, body)
            self._take_prefix(conn, actor.workspace, sandbox, body, force=False)
            return _reserve(conn, self.store.replace(conn, PREVIEWS, actor, old, body), slug)

        document = await self.db.write(write)
        self.refresh(Place(actor.workspace, sandbox, name))
        return document

    def _address(self, conn: Connection, workspace: str, sandbox: str, body: Body) -> str:
        slug = slug_of(self.vault, workspace, sandbox, body)
        self.places.check(conn, workspace, sandbox, body)
        body["metadata"] |= {"resourceName": sandbox, "resourceType": SANDBOXES.name}
        body["metadata"].pop("externalId", None)
        body["spec"]["url"] = self.places.url(slug, body)
        return slug

    def _take_prefix(
        self, conn: Connection, workspace: str, sandbox: str, body: Body, force: bool
    ) -> list[Place]:
        prefix = body["spec"].get("prefixUrl")
        if not prefix:
            return []
        slug = slug_of(self.vault, workspace, sandbox, body)
        holder = documents.find_external(conn, workspace, PREVIEWS.name, slug)
        if holder is None or (holder.parent, holder.name) == (sandbox, body["metadata"]["name"]):
            return []
        if not force:
            raise Conflict(
                f"spec.prefixUrl {prefix!r} belongs to preview {holder.name!r} of sandbox "
                f"{holder.parent!r}: choose another, or send force=true to replace that preview.",
                code="PREVIEW_PREFIX_TAKEN",
            )
        _drop(conn, holder)
        return [Place(workspace, holder.parent, holder.name)]

    async def delete(self, workspace: str, sandbox: str, name: str) -> Document:
        """Delete a preview and its tokens.

        Raises:
            NotFound: no such sandbox or preview.
        """

        def write(conn: Connection) -> Document:
            document = self.need(conn, Place(workspace, sandbox, name))
            _drop(conn, document)
            return document

        document = await self.db.write(write)
        self.refresh(Place(workspace, sandbox, name))
        return document

    async def every(self, workspace: str, sandbox: str) -> list[bytes]:
        """All previews of a sandbox as JSON, newest first.

        Raises:
            NotFound: no such sandbox.
        """
        await self.expire()

        def read(conn: Connection) -> list[bytes]:
            self.store.need(conn, SANDBOXES, workspace, sandbox)
            return documents.bodies(conn, workspace, PREVIEWS.name, None, sandbox)

        return await self.db.read(read)

    def need(self, conn: Connection, place: Place) -> Document:
        """A preview, as stored.

        Raises:
            NotFound: no such sandbox or preview.
        """
        self.store.need(conn, SANDBOXES, place.workspace, place.sandbox)
        return self.store.need(conn, PREVIEWS, place.workspace, place.preview, place.sandbox)

    # -- tokens
    async def create_token(self, actor: Actor, place: Place, shape: PreviewToken) -> PreviewToken:
        """Make a token; a name that is taken gets a suffix, an empty one is chosen.

        Raises:
            NotFound: no such sandbox or preview.
            BadRequest: name or ``expiresAt`` break a rule, or there are too many tokens.
        """
        expires_at = shape.spec.expires_at or None
        if expires_at is not None:
            moment_of(expires_at, "spec.expiresAt")
        wanted = shape.metadata.name or f"token-{random_name(8)}"
        if len(wanted) > TOKEN_NAME_MAX or not wanted.isprintable() or "/" in wanted:
            raise BadRequest(
                f"metadata.name {wanted[:80]!r} is not a token name: use at most {TOKEN_NAME_MAX} "
                "printable characters without a slash."
            )
        await self.expire()
        value, token_id = secrets.token_urlsafe(32), random_name(16)

        def write(conn: Connection) -> TokenRow:
            self.need(conn, place)
            row = TokenRow(
                id=token_id,
                workspace=place.workspace,
                sandbox=place.sandbox,
                preview=place.preview,
                name=_free_name(tokens.of_preview(conn, place), wanted),
                digest=tokens.digest_of(value),
                sealed=self.vault.seal(value.encode(), tokens.token_context(token_id)),
                expires_at=expires_at,
                created_at=rfc3339(now()),
                created_by=actor.email,
            )
            tokens.add(conn, row)
            return row

        row = await self.db.write(write)
        self.refresh(place)
        return self._shown(row)

    async def list_tokens(self, place: Place) -> list[PreviewToken]:
        """All tokens of a preview, values included: a session is found again by its token.

        Raises:
            NotFound: no such sandbox or preview.
        """
        await self.expire()

        def read(conn: Connection) -> list[TokenRow]:
            self.need(conn, place)
            return tokens.of_preview(conn, place)

        return [self._shown(row) for row in await self.db.read(read)]

    async def delete_token(self, place: Place, wanted: str) -> None:
        """Delete a token, named by its name or its value.

        Raises:
            NotFound: no such sandbox, preview or token.
        """
        digest = tokens.digest_of(wanted)

        def write(conn: Connection) -> None:
            self.need(conn, place)
            rows = tokens.of_preview(conn, place)
            found = [row for row in rows if row.name == wanted or row.digest == digest]
            if not found:
                raise NotFound(
                    f"There is no such token of preview {place.preview!r}; give its name or its "
                    "value.",
                    code="PREVIEW_TOKEN_NOT_FOUND",
                )
            for row in found:
                tokens.drop(conn, row)

        await self.db.write(write)
        self.refresh(place)

    def _shown(self, row: TokenRow) -> PreviewToken:
        ends = row.ends_at
        return PreviewToken(
            metadata=PreviewTokenMetadata(
                name=row.name,
                preview_name=row.preview,
                resource_name=row.sandbox,
                resource_type=SANDBOXES.name,
                workspace=row.workspace,
            ),
            spec=PreviewTokenSpec(
                token=self.vault.unseal(row.sealed, row.context).decode(),
                expires_at=row.expires_at,
                expired=ends is not None and ends <= now(),
            ),
        )

    # -- what the gateway knows
    def refresh(self, place: Place) -> None:
        """Tell the gateway what the rows say of this preview now."""
        published = self.db.read_now(lambda conn: self._view(conn, place))
        before = self._published.pop(place, None)
        if before is not None and _address_of(before) != _address_of(published):
            self.routes.withdraw_preview(before)
        if published is not None:
            self._published[place] = published
            self.routes.publish_preview(published)

    def _view(self, conn: Connection, place: Place) -> PublishedPreview | None:
        document = documents.find(
            conn, place.workspace, PREVIEWS.name, place.preview, place.sandbox
        )
        if document is None:
            return None
        body = self.store.reveal(PREVIEWS, document)
        spec = body["spec"]
        return PublishedPreview(
            slug=document.external_id or "",
            workspace=place.workspace,
            sandbox=place.sandbox,
            name=place.preview,
            domain=spec.get("customDomain") or "",
            host=host_of(body) or "",
            port=0 if spec["port"] in API_PORTS else spec["port"],
            public=spec["public"],
            request_headers=spec.get("requestHeaders") or {},
            response_headers=spec.get("responseHeaders") or {},
            ends_at=ends_at(body),
            tokens={row.digest: row.ends_at for row in tokens.of_preview(conn, place)},
        )

    def forget_sandbox(self, workspace: str, sandbox: str) -> None:
        """A sandbox has ended and its previews with it."""
        for place in list(self._published):
            if (place.workspace, place.sandbox) == (workspace, sandbox):
                self.refresh(place)

    async def repair(self) -> None:
        """Compare the gateway's previews with the rows, whoever changed them."""
        stored = set(await self.db.read(_places))
        for place in stored ^ set(self._published):
            self.refresh(place)

    def due(self, moment: datetime) -> list[Place]:
        """Previews whose time is over."""
        return [
            place
            for place, published in self._published.items()
            if published.ends_at is not None and published.ends_at <= moment
        ]

    async def expire(self) -> None:
        """Delete previews whose time is over."""
        for place in self.due(now()):
            await self.db.write(lambda conn, place=place: _drop_due(conn, place))  # type: ignore[misc]
            log.info("preview_expired", workspace=place.workspace, sandbox=place.sandbox)
            self.refresh(place)


def _address_of(published: PublishedPreview | None) -> tuple[str, str] | None:
    return (published.slug, published.host) if published is not None else None


def _places(conn: Connection) -> list[Place]:
    found = documents.every(conn, PREVIEWS.name)
    return [Place(document.workspace, document.parent, document.name) for document in found]


def _reserve(conn: Connection, document: Document, slug: str) -> Document:
    """Keep the address where it can be looked up (previews have no external ids)."""
    reserved = msgspec.structs.replace(document, external_id=slug)
    documents.save(conn, reserved)
    return reserved


def _free_name(rows: list[TokenRow], wanted: str) -> str:
    if len(rows) >= TOKENS_MAX:
        raise BadRequest(f"This preview has {len(rows)} tokens, the most there may be: delete one.")
    taken = {row.name for row in rows}
    return wanted if wanted not in taken else f"{wanted}-{random_name(8)}"


def _drop(conn: Connection, document: Document) -> None:
    tokens.drop_all(conn, Place(document.workspace, document.parent, document.name))
    documents.drop(conn, document)


def _drop_due(conn: Connection, place: Place) -> None:
    document = documents.find(conn, place.workspace, PREVIEWS.name, place.preview, place.sandbox)
    if document is None:
        return
    ends = ends_at(decode(document.body))
    if ends is not None and ends <= now():
        _drop(conn, document)


def drop_previews(conn: Connection, workspace: str, sandbox: str) -> None:
    """Delete every preview of a sandbox, in the transaction that ends the sandbox."""
    for document in documents.children(conn, workspace, PREVIEWS.name, sandbox):
        _drop(conn, document)
