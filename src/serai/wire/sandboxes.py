"""Sandboxes."""

from typing import Any, Literal

from serai.wire.common import (
    CoreEvent,
    Env,
    Metadata,
    PageMeta,
    Port,
    Status,
    VolumeAttachment,
    Wire,
)


class SandboxRuntime(Wire):
    """How a sandbox runs.

    ``memory`` is in MiB. ``ttl`` is a duration such as ``30s``, ``10m``, ``24h`` or ``7d`` from
    creation; ``expires`` a moment (RFC 3339). ``extra_args`` cannot change after creation.
    """

    image: str | None = None
    memory: int | None = None
    generation: Literal["mk2", "mk3"] | None = None
    envs: list[Env] | None = None
    ports: list[Port] | None = None
    ttl: str | None = None
    expires: str | None = None
    extra_args: dict[str, str] | None = None
    snapshot_enabled: bool | None = None
    termination_grace_period_seconds: int | None = None


class ExpirationPolicy(Wire):
    """When to delete a sandbox: a duration since last use or creation, or a moment."""

    type: Literal["ttl-idle", "ttl-max-age", "date"]
    value: str
    action: Literal["delete"] | None = None


class SandboxLifecycle(Wire):
    """Expiration policies (the first that is met wins) and how long the record stays readable."""

    expiration_policies: list[ExpirationPolicy] | None = None
    terminated_retention: str | None = None


class ProxyTarget(Wire):
    """What the egress proxy adds for some destinations. Values of ``secrets`` are masked."""

    destinations: list[str] | None = None
    headers: dict[str, str] | None = None
    body: dict[str, str] | None = None
    secrets: dict[str, str] | None = None


class ProxyConfig(Wire):
    """Egress through the platform's proxy."""

    allowed_domains: list[str] | None = None
    forbidden_domains: list[str] | None = None
    bypass: list[str] | None = None
    routing: list[ProxyTarget] | None = None


class SandboxNetwork(Wire):
    """What a sandbox may reach outside, and what is added to its requests."""

    allowed_domains: list[str] | None = None
    forbidden_domains: list[str] | None = None
    proxy: ProxyConfig | None = None
    egress: dict[str, Any] | None = None
    firewall: dict[str, Any] | None = None
    subnet: str | None = None


class EgressRefusal(Wire):
    """Something that was not let out of a sandbox.

    Attributes:
        time: RFC 3339.
        host: the name, or the address where no name is known.
        reason: ``firewall_blocked``, ``address_refused``, ``name_unknown``, ``proxy_required`` or
            ``too_many_connections``.
        method, path: where a request was seen; the path has no query.
    """

    time: str
    host: str
    port: int
    reason: str
    method: str | None = None
    path: str | None = None


class SandboxEgress(Wire):
    """What a sandbox reached outside, and what was refused, since the server knows it.

    Attributes:
        connections: those that were made, wherever they went.
        allowed, blocked: connections and, where requests are seen, requests.
        sent_bytes, received_bytes: what was carried, as the sandbox sees it.
        refusals: the last hundred, newest first.
    """

    connections: int
    allowed: int
    blocked: int
    sent_bytes: int
    received_bytes: int
    refusals: list[EgressRefusal]


class SandboxSpec(Wire):
    """What a client wants of a sandbox.

    ``policies`` stands nowhere in the contract's spec of sandboxes, which yet counts the sandboxes
    that name a policy there.
    """

    enabled: bool | None = None
    region: str | None = None
    policies: list[str] | None = None
    runtime: SandboxRuntime | None = None
    lifecycle: SandboxLifecycle | None = None
    network: SandboxNetwork | None = None
    volumes: list[VolumeAttachment] | None = None
    vpc: str | None = None


class SandboxArchive(Wire):
    """Where the files of an archived sandbox are; times are RFC 3339, ``size`` is bytes.

    ``started_at`` is there while they are packed, ``restore_started_at`` while they are unpacked.
    """

    created_at: str | None = None
    key: str | None = None
    size: int | None = None
    started_at: str | None = None
    restore_started_at: str | None = None


class Sandbox(Wire):
    """An isolated computer behind ``metadata.url``.

    ``isolation`` is ours: what separates it from the host, see ``serai.runtime.port.LEVELS``; it
    is there as soon as the sandbox has run.
    """

    metadata: Metadata
    spec: SandboxSpec
    status: Status | None = None
    events: list[CoreEvent] | None = None
    archive: SandboxArchive | None = None
    state: Literal["RUNNING", "STANDBY"] | None = None
    isolation: str | None = None
    last_used_at: str | None = None
    expires_in: int | None = None


class PreviewMetadata(Metadata):
    """A preview's metadata; ``resource_name`` is the sandbox it shows."""

    resource_name: str | None = None
    resource_type: str | None = None


class PreviewSpec(Wire):
    """What a preview shows, to whom, and for how long.

    ``port`` 443 is the sandbox's own API. ``ttl`` counts from the last change, ``expires`` is a
    moment (RFC 3339). ``url`` and ``region`` are the platform's.
    """

    port: int | None = None
    public: bool | None = None
    prefix_url: str | None = None
    custom_domain: str | None = None
    request_headers: dict[str, str] | None = None
    response_headers: dict[str, str] | None = None
    expires: str | None = None
    ttl: str | None = None
    region: str | None = None
    url: str | None = None


class Preview(Wire):
    """An address of its own for one port of a sandbox."""

    metadata: PreviewMetadata
    spec: PreviewSpec
    status: Status | None = None


class PreviewTokenMetadata(Wire):
    """Name of a preview token, and where it belongs; an empty name lets the platform choose."""

    name: str | None = None
    preview_name: str | None = None
    resource_name: str | None = None
    resource_type: str | None = None
    workspace: str | None = None


class PreviewTokenSpec(Wire):
    """A preview token's value, its end (RFC 3339; none for never), and whether that has passed."""

    token: str | None = None
    expires_at: str | None = None
    expired: bool | None = None


class PreviewToken(Wire):
    """What opens a private preview."""

    metadata: PreviewTokenMetadata
    spec: PreviewTokenSpec


class PreviewTokenDeleted(Wire):
    """The answer to deleting a token."""

    message: str


class ScheduleInput(Wire):
    """The process that a schedule starts. Values of ``env`` are masked; ``timeout`` in seconds."""

    command: str
    name: str | None = None
    env: dict[str, str] | None = None
    working_dir: str | None = None
    keep_alive: bool | None = None
    timeout: int | None = None


class ScheduleEntry(Wire):
    """A command that runs in a sandbox at its time.

    ``value`` is a cron expression of five fields (UTC), a moment (RFC 3339) or, for ``sleep``, a
    duration, which is kept as the moment it means. ``max_executions`` bounds the history.
    """

    type: Literal["cron", "at", "sleep"]
    value: str
    input: ScheduleInput
    id: str | None = None
    max_executions: int | None = None
    sandbox: str | None = None
    created_at: str | None = None


class ScheduleEntryPage(Wire):
    """A page of schedules."""

    data: list[ScheduleEntry]
    meta: PageMeta


class ScheduleExecution(Wire):
    """One run of a schedule: whether the sandbox took the command, not how the command ended.

    ``status_code`` is the sandbox API's HTTP status, 0 when it could not be reached;
    ``process_name`` finds the process and its output there.
    """

    id: str
    schedule_id: str
    sandbox: str
    status: Literal["succeeded", "failed"]
    status_code: int
    process_name: str
    timeout: int
    executed_at: str
    created_at: str
    error: str | None = None


class ScheduleExecutionPage(Wire):
    """A page of executions."""

    data: list[ScheduleExecution]
    meta: PageMeta


class ExecutionCounts(Wire, omit_defaults=False):
    """Executions by whether the sandbox took the command."""

    succeeded: int
    failed: int


class ScheduleMetrics(Wire, omit_defaults=False):
    """Scheduling in a workspace between two minutes, the first included, the last not."""

    executions: int
    executions_by_status: ExecutionCounts
    sandboxes: int
    schedules: int
    since: str
    until: str


class SnapshotSource(Wire):
    """What a snapshot was taken of, and whether that is gone."""

    name: str
    kind: Literal["sandbox"] | None = None
    deleted: bool | None = None


class SnapshotRequest(Wire):
    """What to call a snapshot, and what to take it of where the path does not say so.

    ``contents`` is what to keep, see Snapshot; as much as is possible when left out.
    """

    name: str | None = None
    source: SnapshotSource | None = None
    contents: Literal["files", "memory"] | None = None


class SnapshotSpec(Wire):
    """What a fork of a snapshot runs with. ``memory`` is in MiB."""

    image: str | None = None
    memory: int | None = None
    ports: list[Port] | None = None
    region: str | None = None


class Snapshot(Wire):
    """The state of a sandbox at one moment.

    ``contents`` says what was kept: ``files`` alone, or also the processes with their ``memory``.
    ``size`` is the bytes that it takes on disk, without those of the snapshots below it.
    """

    id: str
    name: str
    workspace: str
    sandbox_name: str
    status: Literal["pending", "ready", "failed"]
    created_at: str
    created_by: str | None = None
    contents: Literal["files", "memory"] | None = None
    size: int | None = None
    source: SnapshotSource | None = None
    spec: SnapshotSpec | None = None


class SnapshotPage(Wire):
    """A page of snapshots."""

    data: list[Snapshot]
    meta: PageMeta


class ForkRequest(Wire):
    """A new sandbox or application from the state of another.

    ``envs`` are added to the source's, or replace those of the same name. ``lifecycle`` replaces
    a sandbox's. ``contents`` is what a sandbox begins with: ``files`` alone, or also processes
    with their ``memory``; when left out, as much as there is. ``custom_domain``, ``prefix`` (its
    subdomain) and ``traffic`` (percent that the new revision takes at first) are for applications.
    """

    target_name: str
    target_type: Literal["sandbox", "application"]
    envs: list[Env] | None = None
    lifecycle: SandboxLifecycle | None = None
    contents: Literal["files", "memory"] | None = None
    port: int | None = None
    prefix: str | None = None
    custom_domain: str | None = None
    snapshot_id: str | None = None
    traffic: int | None = None


class ForkResponse(Wire):
    """What a fork made, and from which snapshot; no id for a fork of a sandbox as it is now.

    ``contents`` is what a sandbox began with.
    """

    type: Literal["sandbox", "application"]
    name: str
    snapshot_id: str | None = None
    contents: Literal["files", "memory"] | None = None


class RestoreResponse(Wire):
    """The sandbox that was set back, and the snapshot."""

    name: str
    snapshot_id: str
