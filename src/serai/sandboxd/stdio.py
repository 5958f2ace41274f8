"""MCP servers that speak over their standard input and output, one process a conversation.

A message is one line of JSON. What such a server prints that is no message is taken for its log,
as what it writes to its standard error.
"""

import asyncio
import contextlib
import os
import signal
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from serai.sandboxd.running import Ending
from serai.sandboxd.spawning import Inlet, Pipe, Reaper, Surroundings, shell, spawn

LINE_LIMIT = 8 * 1024 * 1024
"""Bytes of one message; a server that sends more is ended."""
INPUT_SECONDS = 30.0
"""How long a server may leave its input unread."""
LOG_LINES = 1000
LOG_LINE_LIMIT = 4096
END_SECONDS = (2.0, 5.0)
"""How long a server may go on after its input has ended, and after SIGTERM."""

Message = dict[str, Any]
_decode = msgspec.json.Decoder(Message).decode
_encode = msgspec.json.Encoder().encode


class StdioCommand(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How a server is started: shell text, where, with which variables over the sandbox's."""

    command: str
    working_dir: str | None = None
    env: dict[str, str] = {}


class LogTail:
    """The newest log lines of all processes of a server, numbered from 0."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=LOG_LINES)
        self._changed = asyncio.Event()
        self.count = 0
        self.is_closed = False

    def add(self, line: bytes) -> None:
        """Keep a line."""
        self._lines.append(line[:LOG_LINE_LIMIT].decode("utf-8", "replace"))
        self.count += 1
        self._changed.set()

    def close(self) -> None:
        """There will be no more."""
        self.is_closed = True
        self._changed.set()

    def since(self, number: int) -> tuple[int, list[str]]:
        """The kept lines from a number on, and the number of the next one."""
        missing = min(self.count - number, len(self._lines))
        return self.count, list(self._lines)[len(self._lines) - max(0, missing) :]

    def newest(self, most: int = 5) -> str:
        """The last lines, for people."""
        return "\n".join(list(self._lines)[-most:])

    async def changed(self, seconds: float) -> None:
        """Wait for a line, or so long."""
        if self.is_closed:
            return
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)


class StdioProcess:
    """One running server.

    Args:
        heard: called with each message that it sends.
        over: called once when it sends nothing any more, with what is to be told about it.

    Raises:
        Unprocessable: it cannot be started.
        BadRequest: the command or a variable cannot be passed to a process.
    """

    def __init__(
        self,
        how: StdioCommand,
        workdir: str,
        surroundings: Surroundings,
        reaper: Reaper,
        log: LogTail,
        heard: Callable[[Message], None],
        over: Callable[[str], None],
    ) -> None:
        env = surroundings.variables(how.env)
        cwd = how.working_dir or workdir
        child = spawn(how.command, cwd, env, shell(env), surroundings.expend, stdin=True)
        self._pid, self._log, self._heard, self._over = child.pid, log, heard, over
        self._ended = Ending()
        reaper.watch(child.pid, self._ended.set)
        self._partial: dict[bool, bytearray] = {False: bytearray(), True: bytearray()}
        self._inlet = Inlet(child.stdin)
        self._pipes = (
            Pipe(child.stdout, lambda data: self._fed(data, is_error=False)),
            Pipe(child.stderr, lambda data: self._fed(data, is_error=True)),
        )
        self._problem = ""
        self._watch = asyncio.ensure_future(self._live())

    async def send(self, message: Message) -> None:
        """Send a message; of one that has ended nobody hears.

        Raises:
            TimeoutError: it does not read its input.
        """
        await self._inlet.write(_encode(message) + b"\n", INPUT_SECONDS)

    async def over(self) -> None:
        """Wait until it has ended."""
        await asyncio.wait((self._watch,))

    def end(self) -> None:
        """Let it come to an end: by the end of its input, then by signals."""
        self._inlet.close()

    async def _live(self) -> None:
        ending = asyncio.ensure_future(self._ended.wait())
        try:
            while self._inlet.is_open and not ending.done():
                await asyncio.wait((ending,), timeout=0.5)
            code = await self._last_seconds(ending)
        finally:
            ending.cancel()
            self._close()
        told = self._problem or f"it ended with exit status {code}"
        self._over(told if code >= 0 or self._problem else f"signal {-code} ended it")

    async def _last_seconds(self, ending: "asyncio.Future[int]") -> int:
        for seconds, number in zip(END_SECONDS, (signal.SIGTERM, signal.SIGKILL), strict=True):
            done, _ = await asyncio.wait((ending,), timeout=seconds)
            if done:
                break
            self._signal(number)
        return await ending

    def _close(self) -> None:
        self._inlet.close()
        for pipe in self._pipes:
            pipe.drain()
            pipe.close()
        self._signal(signal.SIGKILL)  # what it has left behind in its group
        for is_error, rest in self._partial.items():
            if rest:
                self._line(bytes(rest), is_error)
                rest.clear()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, number)

    def _fed(self, data: bytes, *, is_error: bool) -> None:
        partial = self._partial[is_error]
        *lines, rest = data.split(b"\n")
        for line in lines:
            partial += line
            whole = bytes(partial)
            partial.clear()
            self._line(whole, is_error)
        partial += rest
        if len(partial) <= LINE_LIMIT:
            return
        if is_error:
            self._line(bytes(partial), is_error)
        else:
            self._problem = f"it sent a message of more than {LINE_LIMIT} bytes"
            self._signal(signal.SIGKILL)
        partial.clear()

    def _line(self, line: bytes, is_error: bool) -> None:
        line = line.rstrip(b"\r")
        if not line:
            return
        if not is_error and (message := _message(line)) is not None:
            self._heard(message)
        else:
            self._log.add(line)


def _message(line: bytes) -> Message | None:
    if not line.lstrip().startswith(b"{"):
        return None
    try:
        message = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return message if message.get("jsonrpc") == "2.0" else None


def initialize_message(version: str) -> Message:
    """What begins a conversation with a server when no client has begun one."""
    client = {"name": "serai", "version": "1"}
    params = {"protocolVersion": version, "capabilities": {}, "clientInfo": client}
    return {"jsonrpc": "2.0", "id": "serai-initialize", "method": "initialize", "params": params}


INITIALIZED: Message = {"jsonrpc": "2.0", "method": "notifications/initialized"}
