"""What can be billed: dimensions, their units, and the integers they are stored in."""

import msgspec


class Dimension(msgspec.Struct, frozen=True):
    """One thing that is counted.

    Attributes:
        name: public name, as in ``billingDimension``.
        resource_type: the type of resource that consumes it.
        unit: public unit: ``gbs`` (GB-seconds), ``count`` or ``hours``.
        scale: stored integers per public unit.
    """

    name: str
    resource_type: str
    unit: str
    scale: int


GB_SECOND = 1024 * 1000
"""Stored MB-milliseconds per GB-second, with 1 GB = 1024 MB as memory limits are set."""

HOUR = 3_600_000
"""Stored milliseconds per hour of active time."""

SANDBOX_RUNTIME = "sandbox_compute_runtime_gbs"
JOB_RUNTIME = "job_compute_runtime_gbs"
MODEL_INPUT_TOKENS = "model_input_tokens_count"
MODEL_OUTPUT_TOKENS = "model_output_tokens_count"
MODEL_REQUESTS = "model_requests_count"

DIMENSIONS = {
    name: Dimension(name, resource_type, unit, {"gbs": GB_SECOND, "hours": HOUR}.get(unit, 1))
    for name, resource_type, unit in (
        (SANDBOX_RUNTIME, "sandbox", "gbs"),
        ("sandbox_image_storage_gbs", "sandbox", "gbs"),
        ("sandbox_snapshot_storage_gbs", "sandbox", "gbs"),
        ("agent_compute_runtime_gbs", "agent", "gbs"),
        ("agent_image_storage_gbs", "agent", "gbs"),
        ("agent_async_requests_count", "agent", "count"),
        (JOB_RUNTIME, "job", "gbs"),
        ("job_image_storage_gbs", "job", "gbs"),
        ("mcp_server_compute_runtime_gbs", "mcp_server", "gbs"),
        ("mcp_server_image_storage_gbs", "mcp_server", "gbs"),
        ("volume_storage_gbs", "volume", "gbs"),
        ("drive_storage_gbs", "drive", "gbs"),
        ("custom_domain_active_time_hours", "custom_domain", "hours"),
        (MODEL_INPUT_TOKENS, "model", "count"),
        (MODEL_OUTPUT_TOKENS, "model", "count"),
        (MODEL_REQUESTS, "model", "count"),
    )
}
"""Every dimension by name; Serai adds those of models and drives to the public contract's."""
