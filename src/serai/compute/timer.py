"""The clock of schedules: runs what is due, wakes sandboxes for it, and survives crashes.

A run is a row before anything happens: what a crash interrupts is done after the next start. A
process that got its name from us is looked for first, so that it does not start twice.
"""

import asyncio
from datetime import datetime

import structlog

from serai.compute import schedule_records as records
from serai.compute.asking import ask
from serai.compute.controller import SandboxController
from serai.compute.schedule_records import ExecutionRow
from serai.compute.schedules import ScheduleService
from serai.kernel.background import Background, NamedLocks
from serai.kernel.clock import now, parse_rfc3339
from serai.kernel.errors import SeraiError

LOOK_SECONDS = 15.0
"""The longest wait between two looks: clocks are set, laptops sleep."""

RETRY_SECONDS = 1.0
AT_ONCE = 32
ERROR_MAX = 1000
log = structlog.get_logger(__name__)


class ScheduleTimer:
    """Runs what is due until stopped."""

    def __init__(self, service: ScheduleService, controller: SandboxController) -> None:
        self.service = service
        self.controller = controller
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._turns = NamedLocks()
        self._tasks = Background()

    def start(self) -> None:
        """Begin, with what an earlier process left undone."""
        self._tasks.start(self._watch())

    async def stop(self) -> None:
        """Begin nothing more; what is under way is cut off and done again later."""
        await self._tasks.cancel()

    async def _watch(self) -> None:
        for execution in await self.service.db.read(records.unfinished):
            self._begin(execution, again=True)
        while True:
            self.service.changed.clear()
            try:
                wait = await self._look(now())
            except Exception:
                log.exception("schedules_failed")
                wait = RETRY_SECONDS
            try:
                await asyncio.wait_for(self.service.changed.wait(), wait)
            except TimeoutError:
                pass

    async def _look(self, moment: datetime) -> float:
        """Begin what is due; answers how long nothing else will be."""
        following = await self.service.db.read(records.next_due)
        if following is None:
            return LOOK_SECONDS
        seconds = (parse_rfc3339(following) - moment).total_seconds()
        if seconds > 0:
            return min(seconds, LOOK_SECONDS)
        for execution in await self.service.db.write(lambda conn: self.service.claim(conn, moment)):
            self._begin(execution, again=False)
        return 0.0

    def _begin(self, execution: ExecutionRow, *, again: bool) -> None:
        self._tasks.start(self._run(execution, again))

    async def _run(self, execution: ExecutionRow, again: bool) -> None:
        async with self._turn(execution), self._slots:
            try:
                status, error = await self._submit(execution, again)
            except (SeraiError, OSError) as problem:
                status, error = 0, _reason(execution, problem)
            except Exception as problem:
                log.exception("schedule_run_failed", schedule=execution.schedule_id)
                status, error = 0, _reason(execution, problem)
            await self.service.finish(execution, status, error)
            log.info(
                "schedule_run",
                workspace=execution.workspace,
                sandbox=execution.sandbox,
                schedule=execution.schedule_id,
                status=status,
            )

    def _turn(self, execution: ExecutionRow) -> asyncio.Lock:
        """One run at a time per sandbox: a slow one must not take all slots."""
        return self._turns.of((execution.workspace, execution.sandbox))

    async def _submit(self, execution: ExecutionRow, again: bool) -> tuple[int, str | None]:
        process = self.service.process_of(execution)
        sandbox = await self.controller.wake(execution.workspace, execution.sandbox)
        ended = f"sandbox {execution.sandbox} is not reachable: it has ended"
        if sandbox is None:
            return 0, ended
        with self.controller.live.using(sandbox.id):
            if not await self.service.db.read(lambda conn: records.waits(conn, execution)):
                return 0, ended  # another has its name now
            return await self._send(execution, again, sandbox.handle.api_socket, process)

    async def _send(
        self, execution: ExecutionRow, again: bool, path: str, process: bytes
    ) -> tuple[int, str | None]:
        ours = execution.process_name == f"{execution.schedule_id}-{execution.seq}"
        if again and ours:
            name = execution.process_name
            status, _ = await ask(path, "GET", f"/process/{name}", b"")
            if status == 200:
                return 200, None
        status, answer = await ask(path, "POST", "/process", process)
        if 200 <= status < 400:
            return status, None
        text = answer.decode("utf-8", "replace")[:ERROR_MAX]
        return status, f"sandbox {execution.sandbox} refused the command (HTTP {status}): {text}"


def _reason(execution: ExecutionRow, problem: Exception) -> str:
    text = str(problem) or type(problem).__name__
    return f"sandbox {execution.sandbox} is not reachable: {text}"[:ERROR_MAX]
