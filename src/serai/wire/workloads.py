"""Agents and functions (MCP servers)."""

from typing import Any, Literal

from serai.wire.common import CoreEvent, Env, Metadata, Port, Status, VolumeAttachment, Wire


class Repository(Wire):
    """Source repository of a workload."""

    type: str | None = None
    url: str | None = None


class RevisionConfiguration(Wire):
    """Which revision serves, and how much a canary takes. Percentages are 0 to 100."""

    active: str | None = None
    canary: str | None = None
    canary_percent: int | None = None
    sticky_session_ttl: int | None = None
    traffic: int | None = None


class Trigger(Wire):
    """What starts a workload."""

    id: str | None = None
    type: Literal["http", "http-async", "cron"] | None = None
    enabled: bool | None = None
    configuration: dict[str, Any] | None = None


class WorkloadRuntime(Wire):
    """How a workload runs. ``memory`` is in MiB; scales count instances.

    ``command`` is ours: the words to start instead of the image's entry point.
    """

    image: str | None = None
    memory: int | None = None
    min_scale: int | None = None
    max_scale: int | None = None
    generation: Literal["mk2", "mk3"] | None = None
    envs: list[Env] | None = None
    ports: list[Port] | None = None
    transport: Literal["websocket", "http-stream"] | None = None
    type: str | None = None
    command: list[str] | None = None


class WorkloadSpec(Wire):
    """What a client wants of an agent or a function."""

    enabled: bool | None = None
    public: bool | None = None
    region: str | None = None
    policies: list[str] | None = None
    integration_connections: list[str] | None = None
    repository: Repository | None = None
    revision: RevisionConfiguration | None = None
    runtime: WorkloadRuntime | None = None
    triggers: list[Trigger] | None = None
    volumes: list[VolumeAttachment] | None = None


class Agent(Wire):
    """An agent: an HTTP workload behind ``/{workspace}/agents/{name}``."""

    metadata: Metadata
    spec: WorkloadSpec
    status: Status | None = None
    events: list[CoreEvent] | None = None


class Function(Wire):
    """A function: an MCP server behind ``/{workspace}/functions/{name}/mcp``."""

    metadata: Metadata
    spec: WorkloadSpec
    status: Status | None = None
    events: list[CoreEvent] | None = None
