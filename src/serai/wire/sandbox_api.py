"""Shapes of the HTTP API inside a sandbox: processes, files and ports.

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

    status: Literal["idle", "completed", "failed"] = "idle"
    step: Literal["none", "skipped"] = "none"
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


class ArchiveStatus(Wire):
    """Whether the sandbox is frozen for an archive: never, as none can be made from inside."""

    state: Literal["active"] = "active"


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


class FileRequest(Wire):
    """Body of ``PUT /filesystem/{path}``; ``permissions`` is octal text."""

    content: str | None = None
    is_directory: bool | None = None
    permissions: str | None = None


class TreeRequest(Wire):
    """Body of ``PUT /filesystem/tree/{path}``: relative path to content."""

    files: dict[str, str]


class Subdirectory(Wire):
    """A directory inside a listing."""

    path: str
    name: str


class File(Wire):
    """A file inside a listing; ``size`` in bytes, ``permissions`` octal without leading zero."""

    path: str
    name: str
    permissions: str
    size: int
    last_modified: str
    owner: str
    group: str


class FileWithContent(File):
    """A file read as text; bytes that are no UTF-8 are replaced."""

    content: str


class Directory(Wire):
    """One level of a directory, both lists sorted by name."""

    path: str
    name: str
    files: list[File]
    subdirectories: list[Subdirectory]


class TreeFile(File):
    """A file of a whole tree; its text where it was asked for and there is one."""

    content: str | UnsetType = UNSET


class Tree(Wire):
    """A directory with everything below it; ``recursive`` tells it from a listing."""

    path: str
    name: str
    files: list[TreeFile]
    subdirectories: list[Subdirectory]
    recursive: bool = True


class CopyRequest(Wire):
    """Body of ``POST /filesystem-copy``."""

    source: str
    destination: str
    no_overwrite: bool | None = None


class CopyAnswer(MessageAnswer):
    """What was copied where."""

    source: str
    destination: str


class FindMatch(Wire):
    """A path relative to the searched directory."""

    path: str
    type: Literal["file", "directory"]


class FindAnswer(Wire):
    """Answer of ``GET /filesystem-find``."""

    matches: list[FindMatch]
    total: int


class FuzzyMatch(Wire):
    """A path relative to the searched directory with its score, higher is better."""

    path: str
    score: int
    type: Literal["file", "directory"]


class FuzzyAnswer(Wire):
    """Answer of ``GET /filesystem-search``."""

    matches: list[FuzzyMatch]
    total: int


class ContentMatch(Wire):
    """A line that holds the query; ``line`` and byte ``column`` count from 1.

    ``context`` is the line with its neighbours, where they were asked for.
    """

    path: str
    line: int
    column: int
    text: str
    context: str | UnsetType = UNSET


class ContentAnswer(Wire):
    """Answer of ``GET /filesystem-content-search``."""

    query: str
    matches: list[ContentMatch]
    total: int


class WatchEvent(Wire):
    """One change in a watched directory; ``path`` is the directory that holds ``name``."""

    op: str
    name: str
    path: str
    error: str | None = None


class UploadRequest(Wire):
    """Optional body of an upload's start."""

    permissions: str | None = None


class UploadStarted(Wire):
    """A new upload session."""

    upload_id: str
    path: str


class PartAnswer(Wire):
    """A stored part; ``etag`` is the MD5 of its bytes in hex."""

    part_number: int
    etag: str
    size: int


class UploadedPart(PartAnswer):
    """A stored part as listings show it."""

    uploaded_at: str


class Upload(Wire):
    """An upload session as it is kept on disk; ``permissions`` is a number."""

    upload_id: str
    path: str
    permissions: int
    initiated_at: str
    parts: dict[str, UploadedPart]


class UploadList(Wire):
    """All open upload sessions."""

    uploads: list[Upload]


class PartList(Wire):
    """The parts of one session, sorted by number."""

    upload_id: str
    parts: list[UploadedPart]


class PartReference(Wire):
    """A part that the finished file is made of."""

    part_number: int
    etag: str = ""


class CompleteRequest(Wire):
    """Body of an upload's completion."""

    parts: list[PartReference] | None = None


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


class EditRequest(Wire):
    """Body of ``PUT /codegen/fastapply/{path}``; ``model`` is accepted and changes nothing."""

    code_edit: str
    model: str | None = None


class EditAnswer(Wire):
    """A file before and after an edit; ``provider`` says who applied it."""

    success: bool
    path: str
    original_content: str
    updated_content: str
    provider: str
    message: str


class RankedFile(Wire):
    """A file with its score from 0 to 1."""

    path: str
    content: str
    score: float


class RankAnswer(Wire):
    """Answer of ``GET /codegen/reranking/{path}``, best first."""

    success: bool
    files: list[RankedFile]
    message: str


class MonitorRequest(Wire):
    """Whom to tell about new ports: an ``http`` address inside the sandbox."""

    callback: str


class PortOpened(Wire):
    """What a monitor's callback is sent."""

    pid: int
    port: int


class TunnelRequest(Wire):
    """Body of ``PUT /network/tunnel/config``: base64 of a :class:`TunnelConfig` as JSON."""

    config: str


class TunnelConfig(msgspec.Struct, kw_only=True):
    """A WireGuard tunnel; keys are base64 of 32 bytes."""

    local_ip: str
    peer_endpoint: str
    peer_public_key: str
    private_key: str
    mtu: Annotated[int, msgspec.Meta(ge=68, le=65535)] = 1420


class DriveRequest(Wire):
    """Body of ``POST /drives/mount``."""

    drive_name: str
    mount_path: str
    drive_path: str | None = None
    read_only: bool | None = None


class DriveList(Wire):
    """Mounted drives."""

    mounts: list[DriveRequest]
