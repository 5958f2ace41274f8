"""MCP servers on standard input and output: the API in their box serves them over HTTP.

A program that listens on no port is asked there; what it answers to ``initialize`` decides.
"""

import asyncio
import shlex

import msgspec

from serai.compute.asking import ask
from serai.hosting.boxes import Box, BoxFailed, Entry
from serai.hosting.runs import ASK_SECONDS, Ending, Run
from serai.kernel.errors import NotFound
from serai.kernel.lines import LogLine

NAME = "app"
"""Of the server among those that the API in a box serves."""
ENTRY = b"/stdio/app/mcp"
"""Where that API serves it."""
BRIDGED = 0
"""The port of an instance whose program has none: see ``ENTRY``."""
PATHS = frozenset({b"/mcp", b"/mcp/"})
ANSWER_MAX = 1024 * 1024


class NoServer(Exception):
    """A program does not speak MCP on its standard input and output; the message says why."""


class BridgedRun(Run):
    """An MCP server whose processes the API in its box starts, one for each session."""

    def _log_path(self) -> str:
        return f"/stdio/{self.name}/logs?since={self.seen}"

    async def _take(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            self.seen += 1
            self._keep([self._line("stderr", line.removesuffix(b"\n"))])

    async def _ending(self) -> Ending | None:
        target = f"/stdio/{self.name}"
        status, _ = await ask(self._socket, "GET", target, b"", ANSWER_MAX, ASK_SECONDS)
        if status not in {200, 404}:
            raise OSError("its API does not tell")
        return None if status == 200 else Ending(code=None, stopped=True)

    async def stop(self, grace: float) -> None:
        """Ask its processes to end; they are killed after some seconds."""
        await self._tell(f"/stdio/{self.name}")
        await self._ends_in(grace)

    async def ports(self) -> list[int]:
        """None that matter."""
        return []


def bridged(box: Box, label: LogLine, seen: int = 0) -> BridgedRun:
    """The server of a box, to which ``probe`` has spoken; ``seen`` of its lines were kept."""
    run = BridgedRun(box.handle.api_socket, NAME, "", label, box.sink, box.alive, seen)
    run.begin()
    return run


async def probe(box: Box, entry: Entry, seconds: float) -> None:
    """Start a command as an MCP server, and see that it answers.

    Raises:
        NoServer: it does not.
        BoxFailed: the box does not answer.
    """
    command = f"exec {shlex.join(entry.command)}"
    wanted = {
        "command": command,
        "workingDir": entry.workdir or None,
        "env": dict(entry.environment),
    }
    await _asked(box, "PUT", "", msgspec.json.encode(wanted), ASK_SECONDS)
    await _asked(box, "POST", "/probe", b"", seconds)


async def answers(box: Box, seconds: float = ASK_SECONDS) -> bool:
    """Whether the server of a box answers."""
    try:
        await _asked(box, "POST", "/probe", b"", seconds)
    except (NoServer, BoxFailed):
        return False
    return True


async def give_up(box: Box) -> None:
    """Let there be no such server in a box."""
    try:
        await ask(box.handle.api_socket, "DELETE", f"/stdio/{NAME}", b"", seconds=ASK_SECONDS)
    except OSError as problem:
        raise BoxFailed(f"the API in its box does not answer: {problem}") from problem


def entry_of(path: bytes) -> bytes:
    """Where the API in a box serves what was asked for.

    Raises:
        NotFound: there is nothing but ``/mcp``. Nothing else of that API may be reached.
    """
    if path not in PATHS:
        raise NotFound(
            "This function speaks MCP on its standard input and output: it is served at /mcp only."
        )
    return ENTRY


async def _asked(box: Box, method: str, below: str, body: bytes, seconds: float) -> None:
    target = f"/stdio/{NAME}{below}"
    try:
        status, answer = await ask(box.handle.api_socket, method, target, body, ANSWER_MAX, seconds)
    except TimeoutError:
        raise NoServer(f"it did not answer 'initialize' within {seconds:g} s") from None
    except OSError as problem:
        raise BoxFailed(f"the API in its box does not answer: {problem}") from problem
    if status != 200:
        raise NoServer(_reason(answer))


def _reason(answer: bytes) -> str:
    try:
        said = msgspec.json.decode(answer, type=dict[str, object]).get("error")
    except msgspec.DecodeError:
        said = None
    return str(said or "it does not answer 'initialize'")[:500]
