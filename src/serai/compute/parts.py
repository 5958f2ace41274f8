"""What belongs to sandboxes, put together: previews, schedules, snapshots, standby."""

import asyncio
from itertools import count

import structlog
from litestar.types import ControllerRouterHandler

from serai.compute.archives import Archives
from serai.compute.controller import SandboxController
from serai.compute.network_operations import network_operations
from serai.compute.ports import PreviewRoutes
from serai.compute.preview_operations import preview_operations
from serai.compute.preview_places import PreviewPlaces
from serai.compute.previews import PreviewService
from serai.compute.schedule_operations import schedule_operations
from serai.compute.schedules import ScheduleService
from serai.compute.snapshot_operations import snapshot_operations
from serai.compute.snapshots import Snapshots
from serai.compute.standby import Standby
from serai.compute.timer import ScheduleTimer
from serai.resources.operations import ResourceContext
from serai.store.secrets import Vault

EXPIRY_SECONDS = 1.0
REPAIR_EVERY = 30
"""Looks at expired previews between two full comparisons."""

log = structlog.get_logger(__name__)


class SandboxParts:
    """Started after the sandboxes themselves, stopped before them."""

    def __init__(
        self,
        controller: SandboxController,
        vault: Vault,
        routes: PreviewRoutes,
        standby: Standby,
        places: PreviewPlaces,
    ) -> None:
        self.controller = controller
        self.standby = standby
        db, store = controller.db, controller.store
        self.previews = PreviewService(db, store, vault, routes, places)
        self.schedules = ScheduleService(db, store, vault)
        self.timer = ScheduleTimer(self.schedules, controller)
        self.snapshots = Snapshots(controller, vault)
        self.archives = Archives(controller, vault)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Publish the previews and begin to watch the clock."""
        await self.previews.open()
        await self.snapshots.start()
        await self.archives.start()
        self.controller.on_end.append(self.previews.forget_sandbox)
        self._task = asyncio.create_task(self._expire())
        self.timer.start()
        self.standby.start()

    async def stop(self) -> None:
        """Start nothing more; what was under way is done again after the next start."""
        await self.standby.stop()
        await self.timer.stop()
        await self.archives.stop()
        await self.snapshots.stop()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def operations(self, context: ResourceContext) -> list[ControllerRouterHandler]:
        """Every operation below sandboxes, and those on schedules and snapshots."""
        return [
            *preview_operations(context, self.previews),
            *schedule_operations(context, self.schedules),
            *network_operations(context, self.controller.networks),
            *snapshot_operations(context, self.snapshots, self.archives),
        ]

    async def _expire(self) -> None:
        for look in count(1):
            await asyncio.sleep(EXPIRY_SECONDS)
            try:
                await self.previews.expire()
                if look % REPAIR_EVERY == 0:
                    await self.previews.repair()
            except Exception:
                log.exception("preview_expiry_failed")
