"""Starting a program, and finding out that it serves and by which way.

Agents and applications listen on their port. A function may be an MCP server on standard input
and output as well. That is tried when its program ends without having listened, as such servers
do where nobody writes to them, or listens on nothing for some seconds.
"""

import asyncio

import structlog

from serai.hosting.boxes import Box, Entry
from serai.hosting.bridging import BRIDGED, NoServer, bridged, give_up, probe
from serai.hosting.problems import StartFailed, with_tail
from serai.hosting.runs import Run
from serai.kernel.lines import LogLine

LOOK_SECONDS = 0.004
LOOK_MOST_SECONDS = 0.1
LOOK_GROWTH = 1.15
QUIET_SECONDS = 8.0
"""A function that listens on nothing for so long is asked by the other way as well."""
END_SECONDS = 5.0
log = structlog.get_logger(__name__)


class Trial:
    """One program, from its start until it serves.

    Args:
        box: where it is started.
        entry: its command.
        label: what its lines are like.
        port: where it should listen.
        seconds: it has for that.
    """

    def __init__(self, box: Box, entry: Entry, label: LogLine, port: int, seconds: float) -> None:
        self._box = box
        self._entry = entry
        self._label = label
        self._port = port
        self._seconds = seconds
        self._until = 0.0
        self._other: asyncio.Task[None] | None = None
        """Asks the program by the other way."""

    async def bridged(self) -> tuple[Run, int]:
        """Start what is known to be an MCP server on standard input and output.

        Raises:
            StartFailed: it does not answer.
        """
        try:
            await probe(self._box, self._entry, self._seconds)
        except NoServer as problem:
            raise StartFailed(
                "crashed", f"It does not speak MCP on its standard input and output: {problem}."
            ) from problem
        return bridged(self._box, self._label), BRIDGED

    async def run(self, *, either: bool) -> tuple[Run, int]:
        """Start it; answers when it serves, with the port (``BRIDGED`` for none).

        Args:
            either: it may speak MCP on its standard input and output.

        Raises:
            StartFailed: it does not serve, and why.
        """
        clock, pause = asyncio.get_running_loop().time, LOOK_SECONDS
        run = await self._box.run(self._entry, self._label)
        began = clock()
        self._until = began + self._seconds
        try:
            while run.ended.done() or not await self._box.accepts(self._port):
                if self._speaks():
                    await run.stop(END_SECONDS)
                    await run.close()
                    return bridged(self._box, self._label), BRIDGED
                if run.ended.done():
                    self._over(run, either=either)
                elif clock() > self._until:
                    raise await self._silent(run, either=either)
                elif either and clock() > began + min(QUIET_SECONDS, self._seconds / 2):
                    self._ask()
                await self._look(run, pause)
                pause = min(pause * LOOK_GROWTH, LOOK_MOST_SECONDS)
            if self._other is not None:
                self._other.cancel()
                await give_up(self._box)
            return run, self._port
        finally:
            if self._other is not None:
                self._other.cancel()
                await asyncio.gather(self._other, return_exceptions=True)

    async def _look(self, run: Run, pause: float) -> None:
        waited = [each for each in (run.ended, self._other) if each and not each.done()]
        if waited:
            await asyncio.wait(waited, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(pause)

    # -- the other way
    def _ask(self) -> None:
        if self._other is None:
            asked = probe(self._box, self._entry, self._seconds)
            self._other = asyncio.get_running_loop().create_task(asked)

    def _speaks(self) -> bool:
        """Whether it has answered by the other way. Raises BoxFailed when its box does not."""
        other = self._other
        if other is None or not other.done():
            return False
        problem = other.exception()
        if problem is not None and not isinstance(problem, NoServer):
            raise problem
        return problem is None

    def _over(self, run: Run, *, either: bool) -> None:
        """It has ended: ask it by the other way, or find that it failed by both."""
        now = asyncio.get_running_loop().time()
        if either and self._other is None:
            self._until = now + self._seconds
            self._ask()
        elif self._other is None or self._other.done() or now > self._until:
            raise _crashed(run, self._port, either=either)

    async def _silent(self, run: Run, *, either: bool) -> StartFailed:
        others = await run.ports()
        if others:
            listed = ", ".join(map(str, others))
            return StartFailed(
                "wrong_port",
                f"It listens on port {listed}, and should on port {self._port}: have it use the"
                f" variable PORT, or set spec.runtime.ports to {others[0]}.",
            )
        return StartFailed(
            "never_listened",
            with_tail(
                f"It listened on no port within {self._seconds:g} s; it should on port"
                f" {self._port}, the variable PORT{_or_stdio(either)}.",
                list(run.tail),
            ),
        )


def _crashed(run: Run, port: int, *, either: bool) -> StartFailed:
    words = run.ended.result().words
    return StartFailed(
        "crashed",
        with_tail(f"It {words} before it listened on port {port}{_nor(either)}.", list(run.tail)),
    )


def _or_stdio(either: bool) -> str:
    return ", or speak MCP on its standard input and output" if either else ""


def _nor(either: bool) -> str:
    return ", and does not speak MCP on its standard input and output" if either else ""
