"""``/process``: run commands, follow their output, end them."""

import asyncio
import math
import time
from collections.abc import AsyncIterator

import msgspec
from msgspec.structs import replace

from serai.kernel.errors import BadRequest, Conflict, NotFound, SeraiError, ServiceUnavailable
from serai.sandboxd.errors import Unprocessable
from serai.sandboxd.handover import EndGoing, EventsGoing, LinesGoing, StartGoing
from serai.sandboxd.http import JSON_TYPE, Answer, Stream, error_answer, json_answer
from serai.sandboxd.logs import STDERR, STDOUT
from serai.sandboxd.process_streams import Events, Lines, failure
from serai.sandboxd.process_table import ProcessTable
from serai.sandboxd.processes import FULL_OUTPUT, INLINE_OUTPUT, Process
from serai.sandboxd.requests import Request
from serai.sandboxd.router import Router
from serai.sandboxd.sockets import listeners
from serai.wire.sandbox_api import (
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
        going = request.going
        if isinstance(going, EventsGoing):
            process = self._before(going.process)
            ports, before = going.ports, set(going.before)
            return _event_stream(self._events(request, process, ports, before, going))
        if isinstance(going, StartGoing):
            return await self._started(request, self._before(going.process), going)
        wanted = decode_request(await request.body(REQUEST_LIMIT))
        if "text/event-stream" in request.headers.get("accept", ""):
            return _event_stream(self._streaming(request, wanted))
        seconds = wanted.timeout if wanted.timeout and wanted.timeout > 0 else None
        return await self._started(request, *self.begin(wanted, seconds))

    async def _started(self, request: Request, process: Process, going: StartGoing) -> Answer:
        """Wait as long as was asked for, here or in a predecessor, and describe the process."""
        begun = time.monotonic()

        def carry() -> StartGoing:
            left = going.left and max(0.0, going.left - (time.monotonic() - begun))
            return replace(going, process=self._table.place_of(process), left=left)

        request.carry = carry
        await self.await_start(process, going)
        if not going.for_end:
            answer = describe(process, limit=INLINE_OUTPUT)
            if not process.ended.is_set():
                answer.logs, answer.stdout, answer.stderr = None, "", ""
            return json_answer(answer)
        return json_answer(describe(process, limit=FULL_OUTPUT))

    def _before(self, place: int) -> Process:
        """The process that a predecessor's request was about."""
        process = self._table.at(place)
        if process is None:
            raise NotFound("process not found")
        return process

    def begin(self, wanted: ProcessRequest, seconds: int | None) -> tuple[Process, StartGoing]:
        """Start a command; also what is to be waited for, at most so many seconds."""
        ports = wanted.wait_for_ports or []
        before = self._open_before(ports)
        return self._table.start(wanted), StartGoing(
            process=-1,
            ports=ports,
            before=before,
            for_end=bool(wanted.wait_for_completion),
            timeout=seconds,
            left=seconds,
        )

    def _open_before(self, ports: list[int]) -> list[str]:
        """The sockets that listen before a command does, when ports matter."""
        own = self._table.service_ports
        found = listeners("tcp") if ports else ()
        return sorted(each.inode for each in found if each.port not in own)

    @staticmethod
    async def await_start(process: Process, going: StartGoing) -> None:
        """Ports first, then completion, under one deadline; the process outlives it.

        Raises:
            Unprocessable: when the time is over first, or no port can open any more.
        """
        doing = "waiting for ports " if going.ports else ""
        try:
            async with asyncio.timeout(going.left):
                if going.ports:
                    await listening(process, going.ports, set(going.before))
                    doing = ""
                if going.for_end:
                    await process.ended.wait()
        except TimeoutError:
            raise Unprocessable(f"process timed out {doing}after {going.timeout} seconds") from None

    def _streaming(self, request: Request, wanted: ProcessRequest) -> AsyncIterator[bytes]:
        try:
            process, started = self.begin(wanted, None)
        except BadRequest:
            raise
        except SeraiError as error:
            return failure(error.message)
        return self._events(request, process, started.ports, set(started.before))

    def _events(
        self,
        request: Request,
        process: Process,
        ports: list[int],
        before: set[str],
        going: EventsGoing | None = None,
    ) -> AsyncIterator[bytes]:
        waits = bool(ports) if going is None else going.waits
        events = Events(
            process,
            self._table.limits.keepalive,
            lambda: _encode(describe(process, limit=FULL_OUTPUT)).decode(),
            listening(process, ports, before) if waits else None,
            going,
        )
        request.carry = lambda: events.carry(self._table.place_of(process), ports, before)
        return events.pieces()

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
        going = request.going if isinstance(request.going, LinesGoing) else None
        place = going.process if going is not None else -1
        process = self._table.at(place) or self._table.find(identifier)
        if process is None:  # clients expect 200 here: the stream itself carries the error
            answer = error_answer(NotFound(f"process with Identifier {identifier} not found"))
            answer.status = 200
            return answer
        lines = Lines(process, self._table.limits.keepalive, going)
        request.carry = lambda: lines.carry(self._table.place_of(process))
        return Stream(lines.pieces(), "text/plain; charset=utf-8")

    async def wait(self, request: Request) -> Answer:
        """The process when it has ended, or as it is after ``timeout`` seconds."""
        if isinstance(request.going, EndGoing):
            process, seconds = self._before(request.going.process), request.going.left
        else:
            process = self._table.get(request.params["id"])
            seconds = _seconds(request.query.get("timeout", ""))
        until = time.monotonic() + seconds
        request.carry = lambda: EndGoing(
            process=self._table.place_of(process), left=max(0.0, until - time.monotonic())
        )
        try:
            async with asyncio.timeout(seconds):
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


def _seconds(text: str) -> float:
    """How long a call may wait."""
    try:
        seconds = float(text) if text else WAIT_DEFAULT_SECONDS
    except ValueError:
        raise BadRequest(f"timeout: '{text}' is not a number of seconds") from None
    return max(0.0, min(seconds, WAIT_MOST_SECONDS))


def _event_stream(events: AsyncIterator[bytes]) -> Stream:
    return Stream(events, "application/x-ndjson", headers={"X-Accel-Buffering": "no"})
