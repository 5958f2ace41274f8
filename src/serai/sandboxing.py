"""The sandboxes of one process: what runs them, and what keeps them as their rows say."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from litestar.types import ControllerRouterHandler
from sqlalchemy import Connection

from serai.compute.controller import SandboxController
from serai.compute.disks import SandboxDisks
from serai.compute.drive_mounts import DriveMounts
from serai.compute.exports import Exports
from serai.compute.in_place import InPlace
from serai.compute.networks import SandboxNetworks
from serai.compute.operations import sandbox_operations
from serai.compute.parts import SandboxParts
from serai.compute.preview_places import PreviewPlaces
from serai.compute.reconciler import Reconciler
from serai.compute.standby import Standby
from serai.compute.tunnels import KeptTunnels, Tunnels
from serai.gateway.discovery import Discovery, sandbox_route
from serai.gateway.routes import SandboxRoute
from serai.images.operations import ImageBuilds, image_operations
from serai.kernel.errors import SeraiError
from serai.kernel.settings import Settings
from serai.metered import SandboxSpans
from serai.network.assembly import Network
from serai.networked import egress_service, start_egress
from serai.provided import image_policy, provided, resolve_for_sandbox
from serai.resources.operations import ResourceContext
from serai.resources.store import DocumentStore
from serai.runtime.drivers import Drivers
from serai.runtime.instances import end_orphans
from serai.runtime.pool import Pool
from serai.runtime.port import RuntimeProblem
from serai.storage.drive_sizes import DriveSizes
from serai.storage.drives import locate_all
from serai.storage.operations import drive_files, storage_operations, volume_content
from serai.storage.s3_server import s3_server
from serai.store.database import Database
from serai.store.secrets import Vault


class NotUpgradable(SeraiError):
    """This machine cannot make a newer sandbox API ready (500, as the contract has it)."""

    code = "SANDBOX_NOT_UPGRADABLE"


class Sandboxing:
    """Runtime, network and disks, which are there from the beginning, and the rest once started.

    Args:
        own_mounts: this process has mounts that no other one sees.
    """

    def __init__(
        self,
        settings: Settings,
        network: Network,
        db: Database,
        vault: Vault,
        store: DocumentStore,
        *,
        own_mounts: bool,
    ) -> None:
        self._settings = settings
        self._network = network
        self._db = db
        self._vault = vault
        self._store = store
        self.egress = egress_service(settings, network.settings.egress)
        self.runtime = Drivers(
            settings.data_dir,
            settings.runtime,
            pool=Pool(settings.data_dir, settings.pool_mb, own_mounts=own_mounts),
            egress=self.egress.socket,
            policy=image_policy(settings),
        )
        self.disks = self.runtime.disks
        self.disks.unenforced_volumes = settings.unenforced_volumes
        self.s3 = s3_server(db, vault, self.disks, settings.data_dir, settings.s3_port)

    @property
    def s3_endpoint(self) -> str | None:
        """Where drives answer as buckets, if they do."""
        return self.s3.endpoint if self.s3 is not None else None

    @property
    def internet(self) -> bool:
        """Whether what has no rules of its own reaches the internet."""
        return self._network.settings.egress.internet

    def locate(self, conn: Connection) -> None:
        """Write into the drives where their buckets are now."""
        locate_all(conn, self.s3_endpoint)

    async def start_runtime(self) -> None:
        """Make ready to run sandboxes.

        Raises:
            RuntimeProblem: the driver that the settings ask for does not work here.
        """
        tidied = asyncio.to_thread(end_orphans)
        await asyncio.gather(start_egress(self.egress), self.runtime.start(), tidied)

    def prepare(self, spans: SandboxSpans, discovery: Discovery) -> None:
        """Put together what keeps sandboxes, which nothing but ``start`` begins."""
        settings = self._settings
        self.networks = SandboxNetworks(self._store, self.egress, closed=not self.internet)
        self.controller = SandboxController(
            self._db,
            self._store,
            self.runtime,
            spans,
            discovery,
            self.networks,
            SandboxDisks(settings.sandbox_disk_mb, volume_content(settings.data_dir)),
        )
        self.controller.imaging.resolve = resolve_for_sandbox
        self._exports = Exports(self.controller)
        kept = KeptTunnels(settings.data_dir / "tunnels", self._vault)
        self._tunnels = Tunnels(self.controller, self.egress, kept)
        self.in_place = InPlace(DriveMounts(self.controller), self._exports, self._tunnels)
        self._reconciler = Reconciler(self.controller)
        self._standby = Standby(self.controller, settings.standby_seconds)
        places = PreviewPlaces(settings.preview_addresses, self._network.domains)
        self._parts = SandboxParts(self.controller, self._vault, discovery, self._standby, places)

    @property
    def repaired(self) -> asyncio.Event:
        """Set when everything that belongs to no sandbox was removed after the start."""
        return self._reconciler.repaired

    async def start(self) -> None:
        """Take over what runs, and begin to keep it as its rows say."""
        await self._tunnels.prune()
        await self._reconciler.start()
        await self._parts.start()

    def work(self) -> list[Coroutine[Any, Any, None]]:
        """What runs beside, until it is cancelled."""
        always = [
            DriveSizes(self._db, drive_files(self.disks)).run(),
            self.networks.keep(self.controller.live, self.runtime),
        ]
        return always if self.s3 is None else [*always, self.s3.run()]

    async def find(self, workspace: str, name: str) -> SandboxRoute | None:
        """The way to a sandbox, woken or started where it was not running."""
        sandbox = await self.controller.wake(workspace, name)
        return sandbox_route(sandbox) if sandbox is not None else None

    async def successor(self, route: SandboxRoute) -> str:
        """Our version of a sandbox's API, ready to replace the one it has.

        Raises:
            NotUpgradable: this machine cannot make it.
        """
        live = self.controller.live.by_id.get(route.resource_id)
        if live is None:
            raise NotUpgradable("The sandbox has just ended or gone to sleep; try again.")
        try:
            return await self.runtime.successor(live.sandbox.handle)
        except RuntimeProblem as problem:
            raise NotUpgradable(f"The sandbox cannot be upgraded: {problem}") from problem

    def used(self, route: SandboxRoute, change: int) -> None:
        """A request to a sandbox began (1), ended (-1), or goes on (0)."""
        self._standby.use(route.resource_id, change)

    def operations(
        self, context: ResourceContext, builds: ImageBuilds
    ) -> list[ControllerRouterHandler]:
        """Every operation on sandboxes, and on the images and disks that they use."""
        data_dir = self._settings.data_dir
        return [
            *sandbox_operations(context, self.controller),
            *self._parts.operations(context),
            *storage_operations(context, self._vault, data_dir, self.disks, self.s3_endpoint),
            *image_operations(context, provided(self.runtime, self._settings), builds),
        ]

    async def stop_parts(self) -> None:
        """Begin nothing more that uses sandboxes."""
        await self._exports.stop()
        await self._parts.stop()

    async def stop(self) -> None:
        """End or suspend what runs, as the settings have it."""
        await self._reconciler.stop(suspend=self._settings.on_stop == "suspend")

    async def close(self) -> None:
        """Release everything, once nothing uses it any more."""
        await self.runtime.close()
        await self.egress.close()
