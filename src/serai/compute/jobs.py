"""The job kind: defaults, rules and secrets."""

import re

from serai.kernel.errors import BadRequest
from serai.kernel.names import check_name
from serai.resources.kind import Body, Kind, Operations
from serai.resources.kinds import check_envs, check_memory
from serai.resources.masking import env_slots
from serai.resources.triggers import complete_triggers
from serai.wire.jobs import Job

TIMEOUT_DEFAULT = 3600
TIMEOUT_MAX = 7 * 24 * 3600
LIMITS = {
    "timeout": (1, TIMEOUT_MAX),
    "maxRetries": (0, 100),
    "maxConcurrentTasks": (1, 10_000),
    "diskPercent": (10, 95),
}
VOLUME_MB_MAX = 10 * 1024 * 1024
REPOSITORY = re.compile(r"[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}\Z")


def prepare_job(body: Body) -> None:
    """Complete defaults and check the rules of a wanted job."""
    spec = body["spec"]
    spec.setdefault("enabled", True)
    runtime = spec.get("runtime") or {}
    check_memory(runtime)
    check_envs(runtime)
    for field, (low, high) in LIMITS.items():
        check_range(runtime.get(field), low, high, f"spec.runtime.{field}")
    command = runtime.get("command")
    if command is not None and (not command or not command[0] or "\0" in "".join(command)):
        raise BadRequest("spec.runtime.command must begin with the program to start, as a word.")
    for name in spec.get("policies") or []:
        check_name(name, "spec.policies")
    complete_triggers(spec.get("triggers") or [])
    _check_volumes(spec.get("volumes") or [])
    for repository in (spec.get("githubRunner") or {}).get("repositories") or []:
        if not REPOSITORY.match(repository):
            raise BadRequest(
                f"spec.githubRunner.repositories {repository[:80]!r} is not owner/name."
            )


def check_range(value: int | None, low: int, high: int, field: str) -> None:
    """A whole number must lie between two others, both included."""
    if value is not None and not low <= value <= high:
        raise BadRequest(f"{field} {value} is outside {low} to {high}.")


def _check_volumes(volumes: list[Body]) -> None:
    names: set[str] = set()
    for number, volume in enumerate(volumes):
        field = f"spec.volumes[{number}]"
        check_name(volume["name"], f"{field}.name")
        if volume["name"] in names:
            raise BadRequest(f"{field}.name {volume['name']!r} is there twice.")
        names.add(volume["name"])
        if not volume["mountPath"].startswith("/") or ".." in volume["mountPath"].split("/"):
            raise BadRequest(
                f"{field}.mountPath {volume['mountPath'][:80]!r} is not an absolute path."
            )
        check_range(volume["sizeMb"], 1, VOLUME_MB_MAX, f"{field}.sizeMb")


JOBS = Kind(
    name="job",
    title="job",
    path="jobs",
    shape=Job,
    status="DEACTIVATED",
    prepare=prepare_job,
    secrets=env_slots,
    versioned=True,
    built=True,
    operations=Operations.of("Job"),
)
