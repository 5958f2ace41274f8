"""The status of jobs: a job is deployed when its image can be run; nothing of it runs until asked.

What is done follows from the documents alone, again and again: at the start, and whenever a job
was written. A job whose image is being uploaded or built is left to whoever does that.
"""

import asyncio
from collections.abc import Callable

import msgspec
import structlog
from sqlalchemy import Connection

from serai.compute.executions import Executions
from serai.compute.jobs import JOBS
from serai.resources import documents, events
from serai.resources.documents import Document
from serai.resources.store import DocumentStore
from serai.runtime.port import ImageNotReady, Runtime, RuntimeProblem
from serai.store.database import Database

LOOK_SECONDS = 5.0
AT_ONCE_SECONDS = 1.0
"""An image that is ready within this time needs no status of its own meanwhile."""
READY_SECONDS = 3600.0
ELSEWHERE = frozenset({"UPLOADING", "BUILDING", "DELETING"})
log = structlog.get_logger(__name__)

Resolve = Callable[[Connection, str, str], str]


class JobDeployer:
    """Moves jobs from status to status."""

    def __init__(
        self,
        db: Database,
        store: DocumentStore,
        executions: Executions,
        runtime: Runtime,
        resolve: Resolve,
    ) -> None:
        self._db = db
        self._store = store
        self._executions = executions
        self._runtime = runtime
        self._resolve = resolve
        self._settled: dict[str, int] = {}
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """A job was written or deleted."""
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        first = True
        try:
            while True:
                self._changed.clear()
                try:
                    await self._look(first=first)
                    first = False
                except Exception:
                    log.exception("jobs_not_deployed")
                try:
                    await asyncio.wait_for(self._changed.wait(), LOOK_SECONDS)
                except TimeoutError:
                    pass
        finally:
            for task in self._busy.values():
                task.cancel()

    async def _look(self, *, first: bool) -> None:
        found = await self._db.read(lambda conn: documents.every(conn, JOBS.name))
        known = self._settled
        self._settled = {one.id: known[one.id] for one in found if one.id in known}
        for document in found:
            if document.status in ELSEWHERE or (document.status == "FAILED" and first):
                self._settled[document.id] = document.generation  # others say what becomes of it
            settled = self._settled.get(document.id) == document.generation
            waiting = document.status in {"DEPLOYING", "DEACTIVATING"}
            if (not settled or waiting) and document.id not in self._busy:
                self._busy[document.id] = asyncio.create_task(self._settle(document))

    async def _settle(self, document: Document) -> None:
        try:
            await self._deploy(document)
            self._settled[document.id] = document.generation
        except Exception:
            log.exception("job_not_deployed", workspace=document.workspace, job=document.name)
        finally:
            del self._busy[document.id]

    async def _deploy(self, document: Document) -> None:
        body = await self._db.read(lambda conn: self._executions.active(conn, document))
        enabled = msgspec.json.decode(document.body)["spec"].get("enabled") is not False
        image = (body["spec"].get("runtime") or {}).get("image")
        if not enabled or not image:
            if document.status not in {"DEACTIVATED", "FAILED"} or not enabled:
                await self._move(document, "DEACTIVATED", "")
            return
        try:
            await self._ready(document, image)
        except RuntimeProblem as problem:
            await self._move(document, "FAILED", f"Its image {image!r} cannot be used: {problem}")
        else:
            await self._move(document, "DEPLOYED", "")

    async def _ready(self, document: Document, image: str) -> None:
        reference = await self._db.read(lambda conn: self._resolve(conn, document.workspace, image))
        try:
            await self._runtime.library.ready(reference, AT_ONCE_SECONDS)
        except ImageNotReady as problem:
            await self._move(document, "DEPLOYING", problem.progress)
            await self._runtime.library.ready(reference, READY_SECONDS)

    async def _move(self, known: Document, status: str, message: str) -> None:
        def write(conn: Connection) -> None:
            document = documents.find(conn, known.workspace, JOBS.name, known.name)
            if document is None or document.id != known.id or document.status in ELSEWHERE:
                return
            if document.status != status:
                document = self._store.with_status(conn, document, status)
            if message:
                events.append(conn, document, "deployment", message)

        await self._db.write(write)
