"""Suspending and resuming sandboxes of this host: the freezer, and what follows a long sleep."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from serai.runtime import freezer
from serai.runtime.messages import Trace
from serai.runtime.paging import Pager
from serai.runtime.port import RuntimeProblem
from serai.runtime.traces import is_running

Turn = Callable[[str], AbstractAsyncContextManager[None]]
PAGE_OUT_SECONDS = 60.0


class Sleepers:
    """Suspends and resumes; ``turn`` lets one operation at a time work on a sandbox."""

    def __init__(self, turn: Turn, page_out_after: float = PAGE_OUT_SECONDS) -> None:
        self._turn = turn
        self._pager = Pager(page_out_after)

    async def suspend(self, sandbox_id: str, trace: Trace) -> None:
        """See Runtime.suspend."""
        async with self._turn(sandbox_id):
            if not is_running(trace):
                raise RuntimeProblem(f"sandbox {sandbox_id} has ended")
            try:
                await asyncio.to_thread(freezer.freeze, trace)
            except OSError as error:
                raise RuntimeProblem(f"sandbox {sandbox_id} stays awake: {error}") from error
            self._pager.begin(sandbox_id, trace)

    async def resume(self, sandbox_id: str, trace: Trace) -> None:
        """See Runtime.resume. A group is thawed at once, without even a change of threads."""
        self._pager.end(sandbox_id)
        async with self._turn(sandbox_id):
            if freezer.has_group(trace):
                freezer.thaw(trace)
            else:
                await asyncio.to_thread(freezer.thaw, trace)

    def close(self) -> None:
        """Sandboxes stay as they are."""
        self._pager.close()
