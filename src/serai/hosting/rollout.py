"""Bringing a deployment to the revisions that its document wants: blue first, then green.

A revision gets requests once an instance of it serves. Until then, and when that fails, those
that served before go on.
"""

from collections.abc import Callable

import structlog
from sqlalchemy import Connection

from serai.hosting.deployments import Deployment
from serai.hosting.fleets import Fleet
from serai.hosting.launches import Launch, launch_of
from serai.hosting.ports import Workload
from serai.hosting.problems import StartFailed
from serai.hosting.statuses import Statuses, Wanted
from serai.kernel.errors import SeraiError
from serai.resources import revisions
from serai.resources.documents import Document
from serai.resources.kind import Kind
from serai.resources.store import DocumentStore
from serai.store.database import Database

log = structlog.get_logger(__name__)
MakeFleet = Callable[[Workload, str, Launch], Fleet]


class Rollout:
    """Starts revisions, and lets them take over."""

    def __init__(
        self,
        db: Database,
        store: DocumentStore,
        statuses: Statuses,
        make_fleet: MakeFleet,
        retire: Callable[[Fleet], None],
    ) -> None:
        self._db = db
        self._store = store
        self._statuses = statuses
        self._make_fleet = make_fleet
        self._retire = retire

    async def run(
        self, kind: Kind, document: Document, deployment: Deployment, wanted: Wanted
    ) -> bool:
        """Let these revisions serve; whether they do.

        When it is cut off, or fails, what served before goes on, and nothing is left of the rest.
        """
        fresh: list[Fleet] = []
        try:
            await self._begin(kind, document)
            for revision in wanted.revisions:
                if deployment.fleet(revision) is None:
                    fresh.append(await self._fleet(kind, document, deployment, revision))
                    await self._make_room(deployment, fresh[-1])
                    await fresh[-1].first()
        except BaseException as problem:
            for fleet in fresh:
                await fleet.stop(0.0)
            if not isinstance(problem, StartFailed):
                raise
            await self._failed(kind, document, deployment, wanted, problem)
            return False
        return await self._switch(kind, document, deployment, wanted, fresh)

    async def _begin(self, kind: Kind, document: Document) -> None:
        def write(conn: Connection) -> None:
            found = self._statuses.current(conn, kind, document)
            if found is None:
                raise StartFailed("deleted", "It was deleted.")
            self._statuses.move(conn, kind, found, "DEPLOYING")
            try:
                self._store.ask_rules(conn, kind, found)
            except SeraiError as problem:
                raise StartFailed("policy", problem.message) from problem

        await self._db.write(write)

    async def _fleet(
        self, kind: Kind, document: Document, deployment: Deployment, revision: str
    ) -> Fleet:
        launch = await self.launch(kind, document, revision)
        if launch is None or not launch.image:
            raise StartFailed("no_image", f"Revision {revision} has no image to run.")
        return self._make_fleet(deployment.workload, revision, launch)

    async def launch(self, kind: Kind, document: Document, revision: str) -> Launch | None:
        """What instances of a revision are; None when it is not kept any more."""

        def read(conn: Connection) -> Launch | None:
            kept = revisions.of_document(conn, document.id)
            found = next((each for each in kept if each.id == revision), None)
            if found is None:
                return None
            body = self._store.history.revisions.reveal(kind, document.id, found)
            return launch_of(kind, body["spec"])

        return await self._db.read(read)

    async def _make_room(self, deployment: Deployment, fleet: Fleet) -> None:
        """A volume is in one box at a time: the instance that has it ends first."""
        if fleet.launch.volumes:
            for before in deployment.fleets:
                if before.launch.volumes:
                    await before.release()

    async def _failed(
        self,
        kind: Kind,
        document: Document,
        deployment: Deployment,
        wanted: Wanted,
        problem: StartFailed,
    ) -> None:
        serving = deployment.active
        on = f" Revision {serving.revision} goes on serving." if serving is not None else ""
        message = f"The deployment failed. {problem.message}{on}"
        log.warning("deployment_failed", name=document.name, reason=problem.reason)
        deployment.why = problem.message
        await self._db.write(
            lambda conn: self._statuses.failed(conn, kind, document, wanted, message)
        )

    async def _switch(
        self,
        kind: Kind,
        document: Document,
        deployment: Deployment,
        wanted: Wanted,
        fresh: list[Fleet],
    ) -> bool:
        share = f", revision {wanted.canary} {wanted.percent} %" if wanted.canary else ""
        message = f"Revision {wanted.active} serves{share}."
        before, served = deployment.fleets, (deployment.active, deployment.canary)
        there = {fleet.revision: fleet for fleet in [*before, *fresh]}
        # Requests find it before the document says so: who reads DEPLOYED may call at once.
        deployment.active, deployment.canary = there[wanted.active], there.get(wanted.canary)
        done = None
        try:
            done = await self._db.write(
                lambda conn: self._statuses.deployed(conn, kind, document, wanted, message)
            )
        finally:
            if done is None:
                deployment.active, deployment.canary = served
                for fleet in fresh:
                    await fleet.stop(0.0)
        if done is None:
            return False
        deployment.why = ""
        for fleet in before:
            if fleet not in deployment.fleets:
                self._retire(fleet)
        return True
