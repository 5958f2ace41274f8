"""The composition root: the only module, with the commands, that knows every other."""

import asyncio
import os
import sys

import structlog
import uvloop
from litestar.types import ASGIApp, ControllerRouterHandler
from sqlalchemy import Connection

from serai.announcing import announce
from serai.api.app import Management, create_app
from serai.api.versions import RELEASES, VersionRegistry
from serai.billing.assembly import Billing
from serai.billing.context import FreshUsage
from serai.built import Building
from serai.catalog.assembly import Catalog
from serai.compute.applications import APPLICATIONS
from serai.compute.jobs import JOBS
from serai.compute.kind import SANDBOXES
from serai.connect.proxy import ConnectProxy
from serai.console.assembly import console_operations
from serai.gateway.allowance import Allowance
from serai.gateway.discovery import Discovery
from serai.gateway.dry_run_operations import dry_run_operations
from serai.gateway.gateway import Gateway
from serai.gateway.limits import Limits
from serai.gateway.models.token_policies import TokenPolicies
from serai.gateway.routes import RouteTable
from serai.gateway.sites import Sites
from serai.gateway.targets import RESERVED
from serai.health import health_operation
from serai.hosted import Hosted, rules_of
from serai.identity import one_time_links
from serai.identity.access_tokens import AccessTokens
from serai.identity.authenticator import CredentialAuthenticator
from serai.identity.bootstrap import Bootstrapped, bootstrap, unclaimed_admin
from serai.identity.caller import Guard
from serai.identity.context import IdentityContext
from serai.identity.names import NameRules
from serai.identity.operations import identity_operations
from serai.identity.operations.features import FEATURES
from serai.identity.passwords import Passwords
from serai.identity.rights import check_rights
from serai.identity.signing_keys import KeyRing
from serai.images.share_operations import share_operations
from serai.kernel import instance
from serai.kernel.clock import now
from serai.kernel.cursors import CursorCodec
from serai.kernel.errors import SeraiError
from serai.kernel.settings import Settings
from serai.listening import Listening
from serai.logs import configure_logs
from serai.mail.assembly import mailer_of, sender_of
from serai.metered import HostedUsage, SandboxSpans, tokens_used
from serai.metering.delivery import SpanDelivery
from serai.metering.keeper import keep_metering, metering_clock
from serai.metering.moving import move_from_platform
from serai.metering.prices import PriceList
from serai.metering.spans import SpanMeter
from serai.metering.store import UsageStore
from serai.network.assembly import Network
from serai.network.domains import DOMAINS
from serai.oauth.assembly import oauth_operations
from serai.oauth.context import OAuth
from serai.oauth.keeper import keep_oauth
from serai.observing import Observing
from serai.provided import hub
from serai.resources.audit_operations import AuditLayer, audit_operations
from serai.resources.change_operations import change_operations
from serai.resources.changes import ChangeStream
from serai.resources.documents import Document
from serai.resources.idempotency import IdempotencyLayer
from serai.resources.kinds import DOCUMENT_KINDS, POLICIES
from serai.resources.operations import ResourceContext, read_operations, write_operations
from serai.resources.quota_operations import quota_operations
from serai.resources.store import DocumentStore
from serai.runtime.port import RuntimeProblem
from serai.runtime.privacy import own_mounts
from serai.runtime.roots.recipes import Recipes
from serai.sandboxing import Sandboxing
from serai.serving import Server, http_config
from serai.signin.assembly import keep_sign_in, sign_in_operations, upstream_of
from serai.signin.site import Site
from serai.storage.s3_access import s3_secrets
from serai.storage.volumes import VOLUMES
from serai.store.database import Database
from serai.store.secrets import Vault
from serai.tasked import Jobs

log = structlog.get_logger("serai")


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code. The caller holds the data directory."""
    configure_logs(settings)
    own = own_mounts()
    try:
        return uvloop.run(Platform(settings, own_mounts=own).serve())
    except (SeraiError, RuntimeProblem) as problem:
        sys.stderr.write(f"Error: {problem}\n")
        return 1


class Platform:
    """Every part of one Serai process, put together and started in order."""

    def __init__(self, settings: Settings, *, own_mounts: bool) -> None:
        self.settings = settings
        self.vault = Vault.open(settings.data_dir / "master.key")
        self.db = Database(settings.data_dir / "serai.db")
        recipes = Recipes()
        self.catalog = Catalog(settings.data_dir, self.vault, lambda: hub(self.runtime, recipes))
        rules = rules_of(self.catalog, settings)
        self.store = DocumentStore(self.vault, settings.origin, rules)
        self.ring = KeyRing(self.db, self.vault)
        self.tokens = AccessTokens(self.ring, f"{settings.origin}/v0", settings.origin)
        self.authenticator = CredentialAuthenticator(self.db, self.vault, self.tokens)
        self.oauth = OAuth(
            self.db,
            self.vault,
            self.tokens,
            self.authenticator,
            settings.origin,
            settings.reusable_device_tokens,
        )
        self.names = NameRules(frozenset(segment.decode() for segment in RESERVED))
        self.listening = Listening(settings)
        self.connect = ConnectProxy(self.listening.authority)
        self.routes = RouteTable()
        self.usage = UsageStore(settings.data_dir, settings.usage_database_url)
        self.meter = SpanMeter()
        self.delivery = SpanDelivery(self.db, self.usage, self.meter)
        self.observing = Observing(
            settings, self.db, self.usage, self.vault, self.routes, self.store
        )
        self.billing = Billing(
            self.db,
            FreshUsage(self.usage, self.delivery),
            self.usage,
            self.observing.bill,
            PriceList.load(settings.prices_file),
            self.vault,
            settings.private_webhooks,
        )
        self.observing.pay_from(self.billing)
        self.network = Network(
            settings.data_dir, settings.origin, lambda: self.catalog.places.regions()
        )
        self.sandboxing = Sandboxing(
            settings, self.network, self.db, self.vault, self.store, own_mounts=own_mounts
        )
        self.runtime = self.sandboxing.runtime
        self.jobs = Jobs(settings, self.db, self.vault, self.store)
        self.token_policies = TokenPolicies(tokens_used(self.usage))
        self.discovery = Discovery(
            self.db, self.store, self.routes, self.catalog, self.token_policies
        )
        self.passwords = Passwords()
        self.upstream = upstream_of(settings)
        label = settings.oidc_label if self.upstream else None
        self.mailer = mailer_of(settings, self.db, self.vault)
        self.site = Site(
            self._identity(), self.passwords, sender_of(self.mailer), upstream_label=label
        )
        self.allowance = Allowance(self.db, self.usage, self.billing.spending)
        self.changes = ChangeStream()
        self.db.after_commit.append(self.changes.publish)
        self.tasks: list[asyncio.Task[None]] = []

    async def serve(self) -> int:
        """Start everything, serve until a signal comes, stop everything."""
        booted = await self._open()
        clock = await metering_clock(self.usage, now())
        spans = SandboxSpans(self.meter, self.usage, clock)
        self.assemble(spans)
        await self.building.prepare()
        await self.sandboxing.start()
        await self.hosted.start()
        await self.jobs.start()
        self.tasks += [
            asyncio.create_task(self.discovery.repair()),
            asyncio.create_task(self.allowance.run()),
            *(asyncio.create_task(work) for work in self.observing.work()),
            asyncio.create_task(self.authenticator.keep_notes()),
            asyncio.create_task(self.authenticator.watch()),
            asyncio.create_task(self.ring.keep()),
            asyncio.create_task(keep_oauth(self.db)),
            asyncio.create_task(keep_sign_in(self.site)),
            *([asyncio.create_task(self.mailer.run())] if self.mailer is not None else []),
            asyncio.create_task(self.delivery.run()),
            asyncio.create_task(
                keep_metering(
                    self.usage,
                    self.meter,
                    self.delivery,
                    clock.now,
                    retention_days=self.settings.usage_event_retention,
                )
            ),
            asyncio.create_task(self.billing.run()),
            *(asyncio.create_task(work) for work in self.sandboxing.work()),
            *(asyncio.create_task(work) for work in self.building.work()),
            *(asyncio.create_task(work) for work in self.hosted.work()),
        ]
        gateway = self._gateway()
        self.observing.in_flight = gateway.in_flight
        http = self.listening.protocol(gateway)
        config = http_config(self.settings, self.application(), http)
        server = Server(config, self._leave)
        setup = await self.db.write(self._setup_link) if self.settings.banner else None
        try:
            await server.serve_until_signal(
                lambda: announce(self.settings, self.runtime, booted, setup)
            )
        finally:
            await self.jobs.stop()
            await self.sandboxing.stop_parts()
            await self.hosted.stop()
            await self._close(gateway)
        return 0

    def assemble(self, spans: SandboxSpans) -> None:
        """Put together what runs code, once it is known how running time is metered."""
        self.sandboxing.prepare(spans, self.discovery)
        controller, sink = self.sandboxing.controller, self.observing.logging.sink
        self.building = Building(self.settings, self.vault, self.sandboxing, self._changed, sink)
        self.jobs.prepare(self.sandboxing, spans.of_jobs(), sink)
        self.observing.logging.watch(controller)
        self.hosted = Hosted(
            self.settings,
            self.db,
            self.vault,
            self.store,
            self.sandboxing,
            HostedUsage(spans),
            sink,
            self.catalog.hubs,
        )

    def _setup_link(self, conn: Connection) -> str | None:
        """A new link for the first admin's password, as long as they have none."""
        admin = unclaimed_admin(conn)
        if admin is None:
            return None
        return one_time_links.make(conn, self.vault, "setup", admin.id, self.settings.origin, now())

    async def _open(self) -> Bootstrapped:
        settings = self.settings
        self.db.open()
        self.usage.open()
        self.observing.logging.lines.open()
        runtime = asyncio.create_task(self.sandboxing.start_runtime())  # processes: beside the rest
        await move_from_platform(self.db, self.usage)
        await self.delivery.start((VOLUMES, DOMAINS))
        booted = await self.db.write(
            lambda conn: bootstrap(
                conn, self.vault, settings.workspace, settings.admin_api_key, self.names
            )
        )
        if booted.admin_key is not None:
            instance.write_admin_key(settings.data_dir, booted.admin_key)
        await self.ring.open()
        self.listening.authority.prepare(os.environ)
        await self.db.write(self._relocate)
        await self.discovery.refresh_models()
        await self.token_policies.loaded()
        await self.billing.spending.reload()
        await self.discovery.refresh_domains()
        await runtime
        return booted

    def _relocate(self, conn: Connection) -> None:
        self.sandboxing.locate(conn)
        for kind in (*DOCUMENT_KINDS, SANDBOXES, JOBS, APPLICATIONS):
            if kind.has_url:
                self.store.relocate(conn, kind)

    def _gateway(self) -> Gateway:
        calls = self.observing.calls
        addresses = self.settings.preview_addresses
        return Gateway(
            self.routes,
            self.authenticator,
            on_model_usage=calls.add,
            on_model_refusal=calls.refused,
            on_model_content=calls.content,
            tracer=self.observing.tracer(),
            on_sandbox_activity=self.sandboxing.used,
            connect=self.connect,
            find_sandbox=self.sandboxing.find,
            in_place=self.sandboxing.in_place,
            successor=self.sandboxing.successor,
            allowance=self.allowance,
            limits=Limits(model_cache_bytes=self.settings.model_cache_mb << 20),
            log_every=self.settings.log_level == "debug",
            token_policies=self.token_policies,
            sites=Sites(self.routes, addresses, self.network.settings.own_hosts),
            isolate_previews=addresses.domain is not None or not self.settings.is_trustworthy,
            hosted=self.hosted.hosting.table,
            calls=self.hosted.calls,
        )

    def _leave(self) -> None:
        """The server stops: end what has no end of its own."""
        self.observing.leave()
        self.changes.close()

    def _changed(self, kind: str, document: Document, gone: bool) -> None:
        self.discovery.changed(kind, document, gone)
        self.observing.changed(kind, document, gone)
        self.hosted.changed(kind, document, gone)
        self.jobs.changed(kind)

    def application(self) -> ASGIApp:
        """The management API with everything in it."""
        cursors = CursorCodec(self.vault.digest("cursors"))
        complete = {SANDBOXES.name: self.sandboxing.controller.show}
        uploads = self.building.announcements
        context = ResourceContext(self.db, self.store, cursors, self._changed, complete, uploads)
        handlers: list[ControllerRouterHandler] = [
            health_operation(self.sandboxing, self.delivery),
            *self.sandboxing.operations(context, uploads),
            *self.building.operations(),
            *self.billing.operations(),
            *self.observing.operations(cursors, self.sandboxing, self.authenticator),
            *change_operations(self.changes),
            *audit_operations(self.db, cursors),
            *quota_operations(self.db, self.usage),
            *identity_operations(self._identity()),
            *oauth_operations(self.oauth, self._identity()),
            *sign_in_operations(self.site, self.oauth, self.upstream),
            *self.jobs.operations(context),
            *console_operations(self.site, self.oauth, self.settings.preview_addresses),
            *self.network.operations(context),
            *self.catalog.operations(context),
            *dry_run_operations(context, self.usage, self.catalog.placement),
            *share_operations(context),
        ]
        for kind in DOCUMENT_KINDS:
            if kind is not POLICIES:  # catalog reads these, with their usage
                handlers += read_operations(context, kind)
            handlers += write_operations(context, kind)
        return create_app(
            [Management("/", route_handlers=handlers, guards=[check_rights])],
            VersionRegistry(RELEASES, f"{self.settings.origin}/docs/api"),
            [
                lambda app: Guard(app, self.authenticator),
                lambda app: IdempotencyLayer(
                    app, self.db, self.vault, self.settings.max_body_bytes
                ),
                lambda app: AuditLayer(app, self.db),
            ],
            self.settings.max_body_bytes,
        )

    def _identity(self) -> IdentityContext:
        return IdentityContext(
            self.db,
            self.vault,
            self.authenticator,
            self.settings.origin,
            self.names,
            FEATURES,
            self.mailer,
            s3_secrets(self.vault) if self.sandboxing.s3 is not None else None,
            self.observing.logging.workspace_gone,
        )

    async def _close(self, gateway: Gateway) -> None:
        log.info("stopping", sandboxes=len(self.sandboxing.controller.live.by_id))
        gateway.close()
        await self.connect.close()
        await self.sandboxing.stop()
        await self.listening.close()
        self.observing.calls.work()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.sandboxing.close()
        self.passwords.close()
        self.observing.logging.lines.close()
        self.usage.close()
        self.db.close()
        log.info("stopped")
