"""The port every sandbox runtime implements."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

from serai.runtime.links import Links

if TYPE_CHECKING:
    from serai.runtime.making import Making

LEVELS = ("none", "container", "namespaces-rootless", "namespaces", "gvisor")
"""What separates a sandbox from the host, weakest first: nothing; a container engine's defaults,
hardened; namespaces of an unprivileged user; namespaces with users of their own and control
groups; a kernel of its own (gVisor) within such namespaces."""

DISK_MB_DEFAULT = 10 * 1024

Contents = Literal["files", "memory"]
"""What is kept of a sandbox: its files, or also its processes with their memory."""


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """A volume or a drive in a sandbox.

    Attributes:
        id: of the volume or drive, ``[a-z0-9]``; of a volume that ends with its sandbox, the
            sandbox's id, a dot and a number.
        kind: a volume is in one sandbox at a time and has a size, a drive is shared.
        path: where in the sandbox, absolute.
        read_only: whether the sandbox may not change it.
        size_mb: of a volume, in MiB.
        content: tar archive on the host with what a new volume starts with; empty for none.
        folder: of a drive, the folder below it that is shown; empty for all.
    """

    id: str
    kind: Literal["volume", "drive"]
    path: str
    read_only: bool = False
    size_mb: int = 0
    content: str = ""
    folder: str = ""


class NetworkPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How programs in a sandbox find their way out.

    Attributes:
        environment: variables that tell them of a proxy and of certificates to trust.
        authority: certificates (PEM) to add to those that the image trusts.
    """

    environment: Mapping[str, str]
    authority: str


class SandboxPlan(msgspec.Struct, frozen=True, kw_only=True):
    """All a runtime needs to know to start one sandbox.

    Attributes:
        id: unique and stable across restarts, ``[a-z0-9]{12}``; names its directories.
        hostname: what ``hostname`` prints inside.
        image: image reference, for example ``blaxel/base-image:latest``.
        memory_mb: memory limit in MiB; CPU cores are ``memory_mb / 2048``.
        environment: variables of every process inside, unmasked.
        disk_mb: what its files may take, in MiB.
        mounts: volumes and drives it starts with.
        network: ``None`` leaves it with loopback only.
        files_from: ids of saved sets of files (see Files) that lie below the sandbox's own
            changes, the topmost first; they must stay as long as the sandbox is there.
        memory_from: id of the saved set whose processes go on, instead of a start from the
            beginning; of the sandbox itself when ``Files.copy`` gave it some. Empty for none.
        services: start what the image starts by itself: its services, or its entry point.
    """

    id: str
    hostname: str
    image: str
    memory_mb: int
    environment: Mapping[str, str]
    disk_mb: int = DISK_MB_DEFAULT
    mounts: tuple[Mount, ...] = ()
    network: NetworkPlan | None = None
    files_from: tuple[str, ...] = ()
    memory_from: str = ""
    services: bool = True


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """What was kept of a sandbox.

    Attributes:
        size: bytes.
        contents: whether processes and memory are in it.
        why: if not, and they could have been asked for, why not, for people.
    """

    size: int
    contents: Contents = "files"
    why: str = ""


class SandboxHandle(msgspec.Struct, frozen=True, kw_only=True):
    """A running sandbox, as the store keeps it: enough to find it again after a crash.

    Attributes:
        id: the plan's id.
        api_socket: Unix socket where the sandbox API answers HTTP/1.1.
        port_socket: Unix socket that reaches TCP ports inside: the client sends
            ``<port>\\n`` and reads one line, ``ok\\n`` or ``error <reason>\\n``; after ``ok``
            the connection is the raw TCP stream of that port.
        state: driver-private, opaque to everyone else.
        driver: the driver that made it, by name; only that one can find it again.
        level: what separates it from the host, one of LEVELS.
    """

    id: str
    api_socket: str
    port_socket: str
    state: str
    driver: str = "embedded"
    level: str = ""


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


class ImageConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What an image says of how its program starts; the OCI image configuration's fields.

    Attributes:
        entrypoint, cmd: what it would run as a container; both empty where it says nothing.
        env: variables below everybody else's.
        workdir: where processes start, absolute.
        user: ``name``, ``uid``, ``name:group`` or ``uid:gid``; empty for root.
        ports: TCP ports it says it listens on.
    """

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: Mapping[str, str] = {}
    workdir: str = "/"
    user: str = ""
    ports: tuple[int, ...] = ()


class RuntimeProblem(Exception):
    """A runtime could not do what was asked; the message names cause and fix."""


class NotInstalled(RuntimeProblem):
    """What a driver needs is not here; ``fix`` is the command or setting that helps."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(f"{message}: {fix}")
        self.message = message
        self.fix = fix


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


class Incapable(RuntimeProblem):
    """Processes and memory cannot be kept, or brought back, here or of this sandbox."""


class NoSpace(RuntimeProblem):
    """The disk is full."""


class Library(Protocol):
    """The images that sandboxes can be made of."""

    @property
    def making(self) -> "Making | None":
        """Makes images of what was built; None where only the engine can."""

    def infos(self) -> list[ImageInfo]:
        """All there are, and those that are made on first use."""

    async def ready(self, image: str, seconds: float) -> None:
        """Return when sandboxes of an image can start; build or pull it first if need be.

        Raises:
            UnknownImage: it cannot be had here.
            ImageNotReady: it takes longer than so many seconds; that goes on.
            RuntimeProblem: it failed, with the cause.
        """

    async def config(self, image: str) -> ImageConfig:
        """How the program of an image that is ready starts.

        Raises:
            UnknownImage, ImageNotReady: see ``ready``.
            RuntimeProblem: it cannot be told, with the cause.
        """


class Files(Protocol):
    """Keeps the changes that sandboxes made to their images. All may be repeated safely.

    A saved set of files holds the changes of one sandbox at one moment; what that sandbox was
    itself started from is not in it and must be named again. Volumes and drives are left out.
    """

    @property
    def level(self) -> Contents:
        """The most that a saved set holds, and that a new sandbox can begin with, here."""

    async def save(self, sandbox_id: str, saved_id: str, contents: Contents | None = None) -> Saved:
        """Save a sandbox, running or not, as of one moment.

        Where its processes are kept, its open connections end; new ones wait.

        Args:
            contents: what to keep; None for as much as is possible.

        Raises:
            Incapable: processes and memory were asked for; nothing is left.
            NoSpace: the disk is full; nothing is left.
            RuntimeProblem: anything else.
        """

    async def copy(
        self, sandbox_id: str, target_id: str, contents: Contents | None = None
    ) -> Saved:
        """Give a sandbox that was never started what another has; see ``save``."""

    async def check_memory(self, saved_id: str) -> None:
        """Return when a sandbox can begin with the processes of a saved set, here and now.

        Raises:
            Incapable: it cannot, and why.
        """

    async def discard(self, sandbox_id: str) -> None:
        """End a sandbox and forget its files; they are gone at once, their space by and by."""

    async def pack(self, sandbox_id: str) -> int:
        """Keep the files of a sandbox that does not run as one archive; answers its bytes.

        The files themselves stay.

        Raises:
            NoSpace: the disk is full; nothing is left.
            RuntimeProblem: anything else.
        """

    async def unpack(self, sandbox_id: str) -> None:
        """Give a sandbox the files of its archive, in place of any others; the archive stays."""

    async def check_changes(self, sandbox_id: str) -> None:
        """Return when ``changes`` of this sandbox can be told here.

        Raises:
            RuntimeProblem: they cannot, and why.
        """

    async def changes(self, plan: SandboxPlan) -> bytes:
        """The paths a sandbox may have changed on top of its image; see ``runtime.changes``.

        A sandbox that runs stands still meanwhile.

        Raises:
            RuntimeProblem: they cannot be told here.
        """

    async def packed(self) -> list[str]:
        """Ids of sandboxes that have an archive, whole or not."""

    async def drop_packed(self, sandbox_id: str) -> None:
        """Remove a sandbox's archive; nothing happens when there is none."""

    async def close(self) -> None:
        """Come to an end with what goes on in the background."""

    async def saved(self) -> dict[str, bool]:
        """Ids of all saved sets, and whether each is whole: not after a crash, or without power."""

    async def settle(self, saved_id: str) -> None:
        """Wait until a saved set is on disk for good: what ``save`` does not wait for."""

    async def drop_memory(self, saved_id: str) -> None:
        """Keep no more than the files of a saved set; nothing happens when it has no more."""

    async def drop(self, saved_id: str) -> None:
        """Remove a saved set; nothing happens when there is none."""


class Runtime(Links, Protocol):
    """Starts, finds and removes sandboxes. All operations may be repeated safely."""

    files: Files
    """Saving and copying files."""

    @property
    def name(self) -> str:
        """The driver's name, as the setting ``runtime`` has it."""

    @property
    def isolation(self) -> str:
        """One line for people: what separates a sandbox from the host here."""

    @property
    def level(self) -> str:
        """The same as one of LEVELS; ``none`` until started."""

    @property
    def library(self) -> Library:
        """The images that sandboxes can be made of."""

    async def start(self) -> None:
        """Make ready (launcher process, directories). Fails with RuntimeProblem if it cannot."""

    async def close(self) -> None:
        """Release the launcher; sandboxes keep running."""

    def images(self) -> list[str]:
        """The image references this runtime can provide, some after building them first."""

    async def create(self, plan: SandboxPlan) -> SandboxHandle:
        """Start the sandbox; answers when its API socket accepts connections.

        Files of an earlier run of the same id are kept and seen again.
        """

    async def alive(self, handle: SandboxHandle) -> bool:
        """Whether the sandbox of this handle still runs (also after our own restart)."""

    async def suspend(self, handle: SandboxHandle) -> None:
        """Stop every process where it stands; its memory stays, its sockets take connections.

        Fails with RuntimeProblem, and changes nothing, when it has ended or cannot be stopped.
        """

    async def resume(self, handle: SandboxHandle) -> None:
        """Let a suspended sandbox go on; nothing happens to one that runs."""

    async def suspended(self, handle: SandboxHandle) -> bool:
        """Whether it is suspended, found by looking: also after our own restart."""

    async def attach(self, handle: SandboxHandle) -> None:
        """Connect the network of a running sandbox with a new egress process."""

    async def stop(self, handle: SandboxHandle) -> None:
        """End every process of the sandbox; its files stay."""

    async def destroy(self, sandbox_id: str, handle: SandboxHandle | None) -> None:
        """End it and remove its files, mounts, namespaces and cgroups."""

    async def mount(self, handle: SandboxHandle, mount: Mount) -> None:
        """Mount a drive in a running sandbox; one that is mounted there already is fine."""

    async def unmount(self, handle: SandboxHandle, path: str) -> None:
        """Unmount a drive; refused while something inside uses it, fine if nothing is there."""

    async def successor(self, handle: SandboxHandle) -> str:
        """Make our API ready to replace a sandbox's; its name inside. Fails with RuntimeProblem."""

    async def leftovers(self) -> list[str]:
        """Ids that still have files or processes here, for the reconciler to compare."""
