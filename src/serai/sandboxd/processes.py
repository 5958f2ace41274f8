"""Processes: their life, their names, and what is kept of them."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from serai.kernel.errors import BadRequest, Conflict, NotFound, SeraiError
from serai.kernel.ids import token
from serai.sandboxd.errors import Unprocessable
from serai.sandboxd.logs import STDERR, STDOUT, LogBuffer
from serai.sandboxd.paths import Paths
from serai.sandboxd.spawning import Child, Inlet, Pipe, Reaper, Surroundings, shell, spawn
from serai.wire.sandbox_api import ProcessRequest, ProcessStatus

INLINE_OUTPUT = 64 * 1024
"""Newest bytes of each stream shown in process lists and single answers."""
FULL_OUTPUT = 4 * 1024 * 1024
"""Newest bytes of each stream shown in logs and waiting answers."""
KEEP_ALIVE_SECONDS = 600
SERVICE_START_SECONDS = 120
"""How long a service of the image may take until it listens; who asks for it is kept waiting."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one sandbox's bookkeeping; seconds and bytes."""

    stop_grace: float = 10.0
    keepalive: float = 3.0
    stdin_wait: float = 30.0
    terminal_idle: float = 600.0
    restart_delay: float = 1.0
    log_total: int = 32 * 1024 * 1024
    finished: int = 1000


class Process:
    """One named command over all its runs; ``pid`` is that of the first."""

    def __init__(self, request: ProcessRequest, cwd: str, table: "ProcessTable") -> None:
        self.command = request.command
        self.name = request.name or f"proc-{token(8)}"
        self.working_dir = request.working_dir or ""
        self.restart_on_failure = bool(request.restart_on_failure)
        self.max_restarts = request.max_restarts or 0
        self.keep_alive = bool(request.keep_alive)
        self.restart_count = 0
        self.status: ProcessStatus = "running"
        self.exit_code = 0
        self.completed_at: float | None = None
        self.ports: frozenset[int] = frozenset()
        self.log = LogBuffer()
        self.ended = asyncio.Event()
        self._wants_input = bool(request.stdin)
        self._inlet: Inlet | None = None
        self._cwd = cwd
        self._env = table.surroundings.variables(request.env)
        self._table = table
        self._loop = asyncio.get_running_loop()
        self._timers: list[asyncio.TimerHandle] = []
        self._alive = False
        self._run()
        self.pid = str(self.group)
        self._keep_alive_for(request.timeout)

    def _run(self) -> None:
        around = self._table.surroundings
        child = spawn(
            self.command,
            self._cwd,
            self._env,
            shell(around.environment),
            around.expend,
            stdin=self._wants_input,
        )
        self.group = child.pid
        self.started_at = time.time()
        self._alive = True
        self._pipes = self._listen(child)
        self._inlet = Inlet(child.stdin) if self._wants_input else None
        self._table.reaper.watch(child.pid, self._exited)

    def _listen(self, child: Child) -> tuple[Pipe, Pipe]:
        return (
            Pipe(child.stdout, lambda data: self._print(STDOUT, data)),
            Pipe(child.stderr, lambda data: self._print(STDERR, data)),
        )

    def _print(self, stream: int, data: bytes) -> None:
        before = self.log.cost
        self.log.append(stream, data)
        self._table.account(self.log.cost - before)

    def _keep_alive_for(self, timeout: int | None) -> None:
        if self.keep_alive and timeout != 0:
            seconds = timeout if timeout is not None and timeout > 0 else KEEP_ALIVE_SECONDS
            self._timers.append(self._loop.call_later(seconds, self._expire))

    def _expire(self) -> None:
        if not self.ended.is_set():
            self.kill()

    def _exited(self, code: int) -> None:
        for pipe in self._pipes:
            pipe.drain()
        if self._inlet is not None:
            self._inlet.close()
        self._alive = False
        self.exit_code = code if code >= 0 else -1
        if self.status == "running" and code != 0 and self._may_restart():
            self._announce_restart()
        else:
            self._finish()

    def _may_restart(self) -> bool:
        unlimited = self.max_restarts < 0
        return self.restart_on_failure and (unlimited or self.restart_count < self.max_restarts)

    def _announce_restart(self) -> None:
        self.restart_count += 1
        most = "unlimited" if self.max_restarts < 0 else str(self.max_restarts)
        note = (
            f"\n[Process failed with exit code {self.exit_code}. "
            f"Attempting restart {self.restart_count}/{most}...]\n"
        )
        self._print(STDOUT, note.encode())
        delay = self._table.limits.restart_delay
        self._timers.append(self._loop.call_later(delay, self._restart))

    def _restart(self) -> None:
        if self.ended.is_set():
            return
        try:
            self._run()
        except (Unprocessable, BadRequest) as error:
            self._print(STDOUT, f"\n[Failed to restart process: {error.message}]\n".encode())
            self._finish()

    def _finish(self) -> None:
        if self.exit_code == 0 and self.status in ("running", "stopped"):
            self.status = "completed"
        elif self.status == "running":
            self.status = "failed"
        self.completed_at = time.time()
        self.keep_alive = False
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._env = {}
        self.ended.set()
        self.log.wake()

    @property
    def served(self) -> frozenset[int]:
        """Ports that services of the image open."""
        return self._table.service_ports

    def inlet(self) -> Inlet:
        """Its input.

        Raises:
            Conflict: when it was not started with one.
        """
        if self._inlet is None:
            raise Conflict(
                f"process '{self.name}' has no open stdin: start it with \"stdin\": true"
            )
        return self._inlet

    def signal_group(self, number: int) -> bool:
        """Signal the command and all it started in its group; False when none is left."""
        try:
            os.killpg(self.group, number)
        except ProcessLookupError:
            return False
        return True

    def group_alive(self) -> bool:
        """Whether anything of the command still runs."""
        return self._alive or self.signal_group(0)

    def stop(self) -> None:
        """Ask it to end; after the grace period it is killed."""
        self.status = "stopped"
        if not self._alive:
            self._abandon()
            return
        self.signal_group(signal.SIGTERM)
        grace = self._table.limits.stop_grace
        self._timers.append(self._loop.call_later(grace, lambda: self.signal_group(signal.SIGKILL)))

    def kill(self) -> bool:
        """End it now, or what it left behind; False when nothing is left to kill."""
        if self.ended.is_set():
            reused = self._table.find(self.pid) is not self
            return not reused and self.signal_group(signal.SIGKILL)
        self.status = "killed"
        if self._alive:
            self.signal_group(signal.SIGKILL)
        else:
            self._abandon()
        return True

    def _abandon(self) -> None:
        """Stopped between two runs: there will be no other."""
        self.exit_code = -1
        self._finish()


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

    def expects(self, port: int) -> bool:
        """Whether a service that has just been started will soon listen on a port."""
        since = time.time() - SERVICE_START_SECONDS
        return port in self.service_ports and any(
            port in process.ports and not process.ended.is_set() and process.started_at > since
            for process in self._processes
        )

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

    def _forget(self) -> None:
        finished = [p for p in self._processes if p.ended.is_set()]
        for process in finished[: max(0, len(finished) - self.limits.finished)]:
            self._shrink(process, 0)
            self._processes.remove(process)

    async def shut_down(self) -> None:
        """End every command: ask, wait the grace period, kill."""
        running = [p for p in self._processes if not p.ended.is_set()]
        for process in running:
            process.stop()
        if running:
            waiters = [asyncio.ensure_future(p.ended.wait()) for p in running]
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait(waiters, timeout=self.limits.stop_grace + 1)
