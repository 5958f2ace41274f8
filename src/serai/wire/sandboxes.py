"""Sandboxes."""

from typing import Any, Literal

from serai.wire.common import CoreEvent, Env, Metadata, Port, Status, VolumeAttachment, Wire


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
    """Egress rules, stored as given."""

    allowed_domains: list[str] | None = None
    forbidden_domains: list[str] | None = None
    proxy: ProxyConfig | None = None
    egress: dict[str, Any] | None = None
    firewall: dict[str, Any] | None = None
    subnet: str | None = None


class SandboxSpec(Wire):
    """What a client wants of a sandbox."""

    enabled: bool | None = None
    region: str | None = None
    runtime: SandboxRuntime | None = None
    lifecycle: SandboxLifecycle | None = None
    network: SandboxNetwork | None = None
    volumes: list[VolumeAttachment] | None = None
    vpc: str | None = None


class Sandbox(Wire):
    """An isolated computer behind ``metadata.url``."""

    metadata: Metadata
    spec: SandboxSpec
    status: Status | None = None
    events: list[CoreEvent] | None = None
    state: Literal["RUNNING", "STANDBY"] | None = None
    last_used_at: str | None = None
    expires_in: int | None = None
