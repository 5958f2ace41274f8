"""What a schedule may say, and when it is due."""

import re
from datetime import datetime, timedelta

import msgspec
from cronsim import CronSim, CronSimError

from serai.compute.kind import moment_of
from serai.kernel.clock import rfc3339
from serai.kernel.durations import parse_duration
from serai.kernel.errors import BadRequest
from serai.resources.kind import Body
from serai.wire.sandboxes import ScheduleEntry, ScheduleInput

TIMEOUT_DEFAULT = 600
TIMEOUT_MAX = 7 * 24 * 3600
EXECUTIONS_DEFAULT = 100
EXECUTIONS_MAX = 1000
COMMAND_MAX = 64 * 1024
VALUE_MAX = 200
PAST_TOLERANCE = timedelta(minutes=1)
"""How far clocks of clients may be behind when they say "now"."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}\Z")
_PROCESS_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")


def prepare_schedule(shape: ScheduleEntry, moment: datetime) -> Body:
    """The stored form of a wanted schedule: ``sleep`` becomes the ``at`` that it means.

    Raises:
        BadRequest: names the field and the rule.
    """
    if shape.id and not _ID.match(shape.id):
        raise BadRequest(
            f"id {shape.id[:80]!r} is not valid: use 1 to 63 letters, digits, hyphens and "
            "underscores, first a letter or digit."
        )
    kept = EXECUTIONS_DEFAULT if shape.max_executions is None else shape.max_executions
    if not 1 <= kept <= EXECUTIONS_MAX:
        raise BadRequest(f"maxExecutions {kept} is outside 1 to {EXECUTIONS_MAX}.")
    kind, value = _timing(shape, moment)
    return {"type": kind, "value": value, "input": _input(shape.input), "maxExecutions": kept}


def _timing(shape: ScheduleEntry, moment: datetime) -> tuple[str, str]:
    if len(shape.value) > VALUE_MAX:
        raise BadRequest(f"value is longer than {VALUE_MAX} characters.")
    if shape.type == "sleep":
        return "at", rfc3339(moment + parse_duration(shape.value, "value"))
    if shape.type == "at":
        at = moment_of(shape.value, "value")
        if at < moment - PAST_TOLERANCE:
            raise BadRequest(f"value {shape.value[:60]!r} is in the past; name a moment to come.")
        return "at", shape.value
    next_run("cron", shape.value, moment)
    return "cron", shape.value


def next_run(kind: str, value: str, moment: datetime) -> datetime:
    """When a schedule is due next.

    Raises:
        BadRequest: ``value`` is no cron expression of five fields, or never comes true.
    """
    if kind == "at":
        return moment_of(value, "value")
    try:
        if len(value.split()) != 5:
            raise CronSimError("it needs five fields")
        return next(CronSim(value, moment))
    except CronSimError as problem:
        raise BadRequest(
            f"value {value[:80]!r} is not a cron expression ({problem}): use five fields, minute, "
            "hour, day of month, month and day of week, for example 0 8 * * 1-5. Times are UTC."
        ) from None
    except StopIteration:
        raise BadRequest(f"value {value[:80]!r} never comes true: there is no such day.") from None


def _input(shape: ScheduleInput) -> Body:
    if not shape.command.strip() or len(shape.command) > COMMAND_MAX or "\0" in shape.command:
        raise BadRequest(
            f"input.command is empty, longer than {COMMAND_MAX} characters or has a NUL in it."
        )
    if shape.name and not _PROCESS_NAME.match(shape.name):
        raise BadRequest(
            f"input.name {shape.name[:80]!r} is not valid: use 1 to 128 letters, digits, dots, "
            "hyphens and underscores."
        )
    timeout = TIMEOUT_DEFAULT if shape.timeout is None else shape.timeout
    if not 0 <= timeout <= TIMEOUT_MAX:
        raise BadRequest(f"input.timeout {timeout} is outside 0 to {TIMEOUT_MAX} (seconds).")
    for name, value in (shape.env or {}).items():
        if not name or "=" in name or "\0" in name + value:
            raise BadRequest(f"input.env has {name[:80]!r}, which cannot be a variable's name.")
    found: Body = msgspec.to_builtins(shape)
    found = {key: value for key, value in found.items() if value not in (None, "", {})}
    keep_alive = True if shape.keep_alive is None else shape.keep_alive
    return found | {"timeout": timeout, "keepAlive": keep_alive}
