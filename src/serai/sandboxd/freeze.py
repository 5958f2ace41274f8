"""The freeze of a sandbox for an archive: processes end, and calls that write are refused."""

import asyncio
import contextlib
import os
import signal
import time

import msgspec

from serai.kernel.clock import now, rfc3339
from serai.kernel.errors import Conflict
from serai.sandboxd.process_table import ProcessTable
from serai.sandboxd.terminals import Terminals
from serai.wire.sandbox_api import ArchiveStatus, ExportProgress

SILENCE_SECONDS = 90.0
"""After which an export that nothing is heard of has failed: whoever ran it is gone."""
REASON = (
    "archive export (the root file system stays writable for programs: the freeze is that all"
    " processes were stopped, and that this API refuses calls that write)"
)
_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_OPEN = ("/archive/", "/process/", "/network/")
"""What may be posted to or deleted in a frozen sandbox: none of it writes files."""


class Freeze:
    """Whether the sandbox is frozen, and what is known of its last export."""

    silence = SILENCE_SECONDS

    def __init__(self, table: ProcessTable, terminals: Terminals) -> None:
        self._table = table
        self._terminals = terminals
        self._state = ArchiveStatus()
        self._heard = 0.0
        self._stopping: asyncio.Task[None] | None = None
        self.ended = asyncio.Event()
        """No export runs."""
        self.ended.set()
        self.processes: bytes = b"[]"
        """What ran before, as JSON."""

    @property
    def is_exporting(self) -> bool:
        """Whether an export runs; it keeps the sandbox awake."""
        if self.ended.is_set():
            return False
        if time.monotonic() - self._heard > self.silence:
            self.finish(ExportProgress(state="failed", error="the platform stopped meanwhile"))
        return not self.ended.is_set()

    async def over(self) -> None:
        """Wait until no export runs."""
        while self.is_exporting:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.ended.wait(), self.silence)

    @property
    def is_frozen(self) -> bool:
        """Whether calls that write are refused."""
        return self._state.state != "active"

    def status(self) -> ArchiveStatus:
        """As clients see it."""
        self.is_exporting  # noqa: B018 - notices that one is over
        return self._state

    def check(self, method: str, path: str) -> None:
        """Refuse a call that would write.

        Raises:
            Conflict: the sandbox is frozen.
        """
        if not self.is_frozen:
            return
        reads = (method in _READS or path == "/") and path != "/terminal/ws"
        ends = method == "DELETE" and path.startswith(_OPEN)
        if not (reads or ends or path.startswith("/archive/")):
            raise Conflict(
                "the sandbox is frozen for an archive export and refuses calls that write:"
                " POST /archive/resume lifts that"
            )

    def begin(self, seconds: float) -> ExportProgress:
        """Note that an export begins, and begin to stop the processes, if that is still to do.

        Raises:
            Conflict: another one runs.
        """
        if self.is_exporting:
            raise Conflict("an export of this sandbox is running: see GET /archive/status")
        moment = rfc3339(now())
        progress = ExportProgress(state="running", started_at=moment)
        self.ended.clear()
        self.beat()
        if self.is_frozen:
            self._state = msgspec.structs.replace(self._state, export=progress)
            return progress
        self.processes = self._table.to_start_again()
        self._state = ArchiveStatus(
            state="quiescing",
            export=progress,
            reason=REASON,
            read_only_root=False,
            since=moment,
            stopped_processes=[each.name for each in self._table.running()],
        )
        self._stopping = asyncio.get_running_loop().create_task(self._stop(seconds))
        return progress

    def beat(self) -> None:
        """The export goes on."""
        self._heard = time.monotonic()

    async def quiesced(self) -> ArchiveStatus:
        """Wait until nothing runs any more."""
        if self._stopping is not None:
            await asyncio.shield(self._stopping)
        return self._state

    async def _stop(self, seconds: float) -> None:
        self._terminals.shut_down()
        await self._table.end_all(seconds)
        if os.getpid() == 1:  # what left its group
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
        self._state = msgspec.structs.replace(self._state, state="quiesced")

    def finish(self, progress: ExportProgress) -> None:
        """The export is over; the freeze stays."""
        earlier = self._state.export
        started = earlier.started_at if earlier else msgspec.UNSET
        changed = msgspec.structs.replace(progress, started_at=started, finished_at=rfc3339(now()))
        self._state = msgspec.structs.replace(self._state, export=changed)
        self.ended.set()

    def scanned(self, size: int) -> None:
        """The exact size is known."""
        if self._state.export and not self.ended.is_set():
            changed = msgspec.structs.replace(self._state.export, size=size)
            self._state = msgspec.structs.replace(self._state, export=changed)

    def resume(self) -> ArchiveStatus:
        """Serve every call again; what was stopped stays so.

        Raises:
            Conflict: an export runs.
        """
        if self.is_exporting:
            raise Conflict("an export is running: wait for its end, see GET /archive/status")
        self._state = ArchiveStatus(export=self._state.export)
        return self._state
