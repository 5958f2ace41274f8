"""``/task``: tasks of jobs, one after the other, in a box that nothing else uses.

The platform starts a task with one request and hears of its output and its end in the answer. The
box keeps what it needs to know without the platform: time limits go on while that is away, and a
task is found by its name afterwards, running or ended. When a task has ended, nothing of it runs
on: whatever it started is killed before its end is told.
"""

import asyncio
import contextlib
import os
import shlex
import signal

import msgspec

from serai.kernel.errors import BadRequest, NotFound
from serai.sandboxd.connection import Connection, Known
from serai.sandboxd.http import Answer, Response, Stream, json_answer
from serai.sandboxd.process_streams import Events
from serai.sandboxd.process_table import ProcessTable
from serai.sandboxd.processes import Process
from serai.sandboxd.requests import Request
from serai.sandboxd.router import Router
from serai.sandboxd.spawning import shell
from serai.wire.sandbox_api import ProcessRequest
from serai.wire.sandbox_tasks import TaskDataPlace, TaskEnd, TaskRequest

REQUEST_LIMIT = 16 * 1024 * 1024
"""Bytes of a request: the parameters of all tasks of an execution."""
EVENTS_TYPE = "application/x-ndjson; charset=utf-8"

_decoder = msgspec.json.Decoder(TaskRequest)


class TaskRoutes:
    """Handlers of ``/task``."""

    def __init__(self, table: ProcessTable, known: Known) -> None:
        self._table = table
        self._known = known
        self._late: set[str] = set()
        self._data = b'{"tasks":[]}'
        self._server: asyncio.Server | None = None
        self._tending: set[asyncio.Task[None]] = set()

    def add_to(self, router: Router) -> None:
        """Register all routes."""
        router.add("POST", "/task", self.start)
        router.add("GET", "/task/{name}", self.follow)
        router.add("PUT", "/task/data", self.keep_data)

    async def start(self, request: Request) -> Answer:
        """Run a task; its output and end follow as events."""
        body = await request.body(REQUEST_LIMIT)
        try:
            wanted = _decoder.decode(body)
        except msgspec.DecodeError as error:
            raise BadRequest(f"invalid task: {error}") from error
        self._table.forget_output()  # whoever starts another has taken what the last one printed
        process = self._table.start(
            ProcessRequest(
                command=self._command(wanted.command),
                name=wanted.name,
                working_dir=wanted.working_dir,
                env=wanted.environment,
            )
        )
        tending = asyncio.get_running_loop().create_task(self._tend(process, wanted))
        self._tending.add(tending)
        tending.add_done_callback(self._tending.discard)
        return self._events(process)

    def _command(self, words: list[str]) -> str:
        """The words for a shell, which becomes the program: signals then reach that."""
        text = shlex.join(words)
        program = shell(self._table.surroundings.environment)[0]
        return f"exec {text}" if os.path.exists(program) else text

    async def follow(self, request: Request) -> Answer:
        """The events of a task from their beginning, as far as its output is kept."""
        process = self._table.find(request.params["name"])
        if process is None:
            raise NotFound(f"there is no task {request.params['name'][:80]!r}")
        return self._events(process)

    def _events(self, process: Process) -> Answer:
        events = Events(process, self._table.limits.keepalive, lambda: self._end_of(process))
        return Stream(events.pieces(), EVENTS_TYPE)

    def _end_of(self, process: Process) -> str:
        self._sweep()
        end = TaskEnd(
            code=process.exit_code,
            late=process.name in self._late,
            stopped=process.name in self._late or process.status in ("stopped", "killed"),
        )
        return msgspec.json.encode(end).decode()

    async def _tend(self, process: Process, wanted: TaskRequest) -> None:
        """End a task at its limit, and what it left behind afterwards, watched or not."""
        try:
            await asyncio.wait_for(process.ended.wait(), wanted.timeout)
        except TimeoutError:
            self._late.add(process.name)
            process.stop(wanted.grace)
            await process.ended.wait()
        self._sweep()

    def _sweep(self) -> None:
        """Kill all that runs here but us, unless another command runs already."""
        if self._table.running() or os.getpid() != 1:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(-1, signal.SIGKILL)

    async def keep_data(self, request: Request) -> Answer:
        """Keep parameters, for programs in the box that ask with HTTP."""
        self._data = await request.body(REQUEST_LIMIT)
        if self._server is None:
            router = Router()
            router.add("GET", "/", self._answer_data)
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(
                lambda: Connection(router, self._known), "127.0.0.1", 0
            )
        port = self._server.sockets[0].getsockname()[1]
        return json_answer(TaskDataPlace(url=f"http://127.0.0.1:{port}/"))

    async def _answer_data(self, request: Request) -> Answer:
        return Response(self._data)
