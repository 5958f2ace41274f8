"""Shapes of the HTTP API inside a sandbox: processes, ports, terminals, the sandbox itself.

Unlike the management API, answers here always carry every key (clients require them), so
answer Structs do not omit defaults. Moments of processes are text such as
``Mon, 23 Nov 2026 07:00:00 GMT``; moments of files are RFC 3339.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, UnsetType

Small = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
"""A whole number that clocks and counters can take."""
ProcessStatus = Literal["running", "completed", "failed", "killed", "stopped"]


class Wire(msgspec.Struct, kw_only=True, rename="camel"):
    """Base of every shape: camelCase on the wire, unknown fields ignored."""


class ErrorAnswer(Wire):
    """The body of every error; ``code`` only where clients look for one."""

    error: str
    code: str | UnsetType = UNSET


class MessageAnswer(Wire):
    """Success without a path."""

    message: str


class PathAnswer(Wire):
    """Success of a write; ``path`` is empty where none is meant."""

    message: str
    path: str = ""


class UpgradeStatus(Wire):
    """State of the last upgrade of the sandbox API; the step ``skipped`` replaced nothing."""

    status: Literal["idle", "running", "completed", "failed"] = "idle"
    step: Literal["none", "starting", "validate", "replace", "completed", "skipped"] = "none"
    version: str = ""
    last_attempt: str | UnsetType = UNSET
    error: str | UnsetType = UNSET


class UpgradeRequest(Wire):
    """Optional body of ``POST /upgrade``; nothing is ever loaded from ``base_url``."""

    version: str | None = None
    base_url: str | None = None


class UpgradeAnswer(MessageAnswer):
    """What an upgrade was asked to become."""

    version: str
    base_url: str


class Metadata(Wire):
    """The file that ``POST /environment/reload`` reads."""

    generation: int = 0
    environment: dict[str, str] = {}


class ReloadAnswer(Wire):
    """How many variables were set and taken away."""

    generation: int
    applied: int
    removed: int


class ExportProgress(Wire):
    """How an export goes, or went.

    Attributes:
        error: why it failed; without any URL.
        size: exact bytes of the archive, once the files were looked at.
        uploaded: the storage has the archive.
    """

    state: Literal["running", "succeeded", "failed"]
    started_at: str | UnsetType = UNSET
    finished_at: str | UnsetType = UNSET
    size: int | UnsetType = UNSET
    uploaded: bool = False
    error: str | UnsetType = UNSET


class ArchiveStatus(Wire):
    """Whether the sandbox is frozen for an archive.

    ``read_only_root`` is always false in a frozen one, and ``reason`` says what the freeze is.
    """

    state: Literal["active", "quiescing", "quiesced"] = "active"
    export: ExportProgress | UnsetType = UNSET
    read_only_root: bool | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    since: str | UnsetType = UNSET
    stopped_processes: list[str] | UnsetType = UNSET


class ArchiveChange(Wire):
    """A path that is not as in the image; ``size`` in bytes, 0 for what is no plain file."""

    kind: Literal["added", "modified", "deleted"]
    path: str
    size: int = 0


class ArchiveManifest(Wire):
    """What an archive holds, and what it cannot: deletions.

    Attributes:
        root: what paths are relative to.
        deleted: paths that the image has; of a directory only its own.
        excludes: what was left out.
        payload_bytes: sizes of the plain files.
        processes: the process list is in it.
    """

    version: int
    created_at: str
    root: str
    api_version: str
    added: int
    modified: int
    deleted: list[str]
    excludes: list[str]
    payload_bytes: int
    processes: bool


class ExportResult(Wire):
    """Answer of an export; ``duration`` such as ``4.2s``, ``changes`` of a dry run only."""

    manifest: ArchiveManifest
    size: int
    uploaded: bool = False
    duration: str | UnsetType = UNSET
    changes: list[ArchiveChange] | UnsetType = UNSET
    stopped_processes: list[str] | UnsetType = UNSET


class MultipartTarget(Wire):
    """Presigned URLs of an upload in parts.

    Attributes:
        part_size: bytes of every part but the last.
        part_urls: one for each part, in order; more than needed are left unused.
        complete_url: puts them together, by POST.
        abort_url: discards them, by DELETE.
    """

    part_urls: list[str]
    complete_url: str
    part_size: Annotated[int, msgspec.Meta(ge=1)]
    abort_url: str | None = None


class ExportOptions(Wire):
    """Body of ``POST /archive/export``; where the image lies is known to the platform.

    Attributes:
        url: presigned PUT URL; needed unless ``dry_run`` or ``multipart``.
        headers: sent with the PUT as given.
        excludes: paths or patterns to leave out, besides those always left out.
        stop_timeout_seconds: for the graceful end of processes.
        image_device, image_mount_point: of the contract, without effect.
    """

    async_: bool = msgspec.field(name="async", default=False)
    dry_run: bool = False
    url: str = ""
    headers: dict[str, str] = {}
    multipart: MultipartTarget | None = None
    excludes: list[str] = []
    save_processes: bool = True
    stop_timeout_seconds: Annotated[int, msgspec.Meta(ge=0, le=600)] = 30
    image_device: str = ""
    image_mount_point: str = ""


class ExportBegin(Wire):
    """The platform tells that an export begins."""

    stop_timeout_seconds: float


class ExportPlan(Wire):
    """The platform asks what an archive would hold."""

    dry_run: bool
    excludes: list[str]
    save_processes: bool


class Health(Wire):
    """Answer of ``GET /health``; ``go_version`` names the language runtime.

    ``keep_alive_processes`` is ours: how many running processes forbid the sandbox to sleep.
    """

    status: str
    version: str
    git_commit: str
    build_time: str
    go_version: str
    os: str
    arch: str
    uptime: str
    uptime_seconds: float
    upgrade_count: int
    started_at: str
    last_upgrade: UpgradeStatus
    keep_alive_processes: int = 0


class ProcessRequest(Wire):
    """What to run.

    Attributes:
        command: shell text; required and not empty.
        name: handle for later calls; random when absent.
        working_dir: directory to start in; the sandbox's working directory when absent.
        env: variables on top of the sandbox's own.
        wait_for_completion: answer only after the end.
        timeout: seconds the answer may take; with ``keep_alive`` the process's life time.
        wait_for_ports: TCP ports that must listen before the answer.
        restart_on_failure: run again after a non-zero exit.
        max_restarts: how often; negative means without end.
        keep_alive: the sandbox may not sleep while this runs.
        stdin: give it an input that later calls write to.
    """

    command: str
    name: str | None = None
    working_dir: str | None = None
    env: dict[str, str] | None = None
    wait_for_completion: bool | None = None
    timeout: Small | None = None
    wait_for_ports: list[int] | None = None
    restart_on_failure: bool | None = None
    max_restarts: Small | None = None
    keep_alive: bool | None = None
    stdin: bool | None = None


class ProcessAnswer(Wire):
    """One process; ``pid`` is decimal text and stays the same across restarts."""

    pid: str
    name: str
    command: str
    status: ProcessStatus
    started_at: str
    completed_at: str | None
    exit_code: int
    working_dir: str
    logs: str | None
    stdout: str | None
    stderr: str | None
    restart_on_failure: bool
    max_restarts: int
    restart_count: int
    keep_alive: bool


class ProcessLogs(Wire):
    """Output kept of one process; ``logs`` is stdout followed by stderr."""

    stdout: str
    stderr: str
    logs: str


class ExecEvent(Wire, omit_defaults=True):
    """One line of a streaming exec."""

    type: str
    data: str = ""


class PortInfo(Wire):
    """One listening socket."""

    pid: int
    protocol: str
    local_addr: str
    local_port: int
    remote_addr: str
    remote_port: int
    state: str
    process_name: str


class PortList(Wire):
    """Listening sockets of a process and its descendants."""

    pid: int
    ports: list[PortInfo]


class TerminalInput(Wire, tag_field="type", tag="input"):
    """Keys typed into a terminal."""

    data: str


class TerminalResize(Wire, tag_field="type", tag="resize"):
    """A terminal's new size in character cells."""

    cols: int
    rows: int


class TerminalOutput(Wire):
    """What a terminal shows (``output``), or why there is none (``error``)."""

    type: str
    data: str


class MonitorRequest(Wire):
    """Whom to tell about new ports: an ``http`` address inside the sandbox."""

    callback: str


class PortOpened(Wire):
    """What a monitor's callback is sent."""

    pid: int
    port: int


class TunnelRequest(Wire):
    """Body of ``PUT /network/tunnel/config``: base64 of a ``TunnelConfig`` as JSON,
    see ``serai.wire.tunnels``."""

    config: str


class DriveRequest(Wire):
    """Body of ``POST /drives/mount``."""

    drive_name: str
    mount_path: str
    drive_path: str | None = None
    read_only: bool | None = None


class DriveMounted(Wire, omit_defaults=False):
    """The answer to a mount, and what a list shows of each."""

    drive_name: str
    mount_path: str
    drive_path: str
    read_only: bool
    success: bool = True
    message: str = "Drive mounted successfully"


class DriveUnmounted(Wire, omit_defaults=False):
    """The answer to an unmount."""

    mount_path: str
    success: bool = True
    message: str = "Drive unmounted successfully"


class DriveList(Wire):
    """Mounted drives."""

    mounts: list[DriveRequest]
