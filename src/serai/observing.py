"""Seeing every model call: the parts of telemetry, put together for one process."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from litestar.types import ControllerRouterHandler

from serai.billing.assembly import Billing
from serai.compute.live import LiveTable
from serai.compute.networks import SandboxNetworks
from serai.gateway.models.naming import provider_name
from serai.gateway.routes import RouteTable
from serai.identity.accounts import workspace_ids
from serai.identity.principal import Authenticator
from serai.kernel.cursors import CursorCodec
from serai.kernel.settings import Settings
from serai.logged import Logging
from serai.metering.models import UsageBuffer
from serai.metering.store import UsageStore
from serai.observed import ObservedCalls, attempted, described
from serai.resources import documents
from serai.resources.documents import Document
from serai.resources.kinds import MODELS
from serai.resources.store import DocumentStore
from serai.sandboxing import Sandboxing
from serai.store.database import Database
from serai.store.reach import unbounded
from serai.store.secrets import Vault
from serai.telemetry.exposition import Exposition, Reading
from serai.telemetry.keeper import RequestKeeper
from serai.telemetry.logs import RequestLogs
from serai.telemetry.metrics import LoopLag, ModelMetrics
from serai.telemetry.metrics_operations import metrics_operations
from serai.telemetry.operations import request_operations
from serai.telemetry.otlp import SpanExporter
from serai.telemetry.requests import RequestBuffer
from serai.telemetry.tracing import Tracer

MOST_ASKED = 200
"""Sandboxes whose egress is asked for in one scrape."""
PATIENCE = 1.0
"""Seconds a scrape waits for the egress process."""


class Observing:
    """What the gateway tells of models, and where that is read.

    Args:
        routes: the models that there are.
    """

    def __init__(
        self,
        settings: Settings,
        db: Database,
        usage: UsageStore,
        vault: Vault,
        routes: RouteTable,
        store: DocumentStore,
    ) -> None:
        self._settings = settings
        self._db = db
        self._usage = usage
        self.bill = UsageBuffer()
        self.rows = RequestBuffer(settings.model_request_rate)
        self.logs = RequestLogs(vault, settings.model_request_retention)
        self.logging = Logging(settings, db, store, self.rows)
        self.metrics = ModelMetrics()
        self.calls = ObservedCalls(self.bill, self.rows, self.logs, self.metrics, routes)
        self.exporter = (
            SpanExporter(settings.otlp_endpoint, settings.otlp_header_fields)
            if settings.otlp_endpoint is not None
            else None
        )
        self._billing: Billing | None = None
        self._lag = LoopLag()
        self._keeper = RequestKeeper(usage, self._living, settings.model_request_retention)
        self._egress = EgressSums()
        self.in_flight: Callable[[], Mapping[tuple[str, str], int]] = dict
        """Model calls under way; the gateway's to tell, once there is one."""

    def pay_from(self, billing: Billing) -> None:
        """Show what calls cost, and have budgets that refuse told of each."""
        self._billing = billing
        self.calls.pay_from(billing.spending)

    def tracer(self) -> Tracer | None:
        """Makes spans, where somebody takes them."""
        if self.exporter is None:
            return None
        return Tracer(self.exporter, self._settings.otlp_sampling, described, attempted)

    def work(self) -> list[Coroutine[Any, Any, None]]:
        """What runs until it is cancelled."""
        exporting = [] if self.exporter is None else [self.exporter.run()]
        return [
            self.bill.run(self._usage),
            self.rows.run(self._usage),
            self.logs.run(self._usage),
            self._keeper.run(),
            self._lag.watch(),
            *self.logging.work(),
            *exporting,
        ]

    def changed(self, kind: str, document: Document, gone: bool) -> None:
        """A document changed; with a model, what was kept of its calls goes, and its numbers."""
        self.logging.changed(kind, document)
        if gone and kind == MODELS.name:
            self._keeper.model_gone(document.id)
            self.calls.work()
            self.metrics.forget(document.workspace, document.name)

    async def _living(self) -> frozenset[str]:
        with unbounded("models of all workspaces may have calls"):
            return await self._db.read_in_thread(lambda conn: documents.ids(conn, MODELS.name))

    async def _owners(self) -> Mapping[str, str]:
        with unbounded("sums of all workspaces are kept, and each caller sees their own"):
            return await self._db.read(workspace_ids)

    def leave(self) -> None:
        """The server stops: end the streams of those who follow logs."""
        self.logging.lines.feed.close()

    def operations(
        self, cursors: CursorCodec, sandboxing: Sandboxing, authenticator: Authenticator
    ) -> list[ControllerRouterHandler]:
        """Every operation of telemetry."""
        assert self._billing is not None

        async def read(workspaces: frozenset[str], whole: bool) -> Reading:
            self.calls.work()
            live = sandboxing.controller.live
            return Reading(
                workspaces=workspaces,
                whole=whole,
                in_flight=self.in_flight(),
                sandboxes=sandbox_states(live),
                egress=await self._egress.read(live, sandboxing.networks, await self._owners()),
                skipped={
                    "rate": self.rows.skipped,
                    "queue": self.rows.lost,
                    "content": self.logs.lost,
                },
                traces=self.exporter.numbers if self.exporter is not None else {},
            )

        exposition = Exposition(self.metrics, self._lag, provider_name)
        return [
            *request_operations(self._usage, self.logs, cursors, self._billing.prices_of),
            *metrics_operations(exposition, read, self._settings.workspace),
            *self.logging.operations(self._usage, cursors, authenticator),
        ]


def sandbox_states(live: LiveTable) -> Mapping[tuple[str, str], int]:
    """How many sandboxes each workspace has, by state."""
    found: dict[tuple[str, str], int] = defaultdict(int)
    for one in live.by_id.values():
        found[one.sandbox.workspace, "standby" if one.asleep else "running"] += 1
    for workspace, _ in live.stopped:
        found[workspace, "stopped"] += 1
    return found


class EgressSums:
    """What sandboxes sent outside, by workspace: sums that only grow, as sandboxes come and go."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[int, int]] = {}
        self._last: dict[str, tuple[int, int]] = {}
        self._owners: Mapping[str, str] = {}

    async def read(
        self, live: LiveTable, networks: SandboxNetworks, owners: Mapping[str, str]
    ) -> dict[str, tuple[int, int]]:
        """Ask for what was sent since last time; who does not answer in time adds nothing.

        Args:
            live: sandboxes.
            networks: know what each sent.
            owners: id of each workspace by its name, which may be another one's by now.
        """
        self._forget(owners)
        awake = [each.sandbox for each in live.by_id.values() if not each.asleep][:MOST_ASKED]
        self._last = {name: seen for name, seen in self._last.items() if name in live.by_id}
        try:
            async with asyncio.timeout(PATIENCE):
                reports = await asyncio.gather(
                    *(networks.report(each.id) for each in awake), return_exceptions=True
                )
        except TimeoutError:
            return self._sums
        for sandbox, report in zip(awake, reports, strict=True):
            if sandbox.workspace in owners and not isinstance(report, BaseException):
                self._add(sandbox.workspace, sandbox.id, (report.allowed, report.blocked))
        return self._sums

    def _forget(self, owners: Mapping[str, str]) -> None:
        """Sums of workspaces that are no more, or began anew, end."""
        before, self._owners = self._owners, owners
        self._sums = {
            name: sums
            for name, sums in self._sums.items()
            if name in owners and before.get(name) == owners[name]
        }

    def _add(self, workspace: str, sandbox_id: str, seen: tuple[int, int]) -> None:
        before = self._last.get(sandbox_id, (0, 0))
        if seen < before:  # the egress process began anew
            before = (0, 0)
        self._last[sandbox_id] = seen
        grown = (max(0, now - then) for now, then in zip(seen, before, strict=True))
        sums = self._sums.get(workspace, (0, 0))
        allowed, refused = (old + more for old, more in zip(sums, grown, strict=True))
        self._sums[workspace] = (allowed, refused)
