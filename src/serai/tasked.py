"""The jobs of one process: what makes their executions, and what runs them."""

import asyncio

import structlog
from litestar.types import ControllerRouterHandler
from sqlalchemy import Connection

from serai.compute import task_records
from serai.compute.executions import Executions
from serai.compute.job_operations import job_operations
from serai.compute.jobs import JOBS
from serai.egress.policy import Policy
from serai.hosting.boxes import Boxes, Outlet
from serai.hosting.networks import keep_networks
from serai.hosting.tasks_boxes import JobSpans, Surroundings, TaskBoxes
from serai.hosting.tasks_cron import CronTriggers
from serai.hosting.tasks_deploy import JobDeployer
from serai.hosting.tasks_runner import TaskRunner
from serai.hosting.tasks_slots import Slots
from serai.kernel.lines import LineSink
from serai.kernel.settings import Settings
from serai.provided import resolve_for
from serai.resources.operations import ResourceContext
from serai.resources.store import DocumentStore
from serai.sandboxing import Sandboxing
from serai.store.database import Database
from serai.store.secrets import Vault

log = structlog.get_logger(__name__)


def boxes_of(sandboxing: Sandboxing, sink: LineSink) -> Boxes:
    """Boxes on the runtime of sandboxes, with a network by the rules of those without rules."""
    networks, egress = sandboxing.networks, sandboxing.egress
    plan = networks.plan({"spec": {}})
    outlet = Outlet(plan, egress.put, egress.drop, Policy(closed=not sandboxing.internet))
    return Boxes(sandboxing.runtime, sink, outlet)


def resolve_for_job(conn: Connection, workspace: str, reference: str) -> str:
    """What a job's image means."""
    return resolve_for(conn, workspace, "job", reference)


def surroundings(origin: str) -> Surroundings:
    """What programs of a job are told of the platform, as those of other workloads are."""

    def tell(workspace: str, kind: str, name: str) -> dict[str, str]:
        whose = {"BL_WORKSPACE": workspace, "BL_TYPE": kind, "BL_NAME": name}
        return whose | {"BL_API_URL": f"{origin}/v0", "BL_RUN_URL": origin}

    return tell


class Jobs:
    """Executions from the beginning; what runs them once the runtime is there."""

    def __init__(
        self, settings: Settings, db: Database, vault: Vault, store: DocumentStore
    ) -> None:
        self._settings = settings
        self._db = db
        self._vault = vault
        self._store = store
        self._slots = Slots(settings.job_tasks)
        self.executions = Executions(store, vault, self)

    def is_full(self, conn: Connection) -> bool:
        """See ``compute.executions.Places``: by rows, as others may run tasks too."""
        return task_records.places_taken(conn) >= self._slots.most

    def prepare(self, sandboxing: Sandboxing, spans: JobSpans, sink: LineSink) -> None:
        """Put together what runs tasks, which nothing but ``start`` begins."""
        boxes = boxes_of(sandboxing, sink)
        sandboxing.controller.claims.append(task_records.has_box)
        self._sandboxing = sandboxing
        self._boxes = task_boxes = TaskBoxes(
            self._db,
            self._vault,
            boxes,
            resolve_for_job,
            surroundings(self._settings.origin),
            spans,
            self._settings.sandbox_disk_mb,
        )
        self._runner = TaskRunner(task_boxes, self._slots, spans)
        self._cron = CronTriggers(self._db, self.executions, self._runner.notify)
        self._deployer = JobDeployer(
            self._db, self._store, self.executions, boxes.runtime, resolve_for_job
        )

    async def start(self) -> None:
        """Take over what runs, and begin."""
        await self._runner.start()
        loop = asyncio.get_running_loop()
        works = (self._cron.run(), self._deployer.run(), self._keep_networks())
        self._beside = [loop.create_task(work) for work in works]

    async def stop(self) -> None:
        """End what runs; it is begun again at the next start."""
        for task in self._beside:
            task.cancel()
        await asyncio.gather(*self._beside, return_exceptions=True)
        await self._runner.stop()

    async def _keep_networks(self) -> None:
        await keep_networks(self._sandboxing.egress, self._sandboxing.runtime, self._boxes.handles)

    def changed(self, kind: str) -> None:
        """A document was written or deleted."""
        if kind == JOBS.name:
            self._cron.changed()
            self._deployer.changed()

    def operations(self, context: ResourceContext) -> list[ControllerRouterHandler]:
        """Every operation on jobs and applications."""
        return job_operations(context, self.executions, self._runner.notify)
