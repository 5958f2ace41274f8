"""``/standby``: when the sandbox may be suspended, as far as its processes are concerned."""

from collections.abc import AsyncIterator

from serai.sandboxd.freeze import Freeze
from serai.sandboxd.handover import StandbyGoing
from serai.sandboxd.http import Answer, Stream
from serai.sandboxd.process_table import ProcessTable
from serai.sandboxd.requests import Request
from serai.sandboxd.router import Router


class StandbyRoutes:
    """The handler of ``/standby``, which the platform asks before it suspends a sandbox."""

    def __init__(self, table: ProcessTable, freeze: Freeze) -> None:
        self._table = table
        self._freeze = freeze

    def add_to(self, router: Router) -> None:
        """Register the route."""
        router.add("GET", "/standby", self.wait)

    async def wait(self, request: Request) -> Answer:
        """How many processes forbid it, at once; the answer ends when none does any more."""
        request.carry = StandbyGoing
        return Stream(self._until_idle(begun=request.begun), "text/plain; charset=utf-8")

    async def _until_idle(self, *, begun: bool) -> AsyncIterator[bytes]:
        kept = self._kept()
        if not begun:
            yield b"%d\n" % kept
        while kept:
            for process in self._table:
                if process.keep_alive:
                    await process.ended.wait()
            if self._freeze.is_exporting:
                await self._freeze.over()
            kept = self._kept()

    def _kept(self) -> int:
        kept = sum(1 for process in self._table if process.keep_alive)
        return kept + self._freeze.is_exporting
