"""Builds of one process: from uploaded code to images, and to what waits for them."""

import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import structlog
from litestar.types import ControllerRouterHandler

from serai.build.announcing import Announcements
from serai.build.collecting import Collector
from serai.build.dockerfile import DockerfileBuilder
from serai.build.grants import Signer
from serai.build.native import NativeBuilder
from serai.build.operations import upload_operations
from serai.build.publishing import Publisher
from serai.build.queue import Bounds, BuildQueue, OnChange
from serai.build.ready import LayoutBuilder, RegistryBuilder
from serai.build.registries import registries
from serai.build.sources import Sources
from serai.build.workshop import Network, Workshop
from serai.compute.applications import APPLICATIONS
from serai.compute.jobs import JOBS
from serai.compute.kind import SANDBOXES
from serai.compute.uploaded import UploadedSandboxes
from serai.kernel.lines import LineSink
from serai.kernel.settings import Settings
from serai.resources.kinds import AGENTS, FUNCTIONS
from serai.sandboxing import Sandboxing
from serai.store.secrets import Vault

KINDS = (AGENTS, FUNCTIONS, JOBS, APPLICATIONS, SANDBOXES)
AT_ONCE = frozenset({JOBS.name})
"""Kinds of which nothing runs before it is asked for: they are deployed with their image."""
log = structlog.get_logger("serai.build")


class Building:
    """Everything that builds, once sandboxes are put together."""

    def __init__(
        self,
        settings: Settings,
        vault: Vault,
        sandboxing: Sandboxing,
        on_change: OnChange,
        sink: LineSink,
    ) -> None:
        self._settings = settings
        self._sandboxing = sandboxing
        db, store = sandboxing.controller.db, sandboxing.controller.store
        root = settings.data_dir / "builds"
        library = sandboxing.runtime
        self._sources = Sources(root, settings.build_upload_mb)
        waiting = UploadedSandboxes(sandboxing.controller)
        self._dockerfiles = DockerfileBuilder(
            root, settings.dockerfile_builds, settings.image_registries
        )
        self.queue = BuildQueue(
            db,
            self._sources,
            (
                LayoutBuilder(),
                self._dockerfiles,
                RegistryBuilder(library.library),
                NativeBuilder(self._workshop()),
            ),
            lambda: library.library,
            Publisher(store, KINDS, AT_ONCE, waiting),
            Bounds(
                at_once=settings.build_slots,
                seconds=settings.build_seconds,
                memory_mb=settings.build_memory_mb,
                disk_mb=settings.build_disk_mb,
            ),
            sink,
            on_change,
        )
        signer = Signer(vault.digest("build-uploads"), settings.origin)
        self.announcements = Announcements(db, self._sources, signer, self.queue.wake)
        self._collector = Collector(db, lambda: library.library.making, settings.builds_kept)

    def _workshop(self) -> Workshop:
        settings, sandboxing = self._settings, self._sandboxing
        found = registries(os.environ, Path.home())
        allowed = (*settings.build_hosts, *found.hosts) if settings.build_hosts else ()
        plan = sandboxing.networks.plan({"spec": {}})
        network = Network(
            plan=plan,
            environment=found.environment,
            allowed=allowed,
            routes=found.routes,
            trusted=found.places,
        )
        return Workshop(sandboxing.runtime, sandboxing.egress, network)

    def operations(self) -> list[ControllerRouterHandler]:
        """The upload of code."""
        return upload_operations(self.announcements, (self._settings.build_upload_mb + 1) << 20)

    async def prepare(self) -> None:
        """Repair what a crash left; before anything is served."""
        await self.queue.prepare()

    def work(self) -> list[Coroutine[Any, Any, None]]:
        """What runs beside, until it is cancelled."""
        return [self._build(), self._collect()]

    async def _build(self) -> None:
        # Rooms belong to no sandbox: those of a crash are removed before new ones are made.
        await self._sandboxing.repaired.wait()
        try:
            await self.queue.run()
        finally:
            self._dockerfiles.close()

    async def _collect(self) -> None:
        await self._sandboxing.repaired.wait()
        await self._collector.run()
