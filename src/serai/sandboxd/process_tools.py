"""MCP tools that run commands and end them."""

from typing import Any

from serai.kernel.errors import NotFound
from serai.sandboxd.errors import Unprocessable
from serai.sandboxd.process_routes import ProcessRoutes, describe
from serai.sandboxd.process_table import ProcessTable
from serai.sandboxd.processes import (
    FULL_OUTPUT,
    INLINE_OUTPUT,
    KEEP_ALIVE_SECONDS,
    Process,
)
from serai.sandboxd.tools import Tool
from serai.wire.sandbox_api import ProcessAnswer, ProcessRequest
from serai.wire.sandbox_tools import (
    ExecuteInput,
    ExecuteOutput,
    LogsOutput,
    Nothing,
    ProcessesOutput,
    ProcessInput,
    StatusOutput,
)

WAIT_SECONDS = 30
"""How long a waiting call waits when nothing is said."""
LISTED_OUTPUT = 4 * 1024
"""Newest bytes of each stream in the list of all processes."""
MOST_SECONDS = 58
"""The longest wait: what stands between client and sandbox may cut a call at 60 seconds."""


class ProcessTools:
    """Tools over the sandbox's processes."""

    def __init__(self, table: ProcessTable, routes: ProcessRoutes) -> None:
        self._table = table
        self._routes = routes

    def all(self) -> list[Tool[Any]]:
        """The tools."""
        return [
            Tool("processesList", "List processes, finished ones too.", Nothing, ProcessesOutput,
                 self.everything),
            Tool("processExecute", "Run a shell command.", ExecuteInput, ExecuteOutput,
                 self.execute),
            Tool("processGet", "Look at one process.", ProcessInput, ProcessAnswer, self.get),
            Tool("processGetLogs", "Read what a process printed.", ProcessInput, LogsOutput,
                 self.logs),
            Tool("processStop", "Ask a process to end.", ProcessInput, StatusOutput, self.stop),
            Tool("processKill", "End a process at once.", ProcessInput, StatusOutput, self.kill),
        ]  # fmt: skip

    async def everything(self, _: Nothing) -> ProcessesOutput:
        """All processes."""
        found = [describe(each, limit=LISTED_OUTPUT, unfinished=None) for each in self._table]
        return ProcessesOutput(processes=found)

    async def execute(self, wanted: ExecuteInput) -> ExecuteOutput:
        """Start a command, and wait for it when asked to."""
        given = _seconds(wanted)
        long = given > MOST_SECONDS
        process, started = self._routes.begin(_request(wanted), min(given, MOST_SECONDS))
        if wanted.wait_for_completion or wanted.wait_for_ports:
            try:
                await self._routes.await_start(process, started)
            except Unprocessable:
                if not long or process.ended.is_set():
                    raise
                return _still_running(process)
        logs = wanted.wait_for_completion or process.ended.is_set()
        return _shown(process, logs=bool(logs))

    def _get(self, identifier: str) -> Process:
        try:
            return self._table.get(identifier)
        except NotFound as error:
            raise NotFound(f"failed to get process: {error.message}") from None

    async def get(self, wanted: ProcessInput) -> ProcessAnswer:
        """One process."""
        return describe(self._get(wanted.identifier), limit=INLINE_OUTPUT)

    async def logs(self, wanted: ProcessInput) -> LogsOutput:
        """Its output."""
        answer = describe(self._get(wanted.identifier), limit=FULL_OUTPUT)
        return LogsOutput(logs=answer.logs or "")

    async def stop(self, wanted: ProcessInput) -> StatusOutput:
        """Ask it to end."""
        self._routes.end(wanted.identifier)
        return StatusOutput(status="stopped")

    async def kill(self, wanted: ProcessInput) -> StatusOutput:
        """End it now."""
        self._routes.end_now(wanted.identifier)
        return StatusOutput(status="killed")


def _seconds(wanted: ExecuteInput) -> int:
    """How long to wait, if it were not for :data:`MOST_SECONDS`; 0 and less is without end."""
    if wanted.timeout is None:
        return KEEP_ALIVE_SECONDS if wanted.keep_alive else WAIT_SECONDS
    return wanted.timeout if wanted.timeout > 0 else KEEP_ALIVE_SECONDS


def _request(wanted: ExecuteInput) -> ProcessRequest:
    return ProcessRequest(
        command=wanted.command,
        name=wanted.name,
        working_dir=wanted.working_dir or "/",
        env=wanted.env,
        wait_for_completion=wanted.wait_for_completion,
        timeout=wanted.timeout,
        wait_for_ports=wanted.wait_for_ports,
        restart_on_failure=wanted.restart_on_failure,
        max_restarts=wanted.max_restarts,
        keep_alive=wanted.keep_alive,
    )


def _shown(process: Process, *, logs: bool) -> ExecuteOutput:
    answer = describe(process, limit=FULL_OUTPUT)
    return ExecuteOutput(
        pid=answer.pid,
        name=answer.name,
        status=answer.status,
        exit_code=answer.exit_code,
        logs=(answer.logs or "") if logs else "",
    )


def _still_running(process: Process) -> ExecuteOutput:
    shown = _shown(process, logs=True)
    shown.poll_required = True
    shown.message = (
        f"it still runs after {MOST_SECONDS} seconds: ask processGet for '{process.name}' until its"
        " status is not 'running'"
    )
    return shown
