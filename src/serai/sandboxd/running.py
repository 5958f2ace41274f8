"""Programs the API runs for itself, which no process list shows."""

import asyncio
import contextlib
import os
import signal

import msgspec

from serai.sandboxd.spawning import Inlet, Pipe, Reaper, Surroundings, spawn

OUTPUT_LIMIT = 4 * 1024 * 1024
SECONDS = 30.0


class Done(msgspec.Struct, frozen=True):
    """How a program ended; ``code`` is negative when a signal ended it."""

    code: int
    out: bytes
    err: bytes

    def problem(self) -> str:
        """One line about what went wrong."""
        lines = self.err.decode("utf-8", "replace").strip().splitlines()
        return lines[0][:200] if lines else f"exit status {self.code}"


class Ending:
    """The exit code of a program, when it has one."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._code = 0

    def set(self, code: int) -> None:
        """It has ended."""
        self._code = code
        self._event.set()

    async def wait(self) -> int:
        """Its exit code."""
        await self._event.wait()
        return self._code


class Runner:
    """Runs programs with bounds on their time and output."""

    def __init__(self, surroundings: Surroundings, reaper: Reaper) -> None:
        self._surroundings = surroundings
        self._reaper = reaper

    async def run(self, command: str, cwd: str, *, feed: bytes = b"") -> Done:
        """Run a shell command to its end; over the bounds its whole group is killed."""
        ended = Ending()
        env = self._surroundings.variables({"LC_ALL": "C.UTF-8"})
        expend = self._surroundings.expend
        child = spawn(command, cwd, env, ["/bin/sh", "-c"], expend, stdin=True)
        self._reaper.watch(child.pid, ended.set)
        out, err = bytearray(), bytearray()

        def keep(data: bytes) -> None:
            out.extend(data)
            if len(out) > OUTPUT_LIMIT:
                _kill(child.pid)

        pipes = (Pipe(child.stdout, keep), Pipe(child.stderr, lambda data: _keep(err, data)))
        inlet = Inlet(child.stdin)
        try:
            await inlet.write(feed, SECONDS)
            inlet.close()
            code = await asyncio.wait_for(ended.wait(), SECONDS)
        except TimeoutError:
            code = -signal.SIGKILL
            err[:] = f"it took longer than {SECONDS:.0f} seconds".encode()
        finally:
            inlet.close()
            for pipe in pipes:
                pipe.drain()
                pipe.close()
            _kill(child.pid)
        return Done(code, bytes(out), bytes(err))


def _keep(buffer: bytearray, data: bytes) -> None:
    if len(buffer) < OUTPUT_LIMIT:
        buffer += data


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
