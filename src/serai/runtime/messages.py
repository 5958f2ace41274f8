"""What the runtime and its launcher say to each other, and what is kept beside a sandbox.

A message is one JSON object behind its length as four bytes, big-endian.
"""

import struct
from typing import Any

import msgspec

MAX_MESSAGE = 4 << 20
_LENGTH = struct.Struct("!I")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Ceilings of one sandbox: memory in MiB, CPU in thousandths of a core, processes."""

    memory_mb: int
    cpu_millis: int
    processes: int


class Hierarchy(msgspec.Struct, frozen=True, kw_only=True):
    """A control group hierarchy: the parent of our groups and what it can limit."""

    parent: str
    controllers: tuple[str, ...]
    unified: bool


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What is the same for every sandbox of one data directory.

    Attributes:
        entry: dotted module with ``preload()``, ``serve(api, port, config)`` and, if it likes,
            ``warm_up()``, which is called where many are forked.
        hierarchies: where the sandboxes' control groups go; empty without any.
        uid_base: first host uid of the range that stands for 0..65535 inside; None maps
            only our own uid to 0.
        skeleton: lower layer of ``/``.
        system: directories of the host shown below ``/``, such as ``usr``.
        python_prefix: host directory mounted at ``/opt/python``; empty for none.
        starter, program: module with ``start(place, birth, directory)`` and the program with
            which it starts sandboxes; empty where they are forks of the launcher.
        tree: the interpreter tree that such a program executes (``serai.runtime.guest``).
        successors: directory of all such trees, from which a running API is replaced.
    """

    entry: str
    hierarchies: tuple[Hierarchy, ...]
    uid_base: int | None
    skeleton: str
    system: tuple[str, ...]
    python_prefix: str
    starter: str = ""
    program: str = ""
    tree: str = ""
    successors: str = ""


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """A directory or a file system image of the host, and where in a sandbox it is mounted.

    ``folder`` is below a directory, followed without links.
    """

    source: str
    path: str
    folder: str = ""
    is_image: bool = False
    read_only: bool = False


class Birth(msgspec.Struct, frozen=True, kw_only=True, tag="birth"):
    """Start one sandbox in ``directory``, answering on the two sockets.

    ``digest`` stands for everything asked for, so that a repeated wish is recognised. ``masks``
    are the lower layers that hide parts of the host's directories, by the names in Setup.
    ``root`` are the lower layers of ``/``, the topmost first, of an image of its own; without any
    the sandbox is shown the host's directories. ``services`` are processes that it starts itself.
    ``saved`` are directories of saved files that the sandbox starts from, the topmost first.
    ``memory`` is the directory of a checkpoint to go on with, made with the interpreter ``tree``;
    both are empty for a start from the beginning. ``token`` is that of its line, if it has one, see
    ``serai.runtime.guest.line``. ``egress`` is the socket of the egress process, empty for no
    network; ``authority`` the certificates (PEM) that programs inside shall trust besides those of
    the image.
    """

    request: int
    digest: str
    id: str
    hostname: str
    directory: str
    api_socket: str
    port_socket: str
    limits: Limits
    environment: dict[str, str]
    home: str
    workdir: str
    masks: dict[str, str]
    root: tuple[str, ...] = ()
    services: tuple[dict[str, Any], ...] = ()
    mounts: tuple[Placed, ...] = ()
    egress: str = ""
    authority: str = ""
    saved: tuple[str, ...] = ()
    memory: str = ""
    tree: str = ""
    token: str = ""


class Errand(msgspec.Struct, frozen=True, kw_only=True, tag="errand"):
    """Do something in or for a running sandbox, in a fork of the launcher.

    Attributes:
        kind: which errand, a name in ``serai.runtime.errands``.
        pid, started: the sandbox's first process, as its Trace has it; pid 0 for none.
        details: what the errand needs, as it says itself.
    """

    request: int
    kind: str
    pid: int
    started: int
    details: dict[str, str]


Wish = Birth | Errand


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """How to find a started sandbox again; ``state.json`` and the handle's ``state``.

    Attributes:
        pid: its first process, as the host sees it.
        started: start time of that process in clock ticks since boot.
        boot: the kernel's boot id, so that a reboot ends every match.
        digest: of the plan it was started with.
        api_socket, port_socket: see Birth.
        cgroups: absolute directories.
        skeleton, masks: the lower layers it runs on, which must stay while it runs; those of
            images are kept by what the sandbox is pinned to.
        network: what of its network was connected at its birth, see ``serai.runtime.network``.
        tree: name of the interpreter tree that it runs from; empty for forks of the launcher.
        mounts: where volumes and drives were mounted at its birth.
        token: of its line, see ``serai.runtime.guest.line``.
    """

    pid: int
    started: int
    boot: str
    digest: str
    api_socket: str
    port_socket: str
    cgroups: tuple[str, ...]
    skeleton: str
    masks: tuple[str, ...]
    network: str = ""
    tree: str = ""
    mounts: tuple[str, ...] = ()
    token: str = ""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The launcher's answer: a trace, or what an errand found, or the problem as text.

    Request 0 is its greeting.
    """

    request: int
    trace: Trace | None = None
    found: str = ""
    problem: str = ""
    facts: tuple[str, ...] = ()


def frame(message: msgspec.Struct) -> bytes:
    """The message as bytes on the wire."""
    body = msgspec.json.encode(message)
    return _LENGTH.pack(len(body)) + body


class Unframer:
    """Collects bytes and gives back whole message bodies."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Add ``data``; return the bodies that are complete now.

        Raises:
            ValueError: a length above MAX_MESSAGE, which no peer of ours sends.
        """
        self._buffer += data
        bodies = []
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > MAX_MESSAGE:
                raise ValueError(f"message of {length} bytes")
            if len(self._buffer) < _LENGTH.size + length:
                break
            bodies.append(bytes(self._buffer[_LENGTH.size : _LENGTH.size + length]))
            del self._buffer[: _LENGTH.size + length]
        return bodies
