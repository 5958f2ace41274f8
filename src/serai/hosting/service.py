"""Keeping deployments as their documents say, until stopped.

Level-triggered: a change only says which document to look at, and all are looked at every few
seconds. What is wanted stands in documents, what serves in rows, what runs in boxes.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from random import Random
from time import monotonic

import msgspec
import structlog
from sqlalchemy import Connection

from serai.hosting import records
from serai.hosting.adoption import adopt_all, note_lines, workload_of
from serai.hosting.deployments import Deployment, Table
from serai.hosting.fleets import DRAIN_SECONDS, Fleet, Pace
from serai.hosting.instances import Instance
from serai.hosting.launches import Launch
from serai.hosting.ports import Workload
from serai.hosting.problems import StartFailed
from serai.hosting.records import InstanceRow, Serving
from serai.hosting.rollout import Rollout
from serai.hosting.starting import Starter
from serai.hosting.statuses import Statuses, Wanted, waiting_of, wanted_of
from serai.hosting.triggers import triggers_of
from serai.kernel.background import Background
from serai.resources import documents
from serai.resources.documents import Document
from serai.resources.kind import Kind
from serai.resources.revisions import WAITING
from serai.resources.store import DocumentStore
from serai.resources.tenants import Tenant, find_tenant
from serai.runtime.port import SandboxHandle
from serai.store.database import Database

LOOK_SECONDS = 5.0
TEND_SECONDS = 0.5
FAILURES = 3
"""So many failures in a row of a revision that serves make its deployment ``FAILED``."""
STOP_SECONDS = 5.0
log = structlog.get_logger(__name__)


class Hosting:
    """Deployments of some kinds.

    Args:
        kinds: by name; which documents are deployments.
        pace: see ``Pace``.

    Attributes:
        table: what requests find.
    """

    def __init__(
        self,
        db: Database,
        store: DocumentStore,
        starter: Starter,
        kinds: Sequence[Kind],
        pace: Pace,
    ) -> None:
        self.db = db
        self.table = Table()
        self.starter = starter
        self._store = store
        self._kinds: Mapping[str, Kind] = {kind.name: kind for kind in kinds}
        self._pace = pace
        self._statuses = Statuses(store)
        self._rollout = Rollout(db, store, self._statuses, self._make_fleet, self._retire)
        self._running: dict[str, tuple[Wanted, asyncio.Task[None]]] = {}
        self._seen: dict[str, int] = {}
        self._again: set[str] = set()
        self._changed: set[tuple[str, str, str]] = set()
        self._removed: list[Deployment] = []
        self._retired: set[Fleet] = set()
        self._looked_at = 0.0
        self._news = asyncio.Event()
        self._random = Random()  # noqa: S311 - spreads traffic
        self._tasks = Background()
        self._noted: dict[str, int] = {}

    def changed(self, kind: str, document: Document, gone: bool) -> None:
        """A document was written or deleted; called after the commit, by anybody."""
        if kind not in self._kinds:
            return
        if document.status == "FAILED" and document.generation > self._seen.get(document.id, 0):
            self._again.add(document.id)
        self._seen[document.id] = document.generation
        self._changed.add((kind, document.workspace, document.name))
        if gone:
            self._seen.pop(document.id, None)
            self._take_away(document.id)
        self._news.set()

    def _take_away(self, document_id: str) -> None:
        """Requests find it no more; the rest of it ends when it is looked at."""
        deployment = self.table.remove(document_id)
        if deployment is not None:
            self._removed.append(deployment)
            self._news.set()

    # -- the beginning
    async def start(self) -> None:
        """Take over what still serves, end what nobody wants, begin to look."""
        rows, found, serving = await self.db.read(self._everything)
        for document, workload in found:
            self._seen[document.id] = document.generation
            deployment = self._deployment(document, workload)
            served = serving.get(document.id, Serving())
            for revision in (served.active, served.canary):
                await self._restore(deployment, document, revision, served)
        await adopt_all(self.db, self.starter, self.table, rows)
        self._tasks.start(self._watch())
        self._tasks.start(self._every(TEND_SECONDS, self._tend))
        self._tasks.start(self._every(LOOK_SECONDS, self._note_lines))

    def _everything(
        self, conn: Connection
    ) -> tuple[list[InstanceRow], list[tuple[Document, Workload]], dict[str, Serving]]:
        every = [each for kind in self._kinds for each in documents.every(conn, kind)]
        found = self._known(conn, every)
        served = {name: records.serving(conn, name) for name in records.deployed(conn)}
        return records.every(conn), found, served

    def _known(
        self, conn: Connection, found: Iterable[Document]
    ) -> list[tuple[Document, Workload]]:
        """Documents with whose they are; without those of a workspace that is being removed."""
        tenants: dict[str, Tenant | None] = {}
        known = []
        for each in found:
            if each.workspace not in tenants:
                tenants[each.workspace] = find_tenant(conn, each.workspace)
            tenant = tenants[each.workspace]
            if tenant is not None:
                known.append((each, _workload(each, tenant.account_id)))
        return known

    async def _restore(
        self, deployment: Deployment, document: Document, revision: str, served: Serving
    ) -> None:
        if not revision:
            return
        launch = await self._rollout.launch(self._kinds[document.kind], document, revision)
        if launch is None:
            return
        fleet = self._make_fleet(deployment.workload, revision, launch)
        if revision == served.active:
            deployment.active = fleet
        else:
            deployment.canary = fleet

    # -- the end
    async def stop(self) -> None:
        """End every instance; they start again on their next request."""
        await self._tasks.cancel()
        for _, task in self._running.values():
            task.cancel()
        running = [task for _, task in self._running.values()]
        await asyncio.gather(*running, return_exceptions=True)
        fleets = [fleet for each in self.table.by_id.values() for fleet in each.fleets]
        fleets += self._retired
        await asyncio.gather(*(fleet.stop(STOP_SECONDS) for fleet in fleets))

    # -- looking
    async def _every(self, seconds: float, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await step()
            except Exception:
                log.exception("hosting_step_failed")
            await asyncio.sleep(seconds)

    async def _watch(self) -> None:
        """Look whenever something is said, and every few seconds."""
        while True:
            try:
                await self._look()
            except Exception:
                log.exception("hosting_look_failed")
                await asyncio.sleep(TEND_SECONDS)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._news.wait()

    async def _look(self) -> None:
        """Look at what has changed, or, when that is long ago, at everything."""
        self._news.clear()
        changed, self._changed = self._changed, set()
        removed, self._removed = self._removed, []
        for deployment in removed:
            await self._end(deployment)
        if monotonic() - self._looked_at > LOOK_SECONDS:
            changed, self._looked_at = set(), monotonic()
        elif not changed:
            return
        found = await self.db.read(lambda conn: self._read(conn, changed))
        for document, workload in found:
            try:
                await self._reconcile(document, workload)
            except Exception:
                log.exception("deployment_look_failed", name=document.name)
        if not changed:
            await self._sweep({document.id for document, _ in found})

    def _read(
        self, conn: Connection, changed: set[tuple[str, str, str]]
    ) -> list[tuple[Document, Workload]]:
        if not changed:
            every = [each for kind in self._kinds for each in documents.every(conn, kind)]
        else:
            named = [documents.find(conn, space, kind, name) for kind, space, name in changed]
            every = [each for each in named if each is not None]
        return self._known(conn, every)

    async def _sweep(self, known: set[str]) -> None:
        for document_id in set(self.table.by_id) - known:
            self._take_away(document_id)
        rows = await self.db.read(records.every)
        held = {each.id for each in self._instances()}
        for row in rows:
            if row.phase == "ending" and row.id not in held:
                await self.starter.remove(workload_of(row), row.id, row.handle)

    def _deployment(self, document: Document, workload: Workload) -> Deployment:
        """What requests find of a document, brought up to date."""
        deployment = self.table.by_id.get(document.id) or Deployment(workload, self._random)
        body = self._store.reveal(self._kinds[document.kind], document)
        spec, wanted = body["spec"], wanted_of(body)
        deployment.status = document.status
        deployment.public = bool(spec.get("public"))
        deployment.triggers = triggers_of(spec)
        deployment.percent, deployment.sticky_seconds = wanted.percent, wanted.sticky_seconds
        deployment.explain(enabled=spec.get("enabled", True))
        self.table.put(deployment)
        return deployment

    async def _reconcile(self, document: Document, workload: Workload) -> None:
        deployment = self._deployment(document, workload)
        body = msgspec.json.decode(document.body)
        enabled = body["spec"].get("enabled", True)
        waiting = await self.db.read(lambda conn: waiting_of(conn, document))
        wanted = wanted_of(body, waiting) if enabled else Wanted()
        running = self._running.get(document.id)
        if running is not None:
            if running[0].revisions == wanted.revisions and document.status not in WAITING:
                return
            running[1].cancel()
            await asyncio.gather(running[1], return_exceptions=True)
        if not enabled:
            await self._deactivate(document, deployment)
        elif document.status in WAITING or not wanted.active:
            return
        elif await self._is_due(document, deployment, wanted):
            task = asyncio.get_running_loop().create_task(self._roll(document, deployment, wanted))
            self._running[document.id] = (wanted, task)

    async def _is_due(self, document: Document, deployment: Deployment, wanted: Wanted) -> bool:
        """Whether a document wants something that is not so, and that did not just fail."""
        serving = [fleet.revision for fleet in deployment.fleets]
        again = document.id in self._again
        self._again.discard(document.id)
        if serving == wanted.revisions and document.status == "DEPLOYED":
            return False
        if document.status == "FAILED":
            return again
        if document.status == "DEPLOYING":
            return True
        kind = self._kinds[document.kind]
        launch = await self._rollout.launch(kind, document, wanted.active)
        has_image = launch is not None and bool(launch.image)
        if not has_image:
            deployment.why = "it was never deployed: it has no image"
        return has_image

    async def _roll(self, document: Document, deployment: Deployment, wanted: Wanted) -> None:
        kind, done = self._kinds[document.kind], False
        try:
            done = await self._rollout.run(kind, document, deployment, wanted)
        except Exception:
            log.exception("rollout_failed", name=document.name)
        finally:
            running = self._running.get(document.id)
            if running is not None and running[1] is asyncio.current_task():
                del self._running[document.id]
        deployment.status = "DEPLOYED" if done else deployment.status
        self._changed.add((document.kind, document.workspace, document.name))
        self._news.set()

    async def _deactivate(self, document: Document, deployment: Deployment) -> None:
        kind = self._kinds[document.kind]
        if document.status == "DEACTIVATED" and not deployment.fleets:
            return

        def write(conn: Connection) -> None:
            self._statuses.move(conn, kind, document, "DEACTIVATING")
            records.serve(conn, document.id, document.workspace, Serving())

        await self.db.write(write)
        fleets, deployment.active, deployment.canary = deployment.fleets, None, None
        for fleet in fleets:
            self._retire(fleet)
        message = "It is switched off: nothing serves."
        done = await self.db.write(
            lambda conn: self._statuses.move(conn, kind, document, "DEACTIVATED", message)
        )
        deployment.status = done.status if done is not None else "DEACTIVATED"

    async def _end(self, deployment: Deployment) -> None:
        """The document of a deployment was deleted: nothing of it goes on."""
        document_id = deployment.workload.document_id
        running = self._running.get(document_id)
        if running is not None:
            running[1].cancel()
        for fleet in deployment.fleets:
            self._retire(fleet, 0.0)
        await self.db.write(lambda conn: records.forget(conn, document_id))

    # -- instances
    def handles(self) -> list[SandboxHandle]:
        """Of all instances."""
        return [each.box.handle for each in self._instances()]

    def _instances(self) -> list[Instance]:
        fleets = [fleet for each in self.table.by_id.values() for fleet in each.fleets]
        return [each for fleet in [*fleets, *self._retired] for each in fleet.instances]

    def _make_fleet(self, workload: Workload, revision: str, launch: Launch) -> Fleet:
        return Fleet(workload, revision, launch, self.starter, self._pace, self._heard)

    def _retire(self, fleet: Fleet, seconds: float = DRAIN_SECONDS) -> None:
        self._retired.add(fleet)
        fleet.retire(seconds)
        self._tasks.start(self._drained(fleet))

    async def _drained(self, fleet: Fleet) -> None:
        await fleet.drained()
        self._retired.discard(fleet)

    def _heard(self, fleet: Fleet, problem: StartFailed | None) -> None:
        """An instance of a revision failed, or one serves again."""
        deployment = self.table.by_id.get(fleet.workload.document_id)
        if deployment is not None and fleet in deployment.fleets:
            self._tasks.start(self._tell(deployment, fleet, problem))

    async def _tell(
        self, deployment: Deployment, fleet: Fleet, problem: StartFailed | None
    ) -> None:
        workload = fleet.workload
        kind = self._kinds[workload.kind]

        def write(conn: Connection) -> None:
            known = documents.find(conn, workload.workspace, workload.kind, workload.name)
            if known is None or known.id != workload.document_id or known.status in WAITING:
                return
            if problem is None:
                status = "DEPLOYED" if known.status == "FAILED" else known.status
                message = f"Revision {fleet.revision} serves again."
            else:
                status = "FAILED" if fleet.failures >= FAILURES else known.status
                message = f"Revision {fleet.revision}: {problem.message}"
            self._statuses.move(conn, kind, known, status, message)
            deployment.status = status

        await self.db.write(write)

    async def _tend(self) -> None:
        moment = monotonic()
        for deployment in list(self.table.by_id.values()):
            for fleet in deployment.fleets:
                fleet.tend(moment)

    async def _note_lines(self) -> None:
        """Write down how far the output of each instance was kept."""
        lines = {each.id: each.run.seen for each in self._instances()}
        changed = {key: seen for key, seen in lines.items() if self._noted.get(key) != seen}
        self._noted = lines
        if changed:
            await self.db.write(lambda conn: note_lines(conn, changed))


def _workload(document: Document, account_id: str) -> Workload:
    return Workload(
        kind=document.kind,
        workspace=document.workspace,
        name=document.name,
        document_id=document.id,
        account_id=account_id,
    )
