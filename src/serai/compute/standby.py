"""Standby: suspends what nobody uses.

A sandbox may sleep when for some seconds no request to it was open and none of its processes was
started with ``keepAlive``. The gateway counts the requests. Of the processes its API knows: it is
asked once, and answers when none is left, however long that takes.
"""

import asyncio
from datetime import datetime

import structlog

from serai.compute.controller import SandboxController
from serai.compute.live import LiveSandbox
from serai.compute.ports import RunningSandbox
from serai.kernel.background import Background
from serai.kernel.clock import now
from serai.kernel.errors import SeraiError
from serai.runtime.port import RuntimeProblem

LOOKS = 8
"""How often, in the time after which a sandbox is suspended, they are all looked at."""
SILENCE = 60
"""A connection on which nothing is sent keeps a sandbox awake for so many times that time."""
SILENT_SECONDS = 30.0
"""The shortest such time: the gateway says every ten seconds that something was sent."""
ANSWER_SECONDS = 10.0
RETRY_SECONDS = 15.0
QUESTION = b"GET /standby HTTP/1.0\r\nHost: sandbox\r\n\r\n"
log = structlog.get_logger(__name__)


class Standby:
    """Suspends idle sandboxes until stopped.

    Args:
        controller: whose sandboxes.
        seconds: without use after which one is suspended; 0 for never.
    """

    def __init__(self, controller: SandboxController, seconds: float) -> None:
        self._controller = controller
        self._seconds = seconds
        self._silent = max(SILENCE * seconds, SILENT_SECONDS)
        self._tasks = Background()

    def start(self) -> None:
        """Begin to look."""
        if self._seconds > 0:
            self._tasks.start(self._watch())

    async def stop(self) -> None:
        """Suspend no more."""
        await self._tasks.cancel()

    def use(self, sandbox_id: str, change: int) -> None:
        """A request to the sandbox began (1), ended (-1) or goes on (0)."""
        live = self._controller.live.use(sandbox_id, change)
        if live is not None and live.asleep and not change:  # an old connection came to life
            self._tasks.start(self._wake(live.sandbox))

    async def _wake(self, sandbox: RunningSandbox) -> None:
        try:
            await self._controller.wake(sandbox.workspace, sandbox.name)
        except SeraiError:
            log.exception("sandbox_wake_failed", sandbox=sandbox.name)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._seconds / LOOKS)
            moment = now()
            for live in list(self._controller.live.by_id.values()):
                if not live.asked and self._is_idle(live, moment):
                    live.asked = True
                    self._tasks.start(self._settle(live))

    def _is_idle(self, live: LiveSandbox, moment: datetime) -> bool:
        used = self._controller.live.users(live.sandbox.id)
        quiet = (moment - max(live.used_at, live.busy_at)).total_seconds()
        return not live.asleep and quiet >= (self._silent if used else self._seconds)

    async def _settle(self, live: LiveSandbox) -> None:
        """Suspend it once its processes allow that, unless it is used by then."""
        sandbox = live.sandbox
        try:
            if await idle_processes(sandbox.handle.api_socket):
                await self._suspend(live)
            else:
                live.busy_at = now()
        except (OSError, ValueError, RuntimeProblem, SeraiError) as problem:
            if self._controller.live.by_id.get(sandbox.id) is live:  # else it has just ended
                log.warning("sandbox_stays_awake", sandbox=sandbox.name, reason=str(problem))
                await asyncio.sleep(min(RETRY_SECONDS, self._seconds))
        finally:
            live.asked = False

    async def _suspend(self, live: LiveSandbox) -> None:
        sandbox, table = live.sandbox, self._controller.live
        async with table.lock(sandbox.workspace, sandbox.name):
            if table.by_id.get(sandbox.id) is live and self._is_idle(live, now()):
                await self._controller.sleep.suspend(live)


async def idle_processes(path: str) -> bool:
    """Ask a sandbox's API whether its processes let it sleep; wait until they do.

    Returns:
        Whether they did at once: if not, time has passed in which it was busy.

    Raises:
        OSError: it cannot be reached, or did not answer in time.
        ValueError: its answer is none.
    """
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(QUESTION)
        async with asyncio.timeout(ANSWER_SECONDS):
            status = await reader.readline()
            await reader.readuntil(b"\r\n\r\n")
            count = await reader.readline()
        if status.split()[1:2] != [b"200"]:
            raise ValueError("its API does not tell what its processes need")
        if int(count):
            await reader.read(1)
        return not int(count)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise ValueError("its API does not answer with HTTP") from error
    finally:
        writer.close()
