"""``/process``: run commands, follow their output, end them."""

import asyncio
import codecs
import math
import time
from collections.abc import AsyncIterator

import msgspec

from serai.kernel.errors import BadRequest, Conflict, NotFound, SeraiError, ServiceUnavailable
from serai.sandboxd.errors import Unprocessable
from serai.sandboxd.http import JSON_TYPE, Answer, Stream, error_answer, json_answer
from serai.sandboxd.logs import DROPPED, STDERR, STDOUT, LineSplitter, Position
from serai.sandboxd.processes import FULL_OUTPUT, INLINE_OUTPUT, Process, ProcessTable
from serai.sandboxd.requests import Request
from serai.sandboxd.router import Router
from serai.sandboxd.sockets import listeners
from serai.wire.sandbox_api import (
    ExecEvent,
    MessageAnswer,
    PathAnswer,
    ProcessAnswer,
    ProcessLogs,
    ProcessRequest,
)

REQUEST_LIMIT = 16 * 1024 * 1024
"""Bytes of a process request, environment included."""
STDIN_LIMIT = 4 * 1024 * 1024
"""Bytes one call may write to an input."""
EVENT_SIZE = 8 * 1024
"""Output bytes in one event of a streaming exec: its line stays under 64 KiB when escaped."""
LIST_PIECE = 256 * 1024
PORT_POLL_SECONDS = 0.05
PORT_GRACE_SECONDS = 2.0
"""How long a port may still open after the command and its group have ended (daemons)."""
SERVICE_GRACE_SECONDS = 60.0
"""The same where a service of the image is to open it."""
WAIT_DEFAULT_SECONDS = 60.0
WAIT_MOST_SECONDS = 600.0

_decoder = msgspec.json.Decoder(ProcessRequest)
_encode = msgspec.json.Encoder().encode


def http_date(moment: float) -> str:
    """A moment (seconds since the epoch) such as ``Mon, 23 Nov 2026 07:00:00 GMT``."""
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(moment))


def decode_request(body: bytes) -> ProcessRequest:
    """The request of a body, whatever its content type.

    Raises:
        BadRequest: naming the field at fault.
    """
    if not body.strip():
        raise BadRequest("invalid request body: EOF, a JSON object with 'command' is required")
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"invalid request body: {error}") from error


def describe(process: Process, *, limit: int, unfinished: str | None = "") -> ProcessAnswer:
    """A process as clients see it, with the newest ``limit`` bytes of each stream."""
    stdout, stderr = process.log.tail(STDOUT, limit), process.log.tail(STDERR, limit)
    done = process.completed_at
    return ProcessAnswer(
        pid=process.pid,
        name=process.name,
        command=process.command,
        status=process.status,
        started_at=http_date(process.started_at),
        completed_at=unfinished if done is None else http_date(done),
        exit_code=process.exit_code,
        working_dir=process.working_dir,
        logs=stdout + stderr,
        stdout=stdout,
        stderr=stderr,
        restart_on_failure=process.restart_on_failure,
        max_restarts=process.max_restarts,
        restart_count=process.restart_count,
        keep_alive=process.keep_alive,
    )


async def listening(process: Process, ports: list[int], before: set[str]) -> None:
    """Return when every port has a listener that was not there ``before``.

    Counting new sockets instead of the process tree also finds servers that became daemons. The
    ports of services that the image starts by itself count whenever they are open: a client may
    start the same server once more, as it does on the hosted service.

    Raises:
        Unprocessable: when the command and all it started in its group end first.
    """
    loop = asyncio.get_running_loop()
    give_up = math.inf
    while not set(ports) <= {s.port for s in listeners("tcp") if s.inode not in before}:
        if process.ended.is_set() and not process.group_alive():
            served = process.served >= set(ports)
            grace = SERVICE_GRACE_SECONDS if served else PORT_GRACE_SECONDS
            give_up = min(give_up, loop.time() + grace)
        if loop.time() >= give_up:
            raise Unprocessable(
                f"process exited with code {process.exit_code} before it listened on all of "
                f"ports {ports}: {process.log.tail(STDERR, 2048)}"
            )
        await asyncio.sleep(PORT_POLL_SECONDS)


class ProcessRoutes:
    """Handlers of ``/process``."""

    def __init__(self, table: ProcessTable) -> None:
        self._table = table

    def add_to(self, router: Router) -> None:
        """Register all routes."""
        router.add("GET", "/process", self.everything)
        router.add("POST", "/process", self.start)
        router.add("GET", "/process/{id}", self.get)
        router.add("GET", "/process/{id}/logs", self.logs)
        router.add("GET", "/process/{id}/logs/stream", self.stream)
        router.add("GET", "/process/{id}/wait", self.wait)
        router.add("POST", "/process/{id}/stdin", self.write_stdin)
        router.add("DELETE", "/process/{id}/stdin", self.close_stdin)
        router.add("DELETE", "/process/{id}", self.stop)
        router.add("DELETE", "/process/{id}/kill", self.kill)

    async def everything(self, request: Request) -> Answer:
        """All processes, finished ones too; made piece by piece, for logs can be many."""
        return Stream(self._all(), JSON_TYPE)

    async def _all(self) -> AsyncIterator[bytes]:
        pieces, size = [b"["], 0
        for number, process in enumerate(self._table):
            pieces.append(b"," if number else b"")
            pieces.append(_encode(describe(process, limit=INLINE_OUTPUT, unfinished=None)))
            size += len(pieces[-1])
            if size > LIST_PIECE:
                yield b"".join(pieces)
                pieces, size = [], 0
        yield b"".join([*pieces, b"]"])

    async def start(self, request: Request) -> Answer:
        """Run a command; with ``Accept: text/event-stream`` its output comes as it is made."""
        wanted = decode_request(await request.body(REQUEST_LIMIT))
        if "text/event-stream" in request.headers.get("accept", ""):
            events = self._start_streaming(wanted)
            return Stream(events, "application/x-ndjson", headers={"X-Accel-Buffering": "no"})
        process, before = self.begin(wanted)
        seconds = wanted.timeout if wanted.timeout and wanted.timeout > 0 else None
        await self.await_start(process, wanted, before, seconds)
        if not wanted.wait_for_completion:
            answer = describe(process, limit=INLINE_OUTPUT)
            if not process.ended.is_set():
                answer.logs, answer.stdout, answer.stderr = None, "", ""
            return json_answer(answer)
        return json_answer(describe(process, limit=FULL_OUTPUT))

    def begin(self, wanted: ProcessRequest) -> tuple[Process, set[str]]:
        """Start a command; also the sockets that listened before it, when ports matter."""
        own = self._table.service_ports
        found = listeners("tcp") if wanted.wait_for_ports else ()
        before = {each.inode for each in found if each.port not in own}
        return self._table.start(wanted), before

    @staticmethod
    async def await_start(
        process: Process, wanted: ProcessRequest, before: set[str], seconds: int | None
    ) -> None:
        """Ports first, then completion, under one deadline; the process outlives it.

        Raises:
            Unprocessable: when ``seconds`` pass first, or no port can open any more.
        """
        doing = "waiting for ports " if wanted.wait_for_ports else ""
        try:
            async with asyncio.timeout(seconds):
                if wanted.wait_for_ports:
                    await listening(process, wanted.wait_for_ports, before)
                    doing = ""
                if wanted.wait_for_completion:
                    await process.ended.wait()
        except TimeoutError:
            raise Unprocessable(f"process timed out {doing}after {seconds} seconds") from None

    def _start_streaming(self, wanted: ProcessRequest) -> AsyncIterator[bytes]:
        try:
            process, before = self.begin(wanted)
        except BadRequest:
            raise
        except SeraiError as error:
            return _failure(error.message)
        return self._events(process, wanted.wait_for_ports or [], before)

    async def _events(
        self, process: Process, ports: list[int], before: set[str]
    ) -> AsyncIterator[bytes]:
        waiting = asyncio.ensure_future(listening(process, ports, before)) if ports else None
        if waiting is not None:
            waiting.add_done_callback(lambda _: process.log.wake())
        try:
            async for event in self._output_events(process, waiting):
                yield event
            if waiting is None or waiting.done():
                result = _encode(describe(process, limit=FULL_OUTPUT)).decode()
                yield _event("result", result)
        finally:
            if waiting is not None:
                waiting.cancel()

    async def _output_events(
        self, process: Process, waiting: asyncio.Future[None] | None
    ) -> AsyncIterator[bytes]:
        make = codecs.getincrementaldecoder("utf-8")
        decoders = (make("replace"), make("replace"))
        async for piece in self._follow(process):
            if waiting is not None and waiting.done() and (error := waiting.exception()):
                yield _event("error", str(error))
                return
            if piece is None:
                yield _event("keepalive")
                continue
            stream, data = piece
            for start in range(0, len(data), EVENT_SIZE):
                text = decoders[stream].decode(data[start : start + EVENT_SIZE])
                if text:
                    yield _event(("stdout", "stderr")[stream], text)
        for stream in (STDOUT, STDERR):
            if rest := decoders[stream].decode(b"", final=True):
                yield _event(("stdout", "stderr")[stream], rest)

    async def _follow(self, process: Process) -> AsyncIterator[tuple[int, bytes] | None]:
        """Output from the oldest kept to the end of the process; None when all is silent."""
        position = Position()
        while True:
            if process.log.missed(position):
                yield STDOUT, DROPPED.encode()
            ended = process.ended.is_set()
            if (piece := process.log.read(position)) is not None:
                yield piece
            elif ended:
                return
            elif not await process.log.changed(self._table.limits.keepalive):
                yield None

    async def get(self, request: Request) -> Answer:
        """One process by pid or name."""
        process = self._table.get(request.params["id"])
        return json_answer(describe(process, limit=INLINE_OUTPUT))

    async def logs(self, request: Request) -> Answer:
        """What is kept of its output."""
        process = self._logged(request.params["id"])
        stdout = process.log.tail(STDOUT, FULL_OUTPUT)
        stderr = process.log.tail(STDERR, FULL_OUTPUT)
        return json_answer(ProcessLogs(stdout=stdout, stderr=stderr, logs=stdout + stderr))

    def _logged(self, identifier: str) -> Process:
        process = self._table.find(identifier)
        if process is None:
            raise NotFound(f"process with PID {identifier} not found")
        return process

    async def stream(self, request: Request) -> Answer:
        """Its output as prefixed lines, from the oldest kept to the end of the process."""
        identifier = request.params["id"]
        process = self._table.find(identifier)
        if process is None:  # clients expect 200 here: the stream itself carries the error
            answer = error_answer(NotFound(f"process with Identifier {identifier} not found"))
            answer.status = 200
            return answer
        return Stream(self._lines(process), "text/plain; charset=utf-8")

    async def _lines(self, process: Process) -> AsyncIterator[bytes]:
        splitter = LineSplitter()
        note = DROPPED.encode()
        async for piece in self._follow(process):
            if piece is None:
                yield b"[keepalive]\n"
            elif piece[1] == note:
                yield note
            else:
                yield splitter.feed(*piece)
        yield splitter.flush()

    async def wait(self, request: Request) -> Answer:
        """The process when it has ended, or as it is after ``timeout`` seconds."""
        process = self._table.get(request.params["id"])
        text = request.query.get("timeout", "")
        try:
            seconds = float(text) if text else WAIT_DEFAULT_SECONDS
        except ValueError:
            raise BadRequest(f"timeout: '{text}' is not a number of seconds") from None
        try:
            async with asyncio.timeout(max(0.0, min(seconds, WAIT_MOST_SECONDS))):
                await process.ended.wait()
        except TimeoutError:
            pass
        return json_answer(describe(process, limit=INLINE_OUTPUT))

    async def write_stdin(self, request: Request) -> Answer:
        """Bytes for its input, as they are; answered when all are in its pipe."""
        process = self._table.get(request.params["id"])
        inlet = process.inlet()
        data = await request.body(STDIN_LIMIT)
        try:
            done = await inlet.write(data, self._table.limits.stdin_wait)
        except TimeoutError as error:
            raise ServiceUnavailable(
                f"process '{process.name}' does not read its stdin: {error} of {len(data)}"
            ) from None
        if done < len(data) or not inlet.is_open:
            raise Conflict(
                f"stdin of process '{process.name}' is closed: {done} of {len(data)} bytes were"
                " taken"
            )
        return json_answer(PathAnswer(message="Data written to stdin"))

    async def close_stdin(self, request: Request) -> Answer:
        """Let it read the end of its input; may be repeated."""
        self._table.get(request.params["id"]).inlet().close()
        return json_answer(PathAnswer(message="Stdin closed"))

    async def stop(self, request: Request) -> Answer:
        """Ask a process to end; it is killed when it does not within the grace period."""
        self.end(request.params["id"])
        return json_answer(MessageAnswer(message="Process stopped successfully"))

    def end(self, identifier: str) -> None:
        """Ask a running process to end.

        Raises:
            NotFound: when there is none.
        """
        process = self._table.get(identifier)
        if process.status != "running":
            raise NotFound(f"process with Identifier {identifier} is not running")
        process.stop()

    async def kill(self, request: Request) -> Answer:
        """End a process at once, or what a finished one left running in its group."""
        self.end_now(request.params["id"])
        return json_answer(MessageAnswer(message="Process killed successfully"))

    def end_now(self, identifier: str) -> None:
        """Kill a process.

        Raises:
            NotFound: when there is none, or nothing of it is left.
        """
        if not self._table.get(identifier).kill():
            raise NotFound(f"failed to kill process with Identifier {identifier}: no such process")


def _event(kind: str, data: str = "") -> bytes:
    return _encode(ExecEvent(type=kind, data=data)) + b"\n"


async def _failure(message: str) -> AsyncIterator[bytes]:
    yield _event("error", message)
