"""Processes: their life, and what is kept of them."""

import asyncio
import math
import os
import signal
import time
from collections.abc import Callable
from typing import Protocol

import msgspec

from serai.kernel.errors import BadRequest, Conflict
from serai.kernel.ids import token
from serai.sandboxd.errors import Unprocessable
from serai.sandboxd.handover import ProcessState
from serai.sandboxd.logs import STDERR, STDOUT, LogBuffer
from serai.sandboxd.spawning import Child, Inlet, Pipe, Reaper, Surroundings, shell, spawn
from serai.wire.sandbox_api import ProcessRequest, ProcessStatus

INLINE_OUTPUT = 64 * 1024
"""Newest bytes of each stream shown in process lists and single answers."""
FULL_OUTPUT = 4 * 1024 * 1024
"""Newest bytes of each stream shown in logs and waiting answers."""
KEEP_ALIVE_SECONDS = 600
_EXPIRE, _KILL, _RESTART = "expire", "kill", "restart"
_CARRIED = (
    "name",
    "pid",
    "group",
    "working_dir",
    "restart_on_failure",
    "max_restarts",
    "restart_count",
    "keep_alive",
    "status",
    "exit_code",
    "started_at",
    "completed_at",
)
"""Fields that a later version of this API takes over as they are."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one sandbox's bookkeeping; seconds and bytes."""

    stop_grace: float = 10.0
    keepalive: float = 3.0
    stdin_wait: float = 30.0
    terminal_idle: float = 600.0
    restart_delay: float = 1.0
    log_total: int = 32 * 1024 * 1024
    finished: int = 1000


class Table(Protocol):
    """What a process needs of the table that it is in."""

    surroundings: Surroundings
    reaper: Reaper
    limits: Limits
    service_ports: frozenset[int]

    def account(self, growth: int) -> None:
        """Output grew by so many bytes."""

    def find(self, identifier: str) -> "Process | None":
        """The newest process of that pid or name."""


class Process:
    """One named command over all its runs; ``pid`` is that of the first.

    Args:
        request: what to run.
        cwd: where.
        table: all processes.
        earlier: how far it came under an earlier version of this API; else it starts now.
    """

    def __init__(
        self,
        request: ProcessRequest,
        cwd: str,
        table: Table,
        earlier: ProcessState | None = None,
    ) -> None:
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
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._alive = False
        if earlier is not None:
            self._take_over(earlier)
            return
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

    def _take_over(self, earlier: ProcessState) -> None:
        for name in _CARRIED:
            setattr(self, name, getattr(earlier, name))
        self.ports = frozenset(earlier.ports)
        self._env, self._alive = earlier.env, earlier.alive
        self.log = LogBuffer.restored(earlier.log)
        self._table.account(self.log.cost)
        self._pipes = self._listen(Child(self.group, *earlier.pipes))
        self._inlet = Inlet(earlier.inlet) if earlier.inlet >= 0 else None
        if earlier.ended:
            self.ended.set()
            return
        if self._alive:
            self._table.reaper.watch(self.group, self._exited)
        for name, seconds, action in (
            (_EXPIRE, earlier.expires_in, self._expire),
            (_KILL, earlier.killed_in, self._kill_group),
            (_RESTART, earlier.restarts_in, self._restart),
        ):
            if seconds is not None:
                self._after(name, seconds, action)

    def state(self) -> ProcessState:
        """All that a later version of this API needs to know."""
        carried = {name: getattr(self, name) for name in _CARRIED}
        return ProcessState(
            command=self.command,
            cwd=self._cwd,
            env=self._env,
            ports=sorted(self.ports),
            wants_input=self._wants_input,
            alive=self._alive,
            ended=self.ended.is_set(),
            pipes=(self._pipes[0].fd, self._pipes[1].fd),
            inlet=self._inlet.fd if self._inlet is not None else -1,
            log=self.log.state(),
            expires_in=self._left(_EXPIRE),
            killed_in=self._left(_KILL),
            restarts_in=self._left(_RESTART),
            **carried,
        )

    def again(self) -> ProcessRequest:
        """What starts the same once more, with the life time that it has left."""
        usual = self._table.surroundings.variables(None)
        left = self._left(_EXPIRE)
        return ProcessRequest(
            command=self.command,
            name=self.name,
            working_dir=self._cwd,
            env={name: value for name, value in self._env.items() if usual.get(name) != value},
            timeout=max(1, math.ceil(left)) if left is not None else 0,
            restart_on_failure=self.restart_on_failure or None,
            max_restarts=self.max_restarts or None,
            keep_alive=self.keep_alive or None,
            stdin=self._wants_input or None,
        )

    def _after(self, name: str, seconds: float, action: Callable[[], object]) -> None:
        self._timers[name] = self._loop.call_later(seconds, action)

    def _left(self, name: str) -> float | None:
        timer = self._timers.get(name)
        if timer is None or timer.cancelled():
            return None
        return max(0.0, timer.when() - self._loop.time())

    def _print(self, stream: int, data: bytes) -> None:
        before = self.log.cost
        self.log.append(stream, data)
        self._table.account(self.log.cost - before)

    def _keep_alive_for(self, timeout: int | None) -> None:
        if self.keep_alive and timeout != 0:
            seconds = timeout if timeout is not None and timeout > 0 else KEEP_ALIVE_SECONDS
            self._after(_EXPIRE, seconds, self._expire)

    def _expire(self) -> None:
        self._timers.pop(_EXPIRE, None)
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
        self._after(_RESTART, self._table.limits.restart_delay, self._restart)

    def _restart(self) -> None:
        self._timers.pop(_RESTART, None)
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
        for timer in self._timers.values():
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

    def stop(self, grace: float | None = None) -> None:
        """Ask it to end; after so many seconds, or the usual grace period, it is killed."""
        self.status = "stopped"
        if not self._alive:
            self._abandon()
            return
        self.signal_group(signal.SIGTERM)
        grace = self._table.limits.stop_grace if grace is None else grace
        self._after(_KILL, grace, self._kill_group)

    def _kill_group(self) -> None:
        self.signal_group(signal.SIGKILL)

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
