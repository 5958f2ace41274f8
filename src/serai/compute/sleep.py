"""Suspending sandboxes and letting them go on. The caller holds the name's lock.

A sandbox is suspended first and its row is written then: whether it stands can always be seen, so
that a crash between the two is repaired by looking. Resuming is what somebody waits for: requests
are let in at once, and the row follows.
"""

import asyncio
from datetime import datetime, timedelta

import msgspec
import structlog
from sqlalchemy import Connection

from serai.compute import records
from serai.compute.journal import SandboxJournal
from serai.compute.kind import SANDBOXES, expiry_of
from serai.compute.live import LiveSandbox, LiveTable, Prospect, ending
from serai.compute.ports import Routes, RunningSandbox, UsageSpans
from serai.compute.records import SandboxRow
from serai.kernel.clock import now, parse_rfc3339, rfc3339
from serai.kernel.errors import ServiceUnavailable
from serai.resources import documents
from serai.resources.documents import Document
from serai.resources.store import DocumentStore
from serai.runtime.port import Runtime, RuntimeProblem
from serai.store.database import Database

RETRY_SECONDS = 1.0
LATER_SECONDS = 0.02
"""How long the row of a resume waits, so that its request goes first: both need the processor."""
log = structlog.get_logger(__name__)


class Sleep:
    """Suspends and resumes single sandboxes, with their rows, routes and usage."""

    def __init__(
        self,
        db: Database,
        store: DocumentStore,
        runtime: Runtime,
        spans: UsageSpans,
        routes: Routes,
        live: LiveTable,
        journal: SandboxJournal,
    ) -> None:
        self._db = db
        self._journal = journal
        self._store = store
        self._runtime = runtime
        self._spans = spans
        self._routes = routes
        self._live = live

    def announce(
        self, running: RunningSandbox, document: Document, row: SandboxRow, *, asleep: bool = False
    ) -> LiveSandbox:
        """Let requests reach a sandbox that runs or is suspended, and watch for its end."""
        active_at = parse_rfc3339(row.last_active_at)
        live = LiveSandbox(
            sandbox=running,
            used_at=active_at,
            active_at=active_at,
            busy_at=now(),
            expires_at=parse_rfc3339(row.expires_at) if row.expires_at else None,
            idle=_idle(document, active_at),
            asleep=asleep,
        )
        self._live.put(live)
        (self._routes.rest if asleep else self._routes.publish)(running)
        return live

    async def keep_stopped(self, document: Document) -> None:
        """Remember when a sandbox ends that has no processes now."""
        row = await self._db.read(lambda conn: records.get(conn, document.id))
        if row is not None and row.phase == "stopped":
            self.stopped(document, row)

    def stopped(self, document: Document, row: SandboxRow) -> None:
        """See ``keep_stopped``, with its row at hand."""
        used_at = parse_rfc3339(row.last_active_at)
        expires_at = parse_rfc3339(row.expires_at) if row.expires_at else None
        prospect = Prospect(ending(expires_at, used_at, _idle(document, used_at)), used_at)
        self._live.stopped[row.workspace, row.name] = prospect

    async def suspend(self, live: LiveSandbox) -> None:
        """Stop it where it stands; from the first step on, requests ask for it first.

        Raises:
            RuntimeProblem: it stays awake, as its processes do not stop.
            ServiceUnavailable: it stays awake, as that cannot be written down.
        """
        sandbox = live.sandbox
        self._routes.rest(sandbox)
        try:
            await live.saved()
            await self._runtime.suspend(sandbox.handle)
            await self.write_asleep(live)
        except BaseException:
            await self._runtime.resume(sandbox.handle)
            self._routes.publish(sandbox)
            raise
        log.info("sandbox_suspended", workspace=sandbox.workspace, sandbox=sandbox.name)
        self._journal.say(sandbox.workspace, sandbox.name, "The sandbox is in standby.")

    async def write_asleep(self, live: LiveSandbox) -> None:
        """Write down that it is suspended."""
        live.active_at = now()
        await self._db.write(lambda conn: self._asleep(conn, live))
        live.asleep = True

    def _asleep(self, conn: Connection, live: LiveSandbox) -> None:
        stamp = rfc3339(live.active_at)
        records.change(conn, live.sandbox.id, phase="suspended", last_active_at=stamp)
        self._spans.close(conn, live.sandbox.id, live.active_at)
        self._show(conn, live, "STANDBY")

    async def resume(self, live: LiveSandbox) -> None:
        """Let it go on, and requests in.

        Raises:
            ServiceUnavailable: it cannot.
        """
        try:
            await self._runtime.resume(live.sandbox.handle)
        except RuntimeProblem as problem:
            name, text = live.sandbox.name, f"The sandbox cannot go on: {problem}"
            self._journal.say(live.sandbox.workspace, name, text, "error")
            raise ServiceUnavailable(f"Sandbox {name!r} cannot go on: {problem}") from problem
        self.awake(live)

    def awake(self, live: LiveSandbox) -> None:
        """It goes on: let requests in at once, and write it down."""
        live.asleep = False
        live.used_at = live.active_at = live.busy_at = now()
        self._routes.publish(live.sandbox)
        log.info("sandbox_resumed", workspace=live.sandbox.workspace, sandbox=live.sandbox.name)
        self._journal.say(live.sandbox.workspace, live.sandbox.name, "The sandbox goes on.")
        live.saving = asyncio.create_task(self._write_awake(live))

    async def _write_awake(self, live: LiveSandbox) -> None:
        await asyncio.sleep(LATER_SECONDS)
        while True:
            try:
                await self._db.write(lambda conn: self._awake(conn, live))
            except Exception:
                log.exception("sandbox_resume_not_written", sandbox=live.sandbox.name)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return

    def _awake(self, conn: Connection, live: LiveSandbox) -> None:
        row = records.get(conn, live.sandbox.id)
        if row is None or row.phase != "suspended":
            return
        stamp = rfc3339(live.active_at)
        records.change(conn, live.sandbox.id, phase="running", last_active_at=stamp)
        self._spans.open(conn, live.sandbox, live.active_at)
        self._show(conn, live, "RUNNING")

    def _show(self, conn: Connection, live: LiveSandbox, state: str) -> None:
        sandbox = live.sandbox
        document = documents.find(conn, sandbox.workspace, SANDBOXES.name, sandbox.name)
        if document is not None and document.id == sandbox.id:
            self._store.with_status(conn, document, document.status, state=state)


def _idle(document: Document, start: datetime) -> timedelta | None:
    return expiry_of(msgspec.json.decode(document.body), start).idle
