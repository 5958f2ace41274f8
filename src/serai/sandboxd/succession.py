"""Replacing this API by another version of it: in the same process, by ``execve``.

Only its first process may collect the processes of a sandbox, and only it has their pipes, so
the new version has to become that very process. It comes as a directory that the platform shows
to this process alone, and says itself how it is started. Until the kernel has taken the new
program, nothing is given up: what fails before leaves this version serving.

Nobody in the sandbox may look into the process at any moment, as ``execve`` would allow: the new
program's file cannot be read from inside, which makes the kernel keep everybody out from the
first instruction on. Where it can be read, all other processes stand still until the new version
has shut the door itself.
"""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

from serai.sandboxd.connection import Known
from serai.sandboxd.errors import reason
from serai.sandboxd.handover import ConnectionState, Handover, Open, descriptors, seal
from serai.sandboxd.nursery import Nursery
from serai.sandboxd.running import Ending
from serai.sandboxd.spawning import Pipe, Reaper

START = "successor.json"
"""In a version's directory: the words to execute it with, ``{tree}`` being the directory."""
REHEARSAL, REPLACEMENT = "rehearse", "succeed"
REHEARSAL_SECONDS = 60.0
"""How long it may take to load; a small sandbox has a small share of the CPU."""
GRACE_SECONDS = 3.0
"""How long requests may take that cannot be carried over, until they are cut."""
LOOK_SECONDS = 0.01
CUT_SECONDS = 0.05
"""For what was cut to clean up behind itself."""
MOST_WORDS = 4096
ACCEPT_TURNS = 4
"""Turns of the event loop from an accepted socket to a connection that is made, and one more."""
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


class SuccessionProblem(Exception):
    """Why this version goes on."""


class Doors(Protocol):
    """Accepts connections."""

    async def open(self) -> None:
        """Accept them again."""

    def shut(self) -> None:
        """Accept no more of them: new ones wait in the sockets' queues."""


class Succession:
    """One replacement at a time, in two steps.

    Args:
        reaper: collects what is started.
        nursery: where this version ends, so that the next may have threads as quick as this one's.
        state: all that is handed over, given the connections that are.
        known: transports of all open connections.
    """

    place = ""
    """The directory in which versions are found; empty where there are none."""

    def __init__(
        self,
        reaper: Reaper,
        nursery: Nursery,
        state: Callable[[list[Open]], Handover],
        known: Known,
    ) -> None:
        self._reaper = reaper
        self._nursery = nursery
        self._state = state
        self._known = known
        self._words: list[str] = []
        self.doors: Doors | None = None
        """Where connections come in, once they do."""

    async def prepare(self, tree: str) -> None:
        """Let the new version load, and look at what it will be handed, in a process of its own.

        Raises:
            SuccessionProblem: it cannot.
        """
        self._words = self._start_of(tree)
        state = self._state([])
        file = seal(state)
        try:
            code, said = await self._try([REHEARSAL, str(file)], [file, *state.kept])
        finally:
            os.close(file)
        if code != 0:
            lines = said.decode("utf-8", "replace").strip().splitlines() or [f"exit status {code}"]
            raise SuccessionProblem(f"the new version cannot take over: {lines[-1][:500]}")

    def _start_of(self, tree: str) -> list[str]:
        if not self.place:
            raise SuccessionProblem(
                "the API of this sandbox cannot be replaced while it runs, as it was started by an"
                " earlier version or with gVisor: start the sandbox anew"
            )
        if not _NAME.fullmatch(tree):
            raise SuccessionProblem(
                "the platform offers no version: send this to the sandbox's own address"
            )
        path = f"{self.place}/{tree}"
        try:
            with open(f"{path}/{START}", "rb") as file:
                words = msgspec.json.decode(file.read(MOST_WORDS), type=list[str])
        except (OSError, msgspec.DecodeError) as error:
            raise SuccessionProblem(f"the platform's version cannot be read: {error}") from error
        return [word.replace("{tree}", path) for word in words]

    async def _try(self, more: list[str], shared: list[int]) -> tuple[int, bytes]:
        """Run the new version; its exit code, and the last it said."""
        pid, ours = self._start([*self._words, *more], shared)
        ended, said = Ending(), bytearray()
        self._reaper.watch(pid, ended.set)
        pipe = Pipe(ours, lambda data: said.extend(data[-MOST_WORDS:]))
        try:
            code = await asyncio.wait_for(ended.wait(), REHEARSAL_SECONDS)
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise SuccessionProblem(
                f"the new version did not load in {REHEARSAL_SECONDS:.0f} seconds"
            ) from None
        finally:
            pipe.drain()
            pipe.close()
        return code, bytes(said)

    def _start(self, words: list[str], shared: list[int]) -> tuple[int, int]:
        """Start it; its pid, and our end of the pipe that it speaks into."""
        ours, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            started = subprocess.Popen(
                words,
                env={},
                stdin=subprocess.DEVNULL,
                stdout=theirs,
                stderr=theirs,
                pass_fds=shared,
            )
        except OSError as error:
            os.close(ours)
            raise SuccessionProblem(f"{words[0]}: {reason(error)}") from error
        finally:
            os.close(theirs)
        started.returncode = 0  # the reaper collects it, Popen must not
        return started.pid, ours

    async def carry_out(self) -> None:
        """Be replaced; returns only by raising.

        Raises:
            SuccessionProblem: the system refuses; everything goes on as before.
        """
        try:
            await self._quiet()
            await self._shut()
            self._replace()
        finally:
            self._known.holding = False
            if self.doors is not None:
                await self.doors.open()
            for transport in self._at_rest():
                transport.resume_reading()

    def _replace(self) -> None:
        open_ones = [each for each in self._known if not each.is_closing()]
        found = [carried(each) for each in open_ones]
        connections = [each for each in found if each is not None]
        state = self._state(connections)
        state.stopped = self._stand_still()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._become(state)
        except OSError as error:
            raise SuccessionProblem(f"{self._words[0]}: {reason(error)}") from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            let_go_on(state.stopped)

    def _become(self, state: Handover) -> None:
        file = seal(state)
        inherited = [file, *descriptors(state)]
        try:
            for descriptor in inherited:
                os.set_inheritable(descriptor, True)
            words = [*self._words, REPLACEMENT, str(file)]
            self._nursery.run(lambda: os.execve(words[0], words, {}))  # noqa: S606
        finally:
            for descriptor in inherited:
                os.set_inheritable(descriptor, False)
            os.close(file)

    async def _quiet(self) -> None:
        """Let requests end that cannot be carried over, and cut those that do not.

        Others wait where they are: in their connections, as far as those are at rest.
        """
        self._known.holding = True
        for transport in self._at_rest():
            transport.pause_reading()
        for _ in range(int(GRACE_SECONDS / LOOK_SECONDS)):
            if not self._busy():
                return
            await asyncio.sleep(LOOK_SECONDS)
        for transport in self._busy():
            transport.abort()
        await asyncio.sleep(CUT_SECONDS)

    async def _shut(self) -> None:
        """Accept nothing more, and let what was accepted become a connection that is known."""
        if self.doors is not None:
            self.doors.shut()
        for _ in range(ACCEPT_TURNS):
            await asyncio.sleep(0)

    def _busy(self) -> list[asyncio.Transport]:
        open_ones = [each for each in self._known if not each.is_closing()]
        return [each for each in open_ones if carried(each) is None]

    def _at_rest(self) -> list[asyncio.Transport]:
        """Connections that wait for a request."""
        found = []
        for transport in self._known:
            state = None if transport.is_closing() else carried(transport)
            if isinstance(state, ConnectionState) and state.request is None:
                found.append(transport)
        return found

    def _stand_still(self) -> list[int] | None:
        """Stop all other processes where the new program's file can be read inside.

        Answers those that were stopped already; None when nothing was done.
        """
        if os.getpid() != 1 or not os.access(self._words[0], os.R_OK):
            return None
        earlier = [pid for pid in _everyone() if _state_of(pid) == "T"]
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGSTOP)
        return earlier


def carried(transport: asyncio.Transport) -> Open | None:
    """A connection as a successor may take it over; None while it cannot be."""
    protocol = transport.get_protocol()
    carry: Callable[[], Open | None] | None = getattr(protocol, "carry", None)
    return carry() if carry is not None else None


def let_go_on(earlier: Iterable[int] | None) -> None:
    """Let all processes run again but those that had been stopped ``earlier``, if it says so."""
    if earlier is None:
        return
    stay = set(earlier)
    for pid in _everyone():
        if pid not in stay:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def _everyone() -> list[int]:
    own = os.getpid()
    return [int(name) for name in os.listdir("/proc") if name.isdecimal() and int(name) != own]


def _state_of(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""
