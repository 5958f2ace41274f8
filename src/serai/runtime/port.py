"""The port every sandbox runtime implements."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec


class SandboxPlan(msgspec.Struct, frozen=True, kw_only=True):
    """All a runtime needs to know to start one sandbox.

    Attributes:
        id: unique and stable across restarts, ``[a-z0-9]{12}``; names its directories.
        hostname: what ``hostname`` prints inside.
        image: image reference, for example ``blaxel/base-image:latest``.
        memory_mb: memory limit in MiB; CPU cores are ``memory_mb / 2048``.
        environment: variables of every process inside, unmasked.
    """

    id: str
    hostname: str
    image: str
    memory_mb: int
    environment: Mapping[str, str]


class SandboxHandle(msgspec.Struct, frozen=True, kw_only=True):
    """A running sandbox, as the store keeps it: enough to find it again after a crash.

    Attributes:
        id: the plan's id.
        api_socket: Unix socket where the sandbox API answers HTTP/1.1.
        port_socket: Unix socket that reaches TCP ports inside: the client sends
            ``<port>\\n`` and reads one line, ``ok\\n`` or ``error <reason>\\n``; after ``ok``
            the connection is the raw TCP stream of that port.
        state: driver-private, opaque to everyone else.
    """

    id: str
    api_socket: str
    port_socket: str
    state: str


class ImageInfo(msgspec.Struct, frozen=True, kw_only=True):
    """An image that sandboxes can name.

    Attributes:
        reference: in full.
        state: ``built`` (or pulled, or imported), ``building``, ``host`` (made of this machine's
            own files) or ``available`` (made on first use).
        digest: ``sha256:…``; empty when nothing is here yet.
        size: bytes of its files, those that it shares with others too.
        source: where it came from, for people.
        made_at: RFC 3339.
        progress: what is being done for it right now, for people.
    """

    reference: str
    state: str
    digest: str = ""
    size: int = 0
    source: str = ""
    made_at: str = ""
    progress: str = ""


class RuntimeProblem(Exception):
    """A runtime could not do what was asked; the message names cause and fix."""


class UnknownImage(RuntimeProblem):
    """No image of that name can be provided here; ``known`` are references that would work."""

    def __init__(self, message: str, known: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.known = list(known)


class ImageNotReady(RuntimeProblem):
    """The image is being built or pulled; asking again later works.

    Attributes:
        progress: what is going on now, for people.
    """

    def __init__(self, reference: str, progress: str) -> None:
        super().__init__(f"image {reference} is being made ready: {progress}")
        self.progress = progress


class Runtime(Protocol):
    """Starts, finds and removes sandboxes. All operations may be repeated safely."""

    name: str
    isolation: str
    """One line for people: what separates a sandbox from the host here."""

    async def start(self) -> None:
        """Make ready (launcher process, directories). Fails with RuntimeProblem if it cannot."""

    async def close(self) -> None:
        """Release the launcher; sandboxes keep running."""

    def images(self) -> list[str]:
        """The image references this runtime can provide, some after building them first."""

    def image_infos(self) -> list[ImageInfo]:
        """The same images, with what is known about each."""

    async def ready(self, image: str, seconds: float) -> None:
        """Return when sandboxes of an image can start; build or pull it first if need be.

        Raises:
            UnknownImage: it cannot be had here.
            ImageNotReady: it takes longer than so many seconds; that goes on.
            RuntimeProblem: it failed, with the cause.
        """

    async def create(self, plan: SandboxPlan) -> SandboxHandle:
        """Start the sandbox; answers when its API socket accepts connections.

        Files of an earlier run of the same id are kept and seen again.
        """

    async def alive(self, handle: SandboxHandle) -> bool:
        """Whether the sandbox of this handle still runs (also after our own restart)."""

    async def stop(self, handle: SandboxHandle) -> None:
        """End every process of the sandbox; its files stay."""

    async def destroy(self, sandbox_id: str, handle: SandboxHandle | None) -> None:
        """End it and remove its files, mounts, namespaces and cgroups."""

    async def leftovers(self) -> list[str]:
        """Ids that still have files or processes here, for the reconciler to compare."""
