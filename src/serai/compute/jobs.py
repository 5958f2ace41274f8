"""The job kind: defaults, rules and secrets."""

import re

from serai.kernel.errors import BadRequest
from serai.kernel.names import check_name
from serai.resources.kind import Body, Kind, Operations
from serai.resources.kinds import check_envs, check_memory
from serai.resources.masking import env_slots
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
CRON_FIELDS = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of month", 1, 31, ()),
    (
        "month",
        1,
        12,
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    ),
    ("day of week", 0, 7, ("sun", "mon", "tue", "wed", "thu", "fri", "sat")),
)


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


def complete_triggers(triggers: list[Body]) -> None:
    """Give triggers ids that differ, drop what clients may not write, and check schedules."""
    taken: set[str] = set()
    for number, trigger in enumerate(triggers, 1):
        wanted = trigger.get("id") or f"trigger-{number}"
        trigger["id"] = _free(wanted, taken)
        taken.add(trigger["id"])
        settings = trigger.get("configuration") or {}
        settings.pop("callbackSecret", None)
        field = f"spec.triggers[{number - 1}].configuration"
        if trigger.get("type") == "cron":
            check_cron(settings.get("schedule"), f"{field}.schedule")
        tasks = settings.get("tasks") or []
        if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
            raise BadRequest(f"{field}.tasks is not a list of objects.")


def _free(wanted: str, taken: set[str]) -> str:
    number, name = 2, wanted
    while name in taken:
        name, number = f"{wanted}-{number}", number + 1
    return name


def check_cron(schedule: object, field: str) -> None:
    """A schedule is a cron expression of five fields.

    Raises:
        BadRequest: naming the part that cannot be read.
    """
    parts = schedule.split() if isinstance(schedule, str) else []
    if len(parts) != len(CRON_FIELDS):
        raise BadRequest(
            f"{field} {str(schedule)[:60]!r} is not a cron expression: use five fields (minute, "
            "hour, day of month, month, day of week), for example '0 * * * *'."
        )
    for part, (name, low, high, words) in zip(parts, CRON_FIELDS, strict=True):
        for item in part.split(","):
            if not _is_cron_item(item.lower(), low, high, words):
                raise BadRequest(
                    f"{field}: {name} {part[:40]!r} cannot be read; use *, numbers from {low} to "
                    f"{high}, ranges such as {low}-{high} and steps such as */2."
                )


def _is_cron_item(item: str, low: int, high: int, words: tuple[str, ...]) -> bool:
    span, slash, step = item.partition("/")
    if slash and not (step.isascii() and step.isdigit() and 0 < int(step[:4]) <= high):
        return False
    if span == "*":
        return True
    numbers = [_cron_number(end, low, words) for end in span.split("-", 1)]
    return all(low <= number <= high for number in numbers) and numbers == sorted(numbers)


def _cron_number(text: str, low: int, words: tuple[str, ...]) -> int:
    if text in words:
        return words.index(text) + low
    return int(text) if text.isascii() and text.isdigit() and len(text) < 4 else -1


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
