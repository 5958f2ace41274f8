"""The runtime's end of its launcher: starts it, asks it, notices its death."""

import asyncio
import contextlib
import itertools
import socket
import subprocess
from pathlib import Path

import msgspec

from serai.runtime import processes
from serai.runtime.messages import Answer, Birth, Errand, Setup, Trace, Unframer, Wish, frame
from serai.runtime.port import RuntimeProblem

_GREETING_SECONDS = 30
_LOG_BYTES = 1 << 20


class LauncherGone(RuntimeProblem):
    """The launcher process ended before it answered."""


class Channel:
    """One running launcher."""

    def __init__(self, process: "subprocess.Popen[bytes]", connection: socket.socket) -> None:
        self._process = process
        self._connection = connection
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._requests = itertools.count(1)
        self._reader: asyncio.Task[None] | None = None
        self._sending = asyncio.Lock()
        self._broken = False
        self.facts: tuple[str, ...] = ()

    @classmethod
    async def open(cls, setup: Setup, log: Path) -> "Channel":
        """Start a launcher and wait until it can fork.

        Raises:
            RuntimeProblem: it could not start; the message says why and where its log is.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.to_thread(_spawn, theirs.fileno(), log)
        ours.setblocking(False)
        channel = cls(process, ours)
        greeting = channel._expect(0)
        channel._reader = asyncio.create_task(channel._read())
        try:
            await channel._send(frame(setup))
            answer = await asyncio.wait_for(greeting, _GREETING_SECONDS)
        except (RuntimeProblem, OSError, TimeoutError) as error:
            await channel.close()
            raise RuntimeProblem(f"the sandbox launcher did not start; see {log}") from error
        if answer.problem:
            await channel.close()
            raise RuntimeProblem(f"the sandbox launcher did not start: {answer.problem}")
        channel.facts = answer.facts
        return channel

    @property
    def pid(self) -> int:
        """The launcher's process id."""
        return self._process.pid

    @property
    def is_open(self) -> bool:
        """Whether the launcher still listens."""
        return not self._broken and self._reader is not None and not self._reader.done()

    async def bear(self, birth: Birth) -> Trace:
        """Have a sandbox started; ``birth.request`` is chosen here.

        Raises:
            LauncherGone: the launcher died meanwhile.
            RuntimeProblem: the sandbox could not be started.
        """
        trace = (await self._ask(birth)).trace
        if trace is None:
            raise RuntimeProblem("the sandbox launcher gave an answer without a sandbox")
        return trace

    async def send(self, errand: Errand) -> str:
        """Have an errand run; answers what it found. ``errand.request`` is chosen here.

        Raises:
            LauncherGone: the launcher died meanwhile.
            RuntimeProblem: the errand failed.
        """
        return (await self._ask(errand)).found

    async def _ask(self, wish: Wish) -> Answer:
        number = next(self._requests)
        future = self._expect(number)
        try:
            await self._send(frame(msgspec.structs.replace(wish, request=number)))
            answer = await future
        except OSError as error:
            self._broken = True
            raise LauncherGone("the sandbox launcher ended") from error
        finally:
            self._waiting.pop(number, None)
        if answer.problem:
            raise RuntimeProblem(answer.problem)
        return answer

    async def close(self) -> None:
        """End the launcher; sandboxes stay."""
        self._connection.close() if self._reader is None else self._reader.cancel()
        if self._reader is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._reader
        await asyncio.to_thread(_end, self._process)

    def _expect(self, number: int) -> "asyncio.Future[Answer]":
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        if self._reader is not None and self._reader.done():
            future.set_exception(LauncherGone("the sandbox launcher ended"))
        return future

    async def _send(self, data: bytes) -> None:
        async with self._sending:
            await asyncio.get_running_loop().sock_sendall(self._connection, data)

    async def _read(self) -> None:
        incoming = Unframer()
        loop = asyncio.get_running_loop()
        try:
            while data := await loop.sock_recv(self._connection, 65536):
                for body in incoming.feed(data):
                    self._deliver(msgspec.json.decode(body, type=Answer))
        except OSError:
            pass
        finally:
            self._connection.close()
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(LauncherGone("the sandbox launcher ended"))

    def _deliver(self, answer: Answer) -> None:
        future = self._waiting.get(answer.request)
        if future is not None and not future.done():
            future.set_result(answer)


def _spawn(descriptor: int, log: Path) -> "subprocess.Popen[bytes]":
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > _LOG_BYTES:
            log.unlink()
    with log.open("ab") as output:
        return subprocess.Popen(
            processes.python_command(f"from serai.runtime.launcher import main;main({descriptor})"),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=processes.PLAIN_ENVIRONMENT,
            cwd="/",
            pass_fds=(descriptor,),
            start_new_session=True,
        )


def _end(process: "subprocess.Popen[bytes]") -> None:
    try:
        process.wait(2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
