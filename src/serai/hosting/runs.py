"""A command in a box: its output, its end, and what it listens on."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable

import msgspec

from serai.compute.asking import ask
from serai.kernel.lines import LineSink, LogLine
from serai.wire.sandbox_api import PortList, ProcessAnswer

KEPT = 20
"""Last lines that are kept at hand, to tell why something failed."""
LINE_MAX = 256 * 1024
PIECE = 64 * 1024
ANSWER_MAX = 1024 * 1024
ASK_SECONDS = 10.0
AGAIN_SECONDS = 0.2
_STREAMS = {b"stdout": "stdout", b"stderr": "stderr"}


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How a command ended.

    Attributes:
        code: its exit code; -1 when a signal ended it, None when nobody knows: its box is gone.
        stopped: it was asked to end.
    """

    code: int | None
    stopped: bool = False

    @property
    def words(self) -> str:
        """For people, as the end of a sentence that begins with its name."""
        if self.code is None:
            return "ended with its box (was it out of memory?)"
        if self.code < 0:
            return "was killed by a signal (was it out of memory?)"
        return f"ended with exit code {self.code}"


class Run:
    """A command that runs, or did.

    Args:
        api_socket: of its box.
        name: of its process.
        pid: inside.
        label: what its lines are like.
        sink: takes its lines.
        box_alive: whether the box still runs.
        seen: how many of its lines were taken already.

    Attributes:
        ended: done when it has ended and all its lines were handed over.
        seen: how many of its lines were handed over.
        tail: the last of them.
    """

    def __init__(
        self,
        api_socket: str,
        name: str,
        pid: str,
        label: LogLine,
        sink: LineSink,
        box_alive: Callable[[], Awaitable[bool]],
        seen: int = 0,
    ) -> None:
        self._socket = api_socket
        self.name = name
        self.pid = pid
        self.seen = seen
        self.tail: deque[str] = deque(maxlen=KEPT)
        self.ended: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._label = label
        self._sink = sink
        self._box_alive = box_alive
        self._last_ns = 0
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Follow it until it ends."""
        self._task = asyncio.get_running_loop().create_task(self._follow())

    async def close(self) -> None:
        """Follow it no more; when it has not ended by then, nobody will know how it does."""
        if self._task is not None and not self.ended.done():
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if not self.ended.done():
            self.ended.set_result(Ending(code=None))

    async def stop(self, grace: float) -> None:
        """Ask it to end, and kill it after so many seconds. Returns when it has ended."""
        await self._tell(f"/process/{self.pid}")
        if not await self._ends_in(grace):
            await self._tell(f"/process/{self.pid}/kill")
            await self._ends_in(ASK_SECONDS)

    async def _ends_in(self, seconds: float) -> bool:
        done, _ = await asyncio.wait([self.ended], timeout=seconds)
        return bool(done)

    async def _tell(self, target: str) -> None:
        with contextlib.suppress(OSError):  # it or its box is gone: that is what was wanted
            await ask(self._socket, "DELETE", target, b"", seconds=ASK_SECONDS)

    async def ports(self) -> list[int]:
        """TCP ports that it and what it started listen on; none when it cannot be asked."""
        target = f"/network/process/{self.pid}/ports"
        try:
            status, answer = await ask(self._socket, "GET", target, b"", ANSWER_MAX, ASK_SECONDS)
            found = msgspec.json.decode(answer, type=PortList).ports if status == 200 else []
        except (OSError, msgspec.DecodeError):
            return []
        return sorted({each.local_port for each in found if each.protocol.startswith("tcp")})

    # -- following
    async def _follow(self) -> None:
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._lines()
            try:
                ending = await self._ending()
            except (OSError, msgspec.DecodeError):
                if await self._box_alive():  # its API is being replaced, or is overloaded
                    await asyncio.sleep(AGAIN_SECONDS)
                    continue
                ending = Ending(code=None)
            if ending is not None:
                if not self.ended.done():
                    self.ended.set_result(ending)
                return
            await asyncio.sleep(AGAIN_SECONDS)

    async def _ending(self) -> Ending | None:
        target = f"/process/{self.pid}"
        status, answer = await ask(self._socket, "GET", target, b"", ANSWER_MAX, ASK_SECONDS)
        if status == 404:
            return Ending(code=None)
        if status != 200:
            raise OSError("its API does not tell")
        found = msgspec.json.decode(answer, type=ProcessAnswer)
        if found.status == "running":
            return None
        return Ending(code=found.exit_code, stopped=found.status in {"stopped", "killed"})

    async def _lines(self) -> None:
        """Hand its lines over, from the first that was not, until the stream ends."""
        reader, writer = await asyncio.open_unix_connection(self._socket, limit=LINE_MAX)
        head = f"GET {self._log_path()} HTTP/1.0\r\nHost: box\r\n\r\n"
        try:
            writer.write(head.encode("ascii"))
            status = await reader.readline()
            await reader.readuntil(b"\r\n\r\n")
            if status.split()[1:2] != [b"200"]:
                return
            await self._take(reader)
        except asyncio.LimitOverrunError as problem:
            raise OSError("its API does not answer with HTTP") from problem
        finally:
            writer.close()

    def _log_path(self) -> str:
        return f"/process/{self.pid}/logs/stream"

    async def _take(self, reader: asyncio.StreamReader) -> None:
        number, rest = 0, b""
        while data := await reader.read(PIECE):
            *whole, rest = (rest + data).split(b"\n")
            fresh = []
            for line in whole:
                stream, colon, text = line.partition(b":")
                if not colon or stream not in _STREAMS:
                    continue  # a sign of life, or that older output was dropped
                number += 1
                if number > self.seen:
                    fresh.append(self._line(_STREAMS[stream], text))
            self.seen = max(self.seen, number)
            if fresh:
                self._keep(fresh)

    def _keep(self, lines: list[LogLine]) -> None:
        self.tail.extend(line.text for line in lines)
        self._sink.write(lines)

    def _line(self, stream: str, text: bytes) -> LogLine:
        """A line of its own moment: whoever orders or joins lines does so by their time."""
        self._last_ns = max(time.time_ns(), self._last_ns + 1)
        return msgspec.structs.replace(
            self._label,
            at_ns=self._last_ns,
            stream=stream,
            text=text.decode("utf-8", "replace").rstrip("\r"),
        )
