"""All processes of the sandbox, and what they may take together."""

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from serai.kernel.errors import BadRequest, NotFound, SeraiError
from serai.sandboxd.errors import Unprocessable
from serai.sandboxd.handover import ProcessState
from serai.sandboxd.paths import Paths
from serai.sandboxd.processes import Limits, Process
from serai.sandboxd.spawning import Reaper, Surroundings
from serai.wire.sandbox_api import ProcessRequest

SERVICE_START_SECONDS = 120
"""How long a service of the image may take until it listens; who asks for it is kept waiting."""


class ProcessTable:
    """All processes of the sandbox, running and finished."""

    def __init__(
        self, surroundings: Surroundings, paths: Paths, reaper: Reaper, limits: Limits
    ) -> None:
        self.surroundings = surroundings
        self.reaper = reaper
        self.limits = limits
        self._paths = paths
        self.service_ports: frozenset[int] = frozenset()
        self._processes: list[Process] = []
        self._log_bytes = 0

    def __iter__(self) -> Iterator[Process]:
        return iter(tuple(self._processes))

    def start(self, request: ProcessRequest) -> Process:
        """Start a command.

        Raises:
            BadRequest: when the command is empty or its name is taken by a running one.
            Unprocessable: when the system cannot start it.
        """
        self._check(request)
        cwd = self._paths.named(request.working_dir or ".").real
        process = Process(request, cwd, self)
        self._processes.append(process)
        self._forget()
        return process

    def start_services(self, services: Iterable[Mapping[str, Any]]) -> None:
        """Start what the image wants to run in each of its sandboxes, as far as that works."""
        for service in services:
            self.service_ports |= frozenset(service["ports"])
            request = ProcessRequest(
                command=service["command"],
                name=service["name"],
                working_dir=service["working_dir"],
                restart_on_failure=service["restarts"] > 0,
                max_restarts=service["restarts"],
            )
            try:
                self.start(request).ports = frozenset(service["ports"])
            except SeraiError as error:
                sys.stderr.write(f"service {request.name}: {error.message}\n")

    def running(self) -> list[Process]:
        """Processes that have not ended, oldest first."""
        return [process for process in self._processes if not process.ended.is_set()]

    def to_start_again(self) -> bytes:
        """What would have to be started for the same to run again, as JSON."""
        return msgspec.json.encode([process.again() for process in self.running()])

    def expects(self, port: int) -> bool:
        """Whether a service that has just been started will soon listen on a port."""
        since = time.time() - SERVICE_START_SECONDS
        return port in self.service_ports and any(
            port in process.ports and not process.ended.is_set() and process.started_at > since
            for process in self._processes
        )

    def place_of(self, process: Process) -> int:
        """Where in the table a process is; -1 when it was forgotten."""
        return self._processes.index(process) if process in self._processes else -1

    def at(self, place: int) -> Process | None:
        """The process at a place."""
        return self._processes[place] if 0 <= place < len(self._processes) else None

    def states(self) -> list[ProcessState]:
        """All processes, for a later version of this API."""
        return [process.state() for process in self._processes]

    def take_over(self, states: Iterable[ProcessState]) -> None:
        """Go on with the processes of an earlier version."""
        for state in states:
            request = ProcessRequest(command=state.command, stdin=state.wants_input)
            try:
                process = Process(request, state.cwd, self, state)
            except OSError as error:  # rather without its output than not at all
                sys.stderr.write(f"the output of process {state.name} is lost: {error}\n")
                state.pipes, state.inlet = (-1, -1), -1
                process = Process(request, state.cwd, self, state)
            self._processes.append(process)

    def _check(self, request: ProcessRequest) -> None:
        if not request.command:
            raise BadRequest("invalid request body: command is required and must not be empty")
        if request.keep_alive and self.surroundings.forbids_keep_alive():
            raise BadRequest(
                "keepAlive is not available for this sandbox: BL_DISABLE_KEEPALIVE is set in its"
                " environment"
            )
        for port in request.wait_for_ports or ():
            if not 0 < port < 65536:
                raise BadRequest(f"invalid request body: waitForPorts: {port} is not a port")
        if request.name and "/" in request.name:
            raise Unprocessable("failed to start process: name must not contain '/'")
        taken = request.name and self._newest(lambda p: p.name == request.name)
        if taken and not taken.ended.is_set():
            raise BadRequest(f"process with name '{request.name}' already exists and is running")

    def _newest(self, test: Callable[[Process], bool]) -> Process | None:
        return next((p for p in reversed(self._processes) if test(p)), None)

    def find(self, identifier: str) -> Process | None:
        """The newest process with that pid, else with that name."""
        return self._newest(lambda p: p.pid == identifier) or self._newest(
            lambda p: p.name == identifier
        )

    def get(self, identifier: str) -> Process:
        """Like :meth:`find`.

        Raises:
            NotFound: when there is none.
        """
        process = self.find(identifier)
        if process is None:
            raise NotFound("process not found")
        return process

    def account(self, growth: int) -> None:
        """Output grew by so many bytes: make room when all logs together are over the limit.

        Finished processes lose theirs first, oldest first; then the largest is halved.
        """
        self._log_bytes += growth
        if self._log_bytes <= self.limits.log_total:
            return
        for process in self._processes:
            if self._log_bytes <= self.limits.log_total:
                return
            if process.ended.is_set():
                self._shrink(process, 0)
        largest = max(self._processes, key=lambda p: p.log.cost, default=None)
        if largest is not None:
            self._shrink(largest, largest.log.cost // 4)

    def _shrink(self, process: Process, limit: int) -> None:
        before = process.log.cost
        process.log.shrink(limit)
        self._log_bytes -= before - process.log.cost

    def forget_output(self) -> None:
        """Drop what finished processes printed; how they ended stays known."""
        for process in self._processes:
            if process.ended.is_set():
                self._shrink(process, 0)

    def _forget(self) -> None:
        finished = [p for p in self._processes if p.ended.is_set()]
        for process in finished[: max(0, len(finished) - self.limits.finished)]:
            self._shrink(process, 0)
            self._processes.remove(process)

    async def shut_down(self) -> None:
        """End every command: ask, wait the grace period, kill."""
        await self.end_all(self.limits.stop_grace)

    async def end_all(self, seconds: float) -> None:
        """The same with another grace period."""
        running = self.running()
        for process in running:
            process.stop(seconds)
        if running:
            waiters = [asyncio.ensure_future(p.ended.wait()) for p in running]
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait(waiters, timeout=seconds + 1)
