"""One task in a box, as the platform sees it: told to start, heard of until its end.

The box answers the request that starts a task with its output and, at last, how it ended. When
that answer breaks off, the box is asked for the task by its name, from the beginning; lines that
were handed over already are not handed over again.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable

import msgspec

from serai.compute.asking import STATUS_LINE, ask
from serai.compute.task_states import Ended
from serai.kernel.lines import LineSink, LogLine
from serai.wire.sandbox_api import ExecEvent
from serai.wire.sandbox_tasks import TaskDataPlace, TaskEnd, TaskRequest

ANSWER_SECONDS = 30.0
SILENCE_SECONDS = 60.0
"""A box gives a sign of life every few seconds."""
AGAIN_SECONDS = 0.2
HEAD_MAX = 16 * 1024
EVENT_MAX = 1024 * 1024
LINE_MAX = 64 * 1024
TAIL_LINES = 10
TAIL_CHARACTERS = 2000

_event = msgspec.json.Decoder(ExecEvent)
_end = msgspec.json.Decoder(TaskEnd)


class _Unknown(Exception):
    """The box has never heard of the task."""


class _Refused(Exception):
    """The box says why a task cannot start."""


class TaskCall:
    """A task that runs in a box, or is about to.

    Args:
        api_socket: of the box.
        wanted: the task.
        label: what its lines are like.
        sink: takes its lines.
        box_alive: whether the box still runs.
    """

    def __init__(
        self,
        api_socket: str,
        wanted: TaskRequest,
        label: LogLine,
        sink: LineSink,
        box_alive: Callable[[], Awaitable[bool]],
    ) -> None:
        self._socket = api_socket
        self._wanted = wanted
        self._label = label
        self._sink = sink
        self._box_alive = box_alive
        self._lines = _Lines()
        self._stop = False

    async def run(self, *, again: bool) -> Ended:
        """Start it, or with ``again`` find it where it may have been started; until its end."""
        ask_first = again
        while True:
            try:
                return await (self._found() if ask_first else self._started())
            except _Unknown:
                if self._stop:
                    return Ended(outcome="exited", detail="It was cancelled before it began.")
                ask_first = False
                continue
            except _Refused as problem:
                return Ended(outcome="unstartable", detail=str(problem))
            except (OSError, EOFError, asyncio.LimitOverrunError, msgspec.DecodeError):
                pass
            if not await self._box_alive():
                return Ended(outcome="lost", detail=self._lines.tail())
            ask_first = True
            await asyncio.sleep(AGAIN_SECONDS)

    async def stop(self) -> None:
        """Ask it to end; the box kills it when it has not after its grace. Repeatable."""
        self._stop = True
        with contextlib.suppress(OSError):
            await ask(self._socket, "DELETE", f"/process/{self._wanted.name}", b"")

    async def _started(self) -> Ended:
        body = msgspec.json.encode(self._wanted)
        return await self._follow("POST", "/task", body)

    async def _found(self) -> Ended:
        if self._stop:
            await self.stop()
        return await self._follow("GET", f"/task/{self._wanted.name}", b"")

    async def _follow(self, method: str, target: str, body: bytes) -> Ended:
        reader, writer = await asyncio.open_unix_connection(self._socket, limit=EVENT_MAX)
        try:
            writer.write(
                f"{method} {target} HTTP/1.0\r\nHost: box\r\n"
                f"Content-Length: {len(body)}\r\n\r\n".encode("ascii")
                + body
            )
            async with asyncio.timeout(ANSWER_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
            status = STATUS_LINE.match(head)
            if status is None:
                raise OSError("the box did not answer with HTTP")
            if status[1] == b"404":
                raise _Unknown
            if status[1] != b"200":
                raise _Refused(await self._reason(reader))
            return await self._events(reader)
        finally:
            writer.close()

    async def _reason(self, reader: asyncio.StreamReader) -> str:
        async with asyncio.timeout(ANSWER_SECONDS):
            text = await reader.read(HEAD_MAX)
        with contextlib.suppress(msgspec.DecodeError):
            said = msgspec.json.decode(text, type=dict[str, object]).get("error")
            return str(said)[:TAIL_CHARACTERS]
        return "the box refused it"

    async def _events(self, reader: asyncio.StreamReader) -> Ended:
        self._lines.rewind()
        while True:
            async with asyncio.timeout(SILENCE_SECONDS):
                line = await reader.readuntil(b"\n")
            event = _event.decode(line)
            if event.type in {"stdout", "stderr"}:
                self._write(self._lines.feed(event.type, event.data))
            elif event.type == "result":
                self._write(self._lines.flush())
                return self._ended(_end.decode(event.data))
            elif event.type == "error":
                raise _Refused(event.data[:TAIL_CHARACTERS])

    def _ended(self, end: TaskEnd) -> Ended:
        outcome = "timeout" if end.late and end.code != 0 else "exited"
        return Ended(outcome=outcome, code=end.code, detail=self._lines.tail())  # type: ignore[arg-type]

    def _write(self, lines: list[tuple[str, str]]) -> None:
        if lines:
            moment = time.time_ns()
            self._sink.write(
                [
                    msgspec.structs.replace(
                        self._label, at_ns=moment + number, stream=stream, text=text
                    )
                    for number, (stream, text) in enumerate(lines)
                ]
            )


class _Lines:
    """Lines of two streams, each handed over once, however often they are told."""

    def __init__(self) -> None:
        self._done = {"stdout": 0, "stderr": 0}
        self._last: deque[str] = deque(maxlen=TAIL_LINES)
        self.rewind()

    def rewind(self) -> None:
        """Everything is told from the beginning again."""
        self._told = {"stdout": 0, "stderr": 0}
        self._rest = {"stdout": "", "stderr": ""}

    def feed(self, stream: str, text: str) -> list[tuple[str, str]]:
        """The lines that came to their end, as stream and text."""
        *whole, rest = (self._rest[stream] + text).split("\n")
        if len(rest) > LINE_MAX:
            whole, rest = [*whole, rest], ""
        self._rest[stream] = rest
        return self._new(stream, whole)

    def flush(self) -> list[tuple[str, str]]:
        """What was printed without an end of line."""
        return [
            line
            for stream, rest in self._rest.items()
            if rest
            for line in self._new(stream, [rest])
        ]

    def _new(self, stream: str, lines: list[str]) -> list[tuple[str, str]]:
        skipped = max(0, self._done[stream] - self._told[stream])
        self._told[stream] += len(lines)
        self._done[stream] = max(self._done[stream], self._told[stream])
        fresh = [(stream, line.rstrip("\r")) for line in lines[skipped:]]
        self._last.extend(text for _, text in fresh)
        return fresh

    def tail(self) -> str:
        """The last lines of both."""
        return "\n".join(self._last)[-TAIL_CHARACTERS:]


async def tell_parameters(api_socket: str, tasks: bytes) -> str:
    """Have a box answer the parameters of all tasks of an execution; the URL inside.

    Raises:
        OSError: the box does not take them.
    """
    status, answer = await ask(api_socket, "PUT", "/task/data", b'{"tasks":%b}' % tasks)
    if status != 200:
        raise OSError(f"the box did not take the tasks' parameters (HTTP {status})")
    return msgspec.json.decode(answer, type=TaskDataPlace).url
