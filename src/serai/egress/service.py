"""The server's side of the egress process: starts it, tells it the rules, replaces it."""

import asyncio
import contextlib
import hashlib
import itertools
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import structlog

from serai.egress.policy import Policy
from serai.egress.setup import (
    Ask,
    Drop,
    EgressProblem,
    Open,
    Put,
    Report,
    Setup,
    Told,
    TunnelPlan,
    TunnelRefused,
    line,
)

_LONGEST_PATH = 100
_MAX_LINE = 64 << 20
_READY_SECONDS = 30.0
_ASK_SECONDS = 10.0
_PAUSES = (0.05, 0.5, 2.0, 5.0)
"""Seconds before the next start, the longer the more often it ended."""
_LOG_BYTES = 1 << 20

log = structlog.get_logger(__name__)


class EgressService:
    """Keeps one egress process running.

    Args:
        data_dir: for its socket and its log.
        setup: made anew for every start, so that it may read files that changed.
    """

    def __init__(self, data_dir: Path, setup: Callable[[], Setup]) -> None:
        self._directory = data_dir
        self._make_setup = setup
        self._authority = ""
        self._policies: dict[str, Policy] = {}
        self._waiting: dict[int, asyncio.Future[Told]] = {}
        self._requests = itertools.count(1)
        self._tell: asyncio.StreamWriter | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._listener: socket.socket | None = None
        self._keeper: asyncio.Task[None] | None = None
        self.socket = _socket_path(data_dir.absolute())
        self._restarted = asyncio.Event()

    @property
    def authority(self) -> str:
        """The certificates (PEM) that programs in sandboxes must trust."""
        return self._authority

    @property
    def pid(self) -> int | None:
        """Process id of the egress process, while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    async def start(self) -> None:
        """Start the process and keep it running.

        Raises:
            EgressProblem: it cannot be started at all.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_private(self.socket.parent)
        self.socket.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self.socket))
        self.socket.chmod(0o600)
        self._listener.listen(1024)
        orders = await self._spawn()
        self._keeper = asyncio.create_task(self._keep(orders))

    async def close(self) -> None:
        """End the process and every connection of sandboxes to the outside."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        await self._end()
        if self._listener is not None:
            self._listener.close()
            self.socket.unlink(missing_ok=True)
            if self.socket.parent != self._directory.absolute():
                self.socket.parent.rmdir()

    async def wait_for_restart(self, seconds: float) -> None:
        """Until a new process has begun, which knows no sandbox's network yet; not for ever."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._restarted.wait()
        self._restarted.clear()

    def put(self, sandbox_id: str, policy: Policy) -> None:
        """From now on these are the rules of a sandbox; connections under others end."""
        self._policies[sandbox_id] = policy
        self._say(Put(id=sandbox_id, policy=policy))

    def drop(self, sandbox_id: str) -> None:
        """Forget a sandbox."""
        if self._policies.pop(sandbox_id, None) is not None:
            self._say(Drop(id=sandbox_id))

    async def report(self, sandbox_id: str) -> Report:
        """What happened in a sandbox since the egress process knows it.

        Raises:
            EgressProblem: it does not answer.
        """
        return (await self._ask(sandbox_id)).report or Report()

    async def attached(self) -> frozenset[str]:
        """The sandboxes whose network leads to the process that runs now.

        Raises:
            EgressProblem: it does not answer.
        """
        return frozenset((await self._ask("")).attached)

    async def tunnel(
        self, sandbox_id: str, plan: TunnelPlan | None, *, judged: bool = True
    ) -> None:
        """Prepare a tunnel for the device that the runtime brings; ``None`` ends the one there is.

        Args:
            judged: fail if the peer cannot be reached by the sandbox's rules as they are now.
                They count for every packet all the same.

        Raises:
            TunnelRefused: it cannot, and why; the tunnel there is goes on.
            EgressProblem: the egress process does not answer.
        """
        told = await self._request(
            lambda number: Open(request=number, id=sandbox_id, plan=plan, judged=judged)
        )
        if told.problem:
            raise TunnelRefused(told.problem)

    def _say(self, message: Put | Drop) -> None:
        if self._tell is not None:
            self._tell.write(line(message))

    async def _ask(self, sandbox_id: str) -> Told:
        return await self._request(lambda number: Ask(request=number, id=sandbox_id))

    async def _request(self, make: Callable[[int], Ask | Open]) -> Told:
        if self._tell is None:
            raise EgressProblem("the egress process is starting")
        number = next(self._requests)
        future: asyncio.Future[Told] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            self._tell.write(line(make(number)))
            async with asyncio.timeout(_ASK_SECONDS):
                return await future
        except (OSError, TimeoutError) as error:
            raise EgressProblem("the egress process does not answer") from error
        finally:
            self._waiting.pop(number, None)

    async def _spawn(self) -> asyncio.StreamReader:
        """Start a process that is ready and knows all rules."""
        assert self._listener is not None
        ours, theirs = socket.socketpair()
        with theirs:
            descriptors = (theirs.fileno(), self._listener.fileno())
            log_file = self._directory / "egress.log"
            self._process = await asyncio.to_thread(_spawn, descriptors, log_file)
        ours.setblocking(False)
        orders, tell = await asyncio.open_connection(sock=ours, limit=_MAX_LINE)
        setup = self._make_setup()
        self._authority = "\n".join(filter(None, (setup.certificate, setup.roots)))
        tell.write(line(setup))
        try:
            async with asyncio.timeout(_READY_SECONDS):
                greeting = await orders.readline()
        except (OSError, TimeoutError):
            greeting = b""
        if not greeting:
            tell.close()
            await self._end()
            raise EgressProblem(f"the egress process did not start; see {log_file}")
        for sandbox_id, policy in self._policies.items():
            tell.write(line(Put(id=sandbox_id, policy=policy)))
        self._tell = tell
        return orders

    async def _keep(self, orders: asyncio.StreamReader | None) -> None:
        failures = 0
        while True:
            if orders is not None:
                failures = 0 if await self._hear(orders) else failures
                log.warning("egress_process_ended")
            await self._end()
            await asyncio.sleep(_PAUSES[min(failures, len(_PAUSES) - 1)])
            failures += 1
            try:
                orders = await self._spawn()
                self._restarted.set()
            except (EgressProblem, OSError) as error:
                orders = None
                log.error("egress_process_does_not_start", reason=str(error))

    async def _hear(self, orders: asyncio.StreamReader) -> bool:
        """Read answers until the process ends; whether there was any."""
        heard = False
        with contextlib.suppress(OSError, ValueError):
            while answer := await orders.readline():
                heard = True
                told = msgspec.json.decode(answer, type=Told)
                future = self._waiting.get(told.request)
                if future is not None and not future.done():
                    future.set_result(told)
        return heard

    async def _end(self) -> None:
        if self._tell is not None:
            self._tell.close()
            self._tell = None
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(OSError("the egress process ended"))
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            await asyncio.to_thread(process.wait)


def _socket_path(data_dir: Path) -> Path:
    """In the data directory, or elsewhere if its path is too long for a socket's."""
    path = data_dir / "egress.sock"
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        return path
    key = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:10]
    base = Path("/run") if os.access("/run", os.W_OK) else Path("/tmp")  # noqa: S108
    return base / f"serai-egress-{os.geteuid()}-{key}" / "egress.sock"


def _make_private(folder: Path) -> None:
    """Make the directory, or refuse one that others made or may enter.

    Raises:
        EgressProblem: it is not ours alone.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise EgressProblem(f"{folder} must be a directory of ours that nobody else may change")


def _spawn(descriptors: tuple[int, int], log_file: Path) -> "subprocess.Popen[bytes]":
    with contextlib.suppress(FileNotFoundError):
        if log_file.stat().st_size > _LOG_BYTES:
            log_file.unlink()
    path = [entry for entry in sys.path if os.path.isabs(entry)]
    arguments = ", ".join(str(each) for each in descriptors)
    run = f"from serai.egress.process import main;main({arguments})"
    code = f"import sys;sys.path[:]={path!r};{run}"
    with log_file.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-X", "frozen_modules=on", "-c", code],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=_environment(os.environ),
            cwd="/",
            pass_fds=descriptors,
            start_new_session=True,
        )


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Nothing of ours but what names the machine's own resolver and time zone."""
    kept = ("LANG", "LC_ALL", "TZ", "LOCALDOMAIN", "RES_OPTIONS", "TMPDIR")
    return {name: environ[name] for name in kept if name in environ} | {"PATH": os.defpath}
