"""Processes of an archived sandbox, which start again when it comes back.

What to start is asked of the sandbox when it is archived, and kept sealed in its row, as command
lines and variables may hold secrets. It is forgotten when all have been started: a crash in
between starts those again that do not run, as each is known by its name.
"""

import contextlib

import msgspec
import structlog
from sqlalchemy import Connection

from serai.compute import records
from serai.compute.asking import ask
from serai.compute.records import SandboxRow
from serai.kernel.errors import SeraiError
from serai.runtime.port import Runtime, RuntimeProblem, SandboxHandle
from serai.store.database import Database
from serai.store.secrets import Vault

QUESTION = "/archive/processes"
LIST_MAX = 16 * 1024 * 1024
log = structlog.get_logger(__name__)


class Relaunch:
    """Asks for processes, keeps them, and starts them."""

    def __init__(self, db: Database, runtime: Runtime, vault: Vault) -> None:
        self._db = db
        self._runtime = runtime
        self._vault = vault

    async def save(self, row: SandboxRow) -> None:
        """Keep what runs in a sandbox that is about to end: nothing where it does not tell."""
        if row.handle is None:
            return
        try:
            await self._runtime.resume(row.handle)
            status, answer = await ask(row.handle.api_socket, "GET", QUESTION, b"", LIST_MAX)
            found = msgspec.json.decode(answer, type=list[msgspec.Raw]) if status == 200 else []
        except (OSError, RuntimeProblem, msgspec.DecodeError) as problem:
            log.warning("processes_not_saved", sandbox=row.name, reason=str(problem))
            return
        sealed = self._vault.seal(msgspec.json.encode(found), _context(row.id)) if found else None
        await self._db.write(lambda conn: records.change(conn, row.id, saved_processes=sealed))

    async def run(self, row: SandboxRow) -> None:
        """Start what was kept, in a sandbox that has just started."""
        handle, sealed = row.handle, row.saved_processes
        if sealed is None or handle is None:
            return
        with contextlib.suppress(SeraiError):  # sealed with a key that is gone
            opened = self._vault.unseal(sealed, _context(row.id))
            for process in msgspec.json.decode(opened, type=list[msgspec.Raw]):
                await self._start(handle, bytes(process))

        def forget(conn: Connection) -> None:
            records.change(conn, row.id, saved_processes=None)

        await self._db.write(forget)

    async def _start(self, handle: SandboxHandle, process: bytes) -> None:
        try:
            status, answer = await ask(handle.api_socket, "POST", "/process", process)
        except OSError as problem:
            status, answer = 0, str(problem).encode()
        if status != 200:
            reason = answer[:200].decode("utf-8", "replace")
            log.warning("process_not_started_again", sandbox=handle.id, reason=reason)


def _context(sandbox_id: str) -> str:
    return f"processes of {sandbox_id}"
