"""Hosting in one process: what runs agents and functions, and lets requests reach them."""

from collections.abc import Coroutine, Mapping
from typing import Any

import structlog
from sqlalchemy import Connection

from serai.catalog.assembly import Catalog
from serai.catalog.hubs import Hubs
from serai.compute.applications import APPLICATIONS
from serai.compute.disks import volume_mount
from serai.compute.mount_rules import is_kept, prepare_volumes, take_volumes
from serai.compute.network_rules import policy_of
from serai.hosting import records
from serai.hosting.boxes import Boxes, Outlet
from serai.hosting.callbacks import Callbacks
from serai.hosting.calls import Calls
from serai.hosting.clocks import Clocks
from serai.hosting.fleets import Pace
from serai.hosting.networks import keep_networks
from serai.hosting.ports import Prebuilt, Usage, Workload
from serai.hosting.service import Hosting
from serai.hosting.starting import Starter
from serai.hosting.triggers import check_callbacks
from serai.kernel.lines import LineSink
from serai.kernel.settings import Settings
from serai.provided import resolve_for
from serai.resources.attachments import attachments
from serai.resources.documents import Document
from serai.resources.kind import Body, Kind
from serai.resources.kinds import AGENTS, FUNCTIONS
from serai.resources.store import DocumentStore, Rules
from serai.runtime.port import Mount
from serai.sandboxing import Sandboxing
from serai.storage.operations import volume_content
from serai.store.database import Database
from serai.store.secrets import Vault

HOSTED = (AGENTS, FUNCTIONS, APPLICATIONS)
log = structlog.get_logger(__name__)


class Hosted:
    """Put together before anything runs; started after the sandboxes, stopped before them."""

    def __init__(
        self,
        settings: Settings,
        db: Database,
        vault: Vault,
        store: DocumentStore,
        sandboxing: Sandboxing,
        usage: Usage,
        sink: LineSink,
        hubs: Hubs,
    ) -> None:
        self._settings = settings
        self._sandboxing = sandboxing
        self._content = volume_content(settings.data_dir)
        self.boxes = Boxes(sandboxing.runtime, sink, self._outlet())
        starter = Starter(
            db,
            self.boxes,
            usage,
            resolve_for,
            self._volumes,
            self._surroundings,
            lambda name, image: _offered(hubs, name, image),
            seconds=settings.start_seconds,
            disk_mb=settings.sandbox_disk_mb,
        )
        pace = Pace(
            concurrency=settings.instance_concurrency,
            idle=settings.standby_seconds,
            stop=settings.instance_stop_seconds,
        )
        self.hosting = Hosting(db, store, starter, HOSTED, pace)
        table, callbacks = self.hosting.table, Callbacks(settings.private_callbacks)
        self.calls = Calls(db, vault, table, starter, callbacks, settings.async_calls)
        self._clocks = Clocks(db, table, self.calls)
        sandboxing.controller.claims.append(records.exists)

    def _outlet(self) -> Outlet:
        egress, networks = self._sandboxing.egress, self._sandboxing.networks
        policy = policy_of(None, closed=networks.closed)
        plan = networks.plan({"spec": {}})
        return Outlet(plan, egress.put, egress.drop, policy)

    def _volumes(
        self, conn: Connection, workspace: str, own_id: str, volumes: tuple[Body, ...]
    ) -> tuple[Mount, ...]:
        return tuple(
            volume_mount(conn, workspace, f"{own_id}.{number}", volume, self._content)
            for number, volume in enumerate(volumes)
        )

    def _surroundings(self, workload: Workload, revision: str) -> Mapping[str, str]:
        origin = self._settings.origin
        return {
            "BL_WORKSPACE": workload.workspace,
            "BL_NAME": workload.name,
            "BL_TYPE": workload.kind,
            "BL_REVISION": revision,
            "BL_API_URL": f"{origin}/v0",
            "BL_RUN_URL": origin,
        }

    async def start(self) -> None:
        """Take over what runs, and begin to keep it as documents say."""
        await self.hosting.start()
        await self.calls.start()

    async def stop(self) -> None:
        """End what runs; it starts again on its next request."""
        await self.calls.stop()
        await self.hosting.stop()

    def changed(self, kind: str, document: Document, gone: bool) -> None:
        """A document was written or deleted."""
        self.hosting.changed(kind, document, gone)

    def work(self) -> list[Coroutine[Any, Any, None]]:
        """What runs beside, until it is cancelled."""
        return [self._keep_networks(), self._clocks.run()]

    async def _keep_networks(self) -> None:
        await keep_networks(self._sandboxing.egress, self.boxes.runtime, self.hosting.handles)


def _offered(hubs: Hubs, name: str, image: str) -> Prebuilt | None:
    """How the MCP server of an image is started, as the operator's file has it."""
    found = hubs.mcp_server(name, image)
    if found is None or found.entrypoint is None:
        return None
    start = found.entrypoint
    command = (start.command, *map(str, start.args or ())) if start.command else ()
    return Prebuilt(command=command, environment=start.env or {})


def rules_of(catalog: Catalog, settings: Settings) -> Rules:
    """What documents may not say, besides what their kinds know."""

    def check(conn: Connection, kind: Kind, workspace: str, body: Body) -> None:
        catalog.check(conn, kind, workspace, body)
        if kind in HOSTED:
            check_callbacks(body["spec"], private=settings.private_callbacks)
            _check_volumes(conn, kind, workspace, body)

    return check


def _check_volumes(conn: Connection, kind: Kind, workspace: str, body: Body) -> None:
    """Refuse volumes that there are not, or that another workload has."""
    spec, name = body["spec"], f"{kind.name}:{body['metadata']['name']}"
    prepare_volumes(spec)
    kept = [volume["name"] for volume in spec.get("volumes") or [] if is_kept(volume)]
    users = attachments(conn, workspace) if kept else {}
    if any(users.get(volume) != name for volume in kept):
        others = [volume for volume in spec["volumes"] if users.get(volume["name"]) != name]
        take_volumes(conn, workspace, spec | {"volumes": others})
