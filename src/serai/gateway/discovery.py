"""Filling the route table from the store: derived state, repaired in full now and then."""

import asyncio
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection

from serai.catalog.assembly import Catalog
from serai.catalog.placement import Attached, PolicyProhibits
from serai.compute.ports import PublishedPreview, RunningSandbox
from serai.gateway.forwarding import DROPPED_FOR_SANDBOX
from serai.gateway.model_routes import Link, connected, model_route
from serai.gateway.models.plans import origin_of
from serai.gateway.models.token_policies import TokenPolicies, policy_of
from serai.gateway.routes import DomainRoute, ModelRoute, PreviewRoute, RouteTable, SandboxRoute
from serai.identity.accounts import account_of_workspace
from serai.kernel.errors import SeraiError
from serai.network.domains import DOMAINS
from serai.network.served import ServedDomains, served_domains
from serai.resources import documents
from serai.resources.documents import Document
from serai.resources.kinds import CONNECTIONS, MODELS, POLICIES
from serai.resources.store import DocumentStore
from serai.store.database import Database
from serai.store.reach import unbounded

REPAIR_SECONDS = 30.0
log = structlog.get_logger(__name__)


class Discovery:
    """Keeps the gateway's routes equal to what the store and the running sandboxes say."""

    def __init__(
        self,
        db: Database,
        store: DocumentStore,
        routes: RouteTable,
        catalog: Catalog,
        token_policies: TokenPolicies,
    ) -> None:
        self._db = db
        self._store = store
        self._routes = routes
        self._catalog = catalog
        self._token_policies = token_policies

    def publish(self, sandbox: RunningSandbox) -> None:
        """Requests for this sandbox may be sent to its sockets."""
        key = (sandbox.workspace, sandbox.name)
        self._routes.sandboxes[key] = sandbox_route(sandbox)

    def rest(self, sandbox: RunningSandbox) -> None:
        """It must be resumed before a request is sent there."""
        key = (sandbox.workspace, sandbox.name)
        asleep = msgspec.structs.replace(sandbox_route(sandbox), asleep=True)
        self._routes.sandboxes[key] = asleep

    def withdraw(self, sandbox: RunningSandbox) -> None:
        """No more requests for this sandbox; a newer one of the same name stays."""
        key = (sandbox.workspace, sandbox.name)
        route = self._routes.sandboxes.get(key)
        if route is not None and route.resource_id == sandbox.id:
            del self._routes.sandboxes[key]

    def publish_preview(self, preview: PublishedPreview) -> None:
        """Serve a preview, or what has changed of it."""
        route = self._routes.previews[preview.slug] = preview_route(preview)
        if route.host:
            self._routes.hosts[route.host] = route

    def withdraw_preview(self, preview: PublishedPreview) -> None:
        """Serve it no more."""
        self._routes.previews.pop(preview.slug, None)
        held = self._routes.hosts.get(preview.host)
        if held is not None and held.slug == preview.slug:
            del self._routes.hosts[preview.host]

    async def refresh_domains(self) -> None:
        """Read every custom domain anew."""
        self._set_domains(await self._db.read(served_domains))

    def _set_domains(self, served: ServedDomains) -> None:
        self._routes.domains = {
            name: DomainRoute(
                name=name,
                workspace=domain.workspace,
                workspaces=domain.workspaces,
                fallback=domain.fallback,
            )
            for name, domain in served.verified.items()
        }
        self._routes.unverified = served.unverified

    async def refresh_models(self) -> None:
        """Read every model and its connection anew."""
        fresh = await self._db.read(self._model_routes)
        if fresh != self._routes.models:
            self._use(fresh)

    def changed(self, kind: str, document: Document, gone: bool) -> None:
        """A document changed: models and connections make routes."""
        if kind in {MODELS.name, CONNECTIONS.name, POLICIES.name}:
            with unbounded("the routes of all workspaces are one table"):
                self._use(self._db.read_now(self._model_routes))
        elif kind == DOMAINS.name:
            with unbounded("the domains of all workspaces are one table"):
                self._set_domains(self._db.read_now(served_domains))

    def _use(self, routes: dict[tuple[str, str], ModelRoute]) -> None:
        self._routes.models = routes
        for route in routes.values():
            if route.token_policies:
                self._token_policies.watch(route.resource_id, route.token_policies)

    def _governed(
        self, route: ModelRoute, spec: dict[str, Any], policies: dict[tuple[str, str], Document]
    ) -> ModelRoute:
        """The route with what the policies that it names have to say."""
        named = spec.get("policies") or []
        found = [policies.get((route.workspace, name)) for name in named]
        if None in found:
            missing = f"it names the policy '{named[found.index(None)]}', which does not exist"
            return msgspec.structs.replace(route, unusable=missing)
        held = [Attached(one.name, msgspec.json.decode(one.body)["spec"]) for one in found if one]
        limits = tuple(limit for one in held if (limit := policy_of(*one)) is not None)
        try:
            self._catalog.placement.demand("model", held, spec.get("flavors"))
            prohibited = ""
        except PolicyProhibits as refusal:
            prohibited = refusal.message
        strict = any(policy.strict for policy in limits)
        return msgspec.structs.replace(
            route, token_policies=limits, strict=strict, prohibited=prohibited
        )

    async def repair(self) -> None:
        """Compare in full for ever."""
        while True:
            await asyncio.sleep(REPAIR_SECONDS)
            try:
                await self.refresh_models()
                await self.refresh_domains()
            except Exception:
                log.exception("route_repair_failed")

    def _model_routes(self, conn: Connection) -> dict[tuple[str, str], ModelRoute]:
        connections = {(d.workspace, d.name): d for d in documents.every(conn, CONNECTIONS.name)}
        policies = {(d.workspace, d.name): d for d in documents.every(conn, POLICIES.name)}
        routes = {}
        for document in documents.every(conn, MODELS.name):
            body = self._store.reveal(MODELS, document)
            spec = body["spec"]
            route = model_route(account_of_workspace(conn, document.workspace), document, body)
            route = self._governed(route, spec, policies)
            named = [
                (name, connections.get((document.workspace, name)))
                for name in dict.fromkeys(spec.get("integrationConnections") or [])
            ]
            runtime = spec.get("runtime") or {}
            route = connected(route, [self._link(name, found, runtime) for name, found in named])
            # the same object as before, so that what is remembered of it stays
            before = self._routes.models.get((document.workspace, document.name))
            routes[document.workspace, document.name] = before if before == route else route
        return routes

    def _link(self, name: str, document: Document | None, runtime: dict[str, Any]) -> Link:
        providers = self._catalog.providers
        if document is None:
            family = providers.of({"integration": runtime.get("type") or ""}, runtime).family
            missing = f"it names the connection '{name}', which does not exist"
            return Link(name, family=family, problem=missing)
        connection = self._store.reveal(CONNECTIONS, document)["spec"]
        provider = runtime.get("type") or connection["integration"]
        try:
            called = providers.called(connection, runtime)
            origin_of(called.base_url)
            return Link(name, provider, called, called.provider.family)
        except SeraiError as problem:
            said = f"its connection '{name}' does not work: {problem.message}"
            return Link(name, provider, None, providers.of(connection, runtime).family, said)


def sandbox_route(sandbox: RunningSandbox) -> SandboxRoute:
    """The gateway's view of a running sandbox."""
    return SandboxRoute(
        account_id=sandbox.account_id,
        workspace=sandbox.workspace,
        name=sandbox.name,
        resource_id=sandbox.id,
        api_socket=sandbox.handle.api_socket,
        port_socket=sandbox.handle.port_socket,
    )


def preview_route(preview: PublishedPreview) -> PreviewRoute:
    """The gateway's view of a preview."""
    request, response = _fields(preview.request_headers), _fields(preview.response_headers)
    ends_at = preview.ends_at.timestamp() if preview.ends_at is not None else None
    return PreviewRoute(
        slug=preview.slug,
        workspace=preview.workspace,
        sandbox=preview.sandbox,
        name=preview.name,
        domain=preview.domain,
        host=preview.host,
        port=preview.port,
        public=preview.public,
        ends_at=ends_at,
        tokens={
            digest: moment.timestamp() if moment is not None else None
            for digest, moment in preview.tokens.items()
        },
        request_lines=[
            piece
            for name, value in request.items()
            if name != b"host"
            for piece in (name, b": ", value, b"\r\n")
        ],
        host_line=request.get(b"host"),
        authorizes=b"authorization" in request,
        dropped=DROPPED_FOR_SANDBOX | frozenset(request),
        response_headers=list(response.items()),
        response_names=frozenset(response),
    )


def _fields(headers: dict[str, str]) -> dict[bytes, bytes]:
    return {
        name.lower().encode("ascii"): value.encode("latin-1") for name, value in headers.items()
    }
