"""What one version of this API hands over to the next, which replaces it in the same process.

Descriptors keep their numbers across ``execve``; all else is one message in a sealed piece of
memory. Every field has a default or was there from the first version on: a successor reads what
its predecessor knew to say.
"""

import fcntl
import os

import msgspec

from serai.wire.sandbox_api import UpgradeStatus

FORMAT = 1
"""Raised when a successor could not understand its predecessor any more."""
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


class Part(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A part of the message."""


class LogState(Part):
    """What is kept of a process's output: pieces as stream, order and content."""

    chunks: list[tuple[int, int, bytes]] = []
    lost: tuple[int, int] = (-1, -1)
    next: int = 0


class ProcessState(Part):
    """One named command.

    Attributes:
        group: pid of its newest run, and its process group.
        pipes: our ends of its output and its errors; -1 where closed.
        inlet: our end of its input, -1 without one.
        expires_in, killed_in, restarts_in: seconds until a timer; None for none.
    """

    command: str
    name: str
    pid: str
    group: int
    cwd: str
    env: dict[str, str] = {}
    working_dir: str = ""
    restart_on_failure: bool = False
    max_restarts: int = 0
    restart_count: int = 0
    keep_alive: bool = False
    status: str = "running"
    exit_code: int = 0
    started_at: float = 0.0
    completed_at: float | None = None
    ports: list[int] = []
    wants_input: bool = False
    alive: bool = False
    ended: bool = False
    pipes: tuple[int, int] = (-1, -1)
    inlet: int = -1
    log: LogState = msgspec.field(default_factory=LogState)
    expires_in: float | None = None
    killed_in: float | None = None
    restarts_in: float | None = None


class TerminalState(Part):
    """One terminal; ``idle`` is how long nobody has used it, in seconds."""

    session: str
    child: int
    master: int
    tail: bytes = b""
    end: int = 0
    idle: float = 0.0
    pending: bytes = b""


class MonitorState(Part):
    """Whom to tell about new ports of a process, and which were told."""

    pid: int
    callbacks: list[str] = []
    told: list[int] = []


class PositionState(Part):
    """Where a reader of a log is."""

    order: int = 0
    offset: int = 0
    told: int = -1


class LinesGoing(Part, tag="lines"):
    """A log as prefixed lines; ``partial`` is what was read of unfinished ones."""

    process: int
    position: PositionState
    partial: tuple[bytes, bytes] = (b"", b"")


class EventsGoing(Part, tag="events"):
    """A command whose output is sent as events; ``partial`` are unfinished characters."""

    process: int
    position: PositionState
    partial: tuple[bytes, bytes] = (b"", b"")
    ports: list[int] = []
    before: list[str] = []
    waits: bool = False


class StartGoing(Part, tag="start"):
    """A call that started a command and waits for its ports or its end; None waits for ever."""

    process: int
    ports: list[int] = []
    before: list[str] = []
    for_end: bool = False
    timeout: int | None = None
    left: float | None = None


class EndGoing(Part, tag="end"):
    """A call that waits for the end of a process."""

    process: int
    left: float = 0.0


class StandbyGoing(Part, tag="standby"):
    """The platform waits until no process forbids suspension."""


class ChangesGoing(Part, tag="changes"):
    """A watched directory: the kernel's watches by number, and events not sent yet."""

    fd: int
    root: str
    recursive: bool = False
    ignored: list[str] = []
    paths: dict[int, str] = {}
    drafts: dict[int, str] = {}
    queue: list[tuple[str, str, str, str | None]] = []


Going = LinesGoing | EventsGoing | StartGoing | EndGoing | StandbyGoing | ChangesGoing


class RequestState(Part):
    """A request that is being answered, and how to go on; ``begun`` says its head was sent."""

    method: str
    target: str
    headers: dict[str, str] = {}
    keep_alive: bool = True
    knows_chunks: bool = True
    begun: bool = False
    going: Going | None = None


class ConnectionState(Part, tag="connection"):
    """An HTTP connection, with the request that it is busy with."""

    fd: int
    request: RequestState | None = None


class ViewerState(Part, tag="viewer"):
    """A WebSocket to a terminal. ``decoder`` is the state of an unfinished character."""

    fd: int
    query: dict[str, str] = {}
    session: str = ""
    position: int = 0
    decoder: tuple[bytes, int] = (b"", 0)
    buffer: bytes = b""
    parts: bytes = b""
    opcode: int = 0


class RelayState(Part, tag="relay"):
    """A connection to a port inside: both sockets, and which of them has ended its half."""

    client: int
    server: int
    client_ended: bool = False
    server_ended: bool = False


Open = ConnectionState | ViewerState | RelayState


class SystemState(Part):
    """What ``/health`` tells; ``started`` is of the monotonic clock of this machine."""

    started: float = 0.0
    started_at: str = ""
    upgrades: int = 0
    upgrade: UpgradeStatus = msgspec.field(default_factory=UpgradeStatus)


class SurroundingsState(Part):
    """Variables as given at the start, and those put over them later."""

    given: dict[str, str] = {}
    extra: dict[str, str] = {}
    home: str = "/root"
    workdir: str = "/"


class Handover(Part):
    """All of it.

    Attributes:
        version: of the one that hands over.
        api, port, proc, kept: descriptors, see :func:`serai.sandboxd.main.serve`.
        successors: where later versions are found.
        stopped: processes that shall stay stopped while all others go on; None where none is to.
    """

    format: int = FORMAT
    version: str = ""
    api: int = -1
    port: int = -1
    proc: int | None = None
    successors: str = ""
    kept: list[int] = []
    limits: dict[str, int | float] = {}
    surroundings: SurroundingsState = msgspec.field(default_factory=SurroundingsState)
    uploads: str = "/tmp/.serai-uploads"  # noqa: S108
    service_ports: list[int] = []
    system: SystemState = msgspec.field(default_factory=SystemState)
    processes: list[ProcessState] = []
    terminals: list[TerminalState] = []
    monitors: list[MonitorState] = []
    open: list[Open] = []
    stopped: list[int] | None = None


def seal(state: Handover) -> int:
    """A descriptor of memory that holds the state, and that nobody can change any more."""
    file = os.memfd_create("handover", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    data = memoryview(msgspec.msgpack.encode(state))
    while data:
        data = data[os.write(file, data) :]
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)
    return file


def unseal(file: int) -> Handover:
    """What a predecessor left.

    Raises:
        ValueError: it is not sealed, or of a format that this version does not know.
    """
    if fcntl.fcntl(file, fcntl.F_GET_SEALS) & _SEALS != _SEALS:
        raise ValueError("what was handed over is not sealed")
    data = os.pread(file, os.fstat(file).st_size, 0)
    try:
        state = msgspec.msgpack.decode(data, type=Handover)
    except msgspec.DecodeError as error:
        raise ValueError(f"what was handed over cannot be read: {error}") from error
    if state.format != FORMAT:
        raise ValueError(f"format {state.format} of what was handed over is not {FORMAT}")
    return state


def descriptors(state: Handover) -> list[int]:
    """All descriptors that the state names."""
    found = [state.api, state.port, *state.kept]
    found += [state.proc] if state.proc is not None else []
    for process in state.processes:
        found += (*process.pipes, process.inlet)
    found += [terminal.master for terminal in state.terminals]
    for each in state.open:
        if isinstance(each, RelayState):
            found += (each.client, each.server)
            continue
        found.append(each.fd)
        request = each.request if isinstance(each, ConnectionState) else None
        if request is not None and isinstance(request.going, ChangesGoing):
            found.append(request.going.fd)
    return [fd for fd in found if fd >= 0]
