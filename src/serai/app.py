"""The composition root: the only module, with the commands, that knows every other."""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from socket import socket

import msgspec
import structlog
import uvicorn
import uvloop
from litestar import Response, Router, get
from litestar.types import ASGIApp, ControllerRouterHandler
from sqlalchemy import Connection

import serai
from serai.api.app import create_app
from serai.api.exchange import json_response
from serai.api.versions import RELEASES, VersionRegistry
from serai.billing.assembly import Billing
from serai.billing.context import FreshUsage
from serai.catalog.assembly import Catalog
from serai.compute.applications import APPLICATIONS
from serai.compute.controller import SandboxController
from serai.compute.job_operations import job_operations
from serai.compute.jobs import JOBS
from serai.compute.kind import SANDBOXES
from serai.compute.operations import sandbox_operations
from serai.compute.parts import SandboxParts
from serai.compute.ports import RunningSandbox
from serai.compute.reconciler import Reconciler
from serai.connect.authority import Authority
from serai.connect.banner import banner
from serai.connect.proxy import ConnectProxy
from serai.gateway.allowance import Allowance
from serai.gateway.discovery import Discovery, sandbox_route
from serai.gateway.gateway import Gateway
from serai.gateway.protocol import gateway_protocol
from serai.gateway.routes import ModelRoute, RouteTable, SandboxRoute
from serai.gateway.targets import RESERVED
from serai.gateway.usage import ModelUsage
from serai.identity.authenticator import KeyAuthenticator
from serai.identity.bootstrap import Bootstrapped, bootstrap
from serai.identity.caller import Guard
from serai.identity.context import IdentityContext
from serai.identity.names import NameRules
from serai.identity.operations import identity_operations
from serai.identity.operations.features import FEATURES
from serai.identity.principal import Principal
from serai.identity.rights import check_rights
from serai.images.operations import image_operations
from serai.images.share_operations import share_operations
from serai.kernel import instance
from serai.kernel.clock import SteadyClock, now
from serai.kernel.cursors import CursorCodec
from serai.kernel.errors import SeraiError
from serai.kernel.instance import Instance
from serai.kernel.settings import Settings
from serai.logs import configure_logs
from serai.metering.delivery import SpanDelivery
from serai.metering.dimensions import SANDBOX_RUNTIME
from serai.metering.keeper import keep_metering, metering_clock
from serai.metering.models import ModelCall, UsageBuffer
from serai.metering.moving import move_from_platform
from serai.metering.prices import PriceList
from serai.metering.spans import SpanMeter
from serai.metering.store import UsageStore
from serai.metering.times import moment_of
from serai.network.assembly import Network
from serai.network.domains import DOMAINS
from serai.resources.audit_operations import AuditLayer, audit_operations
from serai.resources.idempotency import IdempotencyLayer
from serai.resources.kinds import DOCUMENT_KINDS, POLICIES
from serai.resources.operations import ResourceContext, read_operations, write_operations
from serai.resources.quota_operations import quota_operations
from serai.resources.spans import Metered, close_span, open_span
from serai.resources.store import DocumentStore
from serai.runtime.embedded import EmbeddedRuntime
from serai.runtime.port import Runtime, RuntimeProblem
from serai.runtime.unavailable import UnavailableRuntime
from serai.storage.drive_sizes import DriveSizes
from serai.storage.operations import drive_files, storage_operations
from serai.storage.volumes import VOLUMES
from serai.store.database import Database
from serai.store.secrets import Vault

DRAIN_SECONDS = 5
log = structlog.get_logger("serai")


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code. The caller holds the data directory."""
    configure_logs(settings)
    try:
        return uvloop.run(Platform(settings).serve())
    except SeraiError as problem:
        sys.stderr.write(f"Error: {problem.message}\n")
        return 1


class Platform:
    """Every part of one Serai process, put together and started in order."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.vault = Vault.open(settings.data_dir / "master.key")
        self.db = Database(settings.data_dir / "serai.db")
        self.store = DocumentStore(self.vault, settings.origin)
        self.authenticator = KeyAuthenticator(self.db, self.vault)
        self.names = NameRules(frozenset(segment.decode() for segment in RESERVED))
        self.authority = Authority(settings.data_dir)
        self.connect = ConnectProxy(self.authority)
        self.routes = RouteTable()
        self.discovery = Discovery(self.db, self.store, self.routes)
        self.usage = UsageStore(settings.data_dir, settings.usage_database_url)
        self.meter = SpanMeter()
        self.delivery = SpanDelivery(self.db, self.usage, self.meter)
        self.calls = UsageBuffer()
        self.billing = Billing(
            self.db,
            FreshUsage(self.usage, self.delivery),
            PriceList.load(_prices_file(settings)),
            self.vault,
            settings.private_webhooks,
        )
        self.runtime: Runtime = EmbeddedRuntime(settings.data_dir)
        self.catalog = Catalog(settings.data_dir, self.vault, lambda: self.runtime.images())
        self.network = Network(settings.data_dir, settings.origin, self.catalog.places.regions)
        self.allowance = Allowance(self.db, self.usage)
        self.tasks: list[asyncio.Task[None]] = []

    async def serve(self) -> int:
        """Start everything, serve until a signal comes, stop everything."""
        booted = await self._open()
        clock = await metering_clock(self.usage, now())
        spans = SandboxSpans(self.meter, self.usage, clock)
        controller = SandboxController(self.db, self.store, self.runtime, spans, self.discovery)
        reconciler = Reconciler(controller)
        await reconciler.start()
        parts = SandboxParts(controller, self.vault, self.discovery)
        await parts.start()
        self.tasks += [
            asyncio.create_task(self.discovery.repair()),
            asyncio.create_task(self.allowance.run()),
            asyncio.create_task(self.calls.run(self.usage)),
            asyncio.create_task(self.authenticator.keep_notes()),
            asyncio.create_task(self.delivery.run()),
            asyncio.create_task(DriveSizes(self.db, drive_files(self.settings.data_dir)).run()),
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
        ]
        gateway = self._gateway(controller)
        server = Server(self._config(gateway, self._application(controller, parts)))
        try:
            await server.serve_until_signal(lambda: self._ready(booted))
        finally:
            await parts.stop()
            await self._close(gateway, reconciler)
        return 0

    async def _open(self) -> Bootstrapped:
        settings = self.settings
        self.db.open()
        self.usage.open()
        await move_from_platform(self.db, self.usage)
        await self.delivery.start((VOLUMES, DOMAINS))
        booted = await self.db.write(
            lambda conn: bootstrap(
                conn, self.vault, settings.workspace, settings.admin_api_key, self.names
            )
        )
        if booted.admin_key is not None:
            instance.write_admin_key(settings.data_dir, booted.admin_key)
        self.authority.prepare(os.environ)
        await self.db.write(self._relocate)
        await self.discovery.refresh_models()
        try:
            await self.runtime.start()
        except RuntimeProblem as problem:
            log.warning("sandboxes_unavailable", reason=str(problem))
            self.runtime = UnavailableRuntime(str(problem))
        return booted

    def _relocate(self, conn: Connection) -> None:
        for kind in (*DOCUMENT_KINDS, SANDBOXES, JOBS, APPLICATIONS):
            if kind.has_url:
                self.store.relocate(conn, kind)

    def _gateway(self, controller: SandboxController) -> Gateway:
        async def find_sandbox(workspace: str, name: str) -> SandboxRoute | None:
            sandbox = await controller.wake(workspace, name)
            return sandbox_route(sandbox) if sandbox is not None else None

        def on_model_usage(route: ModelRoute, principal: Principal, usage: ModelUsage) -> None:
            self.calls.add(_model_call(route, usage))

        def on_sandbox_activity(route: SandboxRoute) -> None:
            controller.touch(route.resource_id)

        return Gateway(
            self.routes,
            self.authenticator,
            on_model_usage=on_model_usage,
            on_sandbox_activity=on_sandbox_activity,
            connect=self.connect,
            find_sandbox=find_sandbox,
            allowance=self.allowance,
            log_every=self.settings.log_level == "debug",
        )

    def _application(self, controller: SandboxController, parts: SandboxParts) -> ASGIApp:
        cursors = CursorCodec(self.vault.digest("cursors"))
        context = ResourceContext(self.db, self.store, cursors, self.discovery.changed)
        handlers: list[ControllerRouterHandler] = [
            self._health(controller),
            *sandbox_operations(context, controller),
            *parts.operations(context),
            *self.billing.operations(),
            *audit_operations(self.db, cursors),
            *quota_operations(self.db, self.usage),
            *identity_operations(self._identity()),
            *job_operations(context, self.vault),
            *storage_operations(context, self.vault, self.settings.data_dir),
            *self.network.operations(context),
            *self.catalog.operations(context),
            *image_operations(context, lambda: self.runtime.images()),
            *share_operations(context),
        ]
        for kind in DOCUMENT_KINDS:
            if kind is not POLICIES:  # catalog reads these, with their usage
                handlers += read_operations(context, kind)
            handlers += write_operations(context, kind)
        return create_app(
            [Router("/", route_handlers=handlers, guards=[check_rights])],
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
            self.db, self.vault, self.authenticator, self.settings.origin, self.names, FEATURES
        )

    def _health(self, controller: SandboxController) -> ControllerRouterHandler:
        @get("/health")
        async def health() -> Response[bytes]:
            body = {
                "status": "ok",
                "version": serai.__version__,
                "sandboxes": {"running": len(controller.live.by_id)},
                "isolation": self.runtime.isolation,
                "usage": {"setAside": self.delivery.set_aside},
            }
            return json_response(msgspec.json.encode(body))

        return health

    def _config(self, gateway: Gateway, app: ASGIApp) -> uvicorn.Config:
        return uvicorn.Config(
            app,
            host=self.settings.host,
            port=self.settings.port,
            http=gateway_protocol(gateway),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )

    def _ready(self, booted: Bootstrapped) -> None:
        settings = self.settings
        instance.publish(
            settings.data_dir,
            Instance(
                pid=os.getpid(),
                url=settings.origin,
                host=settings.host,
                port=settings.port,
                workspace=settings.workspace,
                version=serai.__version__,
                started_at=now(),
            ),
        )
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
        log.info("ready", url=settings.origin, isolation=self.runtime.isolation)
        if settings.banner:
            shown = booted.admin_key if settings.admin_api_key is None else None
            text = banner(settings.origin, shown, settings.workspace, settings.data_dir)
            sys.stdout.write(text + "\n")
            sys.stdout.flush()

    async def _close(self, gateway: Gateway, reconciler: Reconciler) -> None:
        log.info("stopping", sandboxes=len(reconciler.controller.live.by_id))
        gateway.close()
        await self.connect.close()
        await reconciler.stop()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.runtime.close()
        self.usage.close()
        self.db.close()
        log.info("stopped")


class Server(uvicorn.Server):
    """uvicorn, with our signals: the first one drains, a second SIGINT leaves at once."""

    async def serve_until_signal(self, ready: Callable[[], None]) -> None:
        """Listen, call ``ready``, and answer until SIGTERM or SIGINT, then drain."""
        self._ready = ready
        await self.serve()

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        if self.started:
            self._ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals on the loop; uvicorn's own way raises them again at the end."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)


class SandboxSpans:
    """Tells metering what compute starts and stops; see ``compute.ports.UsageSpans``."""

    def __init__(self, meter: SpanMeter, usage: UsageStore, clock: SteadyClock) -> None:
        self._meter = meter
        self._usage = usage
        self._clock = clock

    def open(self, conn: Connection, sandbox: RunningSandbox, at: datetime) -> None:
        """The sandbox runs from now on: ``at`` by a clock that nobody sets."""
        resource = Metered(
            id=sandbox.id,
            account_id=sandbox.account_id,
            workspace=sandbox.workspace,
            type="sandbox",
            name=sandbox.name,
        )
        open_span(conn, resource, SANDBOX_RUNTIME, sandbox.memory_mb, self._clock.now())

    def close(self, conn: Connection, sandbox_id: str, at: datetime) -> None:
        """The sandbox ran until now, see ``open``."""
        close_span(conn, sandbox_id, SANDBOX_RUNTIME, self._clock.now())

    def recover(self, conn: Connection, alive: list[str], now: datetime) -> None:
        """After our own restart; what the outbox held is delivered."""
        ended = self._usage.read_now(lambda u: self._meter.ended(u, SANDBOX_RUNTIME, alive))
        for sandbox_id, last_tick in ended:
            close_span(conn, sandbox_id, SANDBOX_RUNTIME, moment_of(last_tick))


def _model_call(route: ModelRoute, usage: ModelUsage) -> ModelCall:
    return ModelCall(
        account_id=route.account_id,
        workspace=route.workspace,
        resource_id=route.resource_id,
        model_name=route.name,
        request_id=usage.request_id,
        started=usage.started,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        total_tokens=usage.total_tokens,
        counted=usage.counted,
        status=usage.status,
        provider=route.provider,
    )


def _prices_file(settings: Settings) -> Path | None:
    path = settings.data_dir / "prices.toml"
    return path if path.exists() else None
