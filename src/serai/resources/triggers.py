"""What starts a workload: paths, asynchronous calls and clocks."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from serai.kernel.errors import BadRequest
from serai.kernel.ids import token
from serai.resources.kind import Body
from serai.resources.masking import MASK, Slot

SECRET_CHARACTERS = 40
PATH_MAX = 256
URL_MAX = 2048
TIMEOUT_MAX = 900
RETRY_MAX = 10
PATH = re.compile(r"/[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*\Z")
OTHERS = frozenset({"applications", "jobs", "models", "sandboxes"})
"""First words of paths that lead to something else in a workspace."""
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


def prepare_triggers(spec: Body) -> None:
    """Complete and check the triggers of an agent or a function.

    Raises:
        BadRequest: naming the field and the rule.
    """
    triggers = spec.get("triggers") or []
    complete_triggers(triggers)
    for number, trigger in enumerate(triggers):
        field = f"spec.triggers[{number}].configuration"
        settings = trigger.get("configuration") or {}
        _check_path(settings, field)
        _check_number(settings, "timeout", 1, TIMEOUT_MAX, field)
        _check_number(settings, "retry", 0, RETRY_MAX, field)
        if trigger.get("type") == "http-async" and settings.get("callbackUrl"):
            _check_url(settings["callbackUrl"], f"{field}.callbackUrl")
            settings["callbackSecret"] = MASK


def callback_slots(body: Body) -> Iterator[Slot]:
    """The secrets that sign results of asynchronous calls; made where there is none yet."""
    for trigger in body["spec"].get("triggers") or []:
        settings = trigger.get("configuration") or {}
        if settings.get("callbackSecret"):
            key = f"spec.triggers.{trigger['id']}.callbackSecret"
            yield Slot(key, settings, "callbackSecret", lambda: token(SECRET_CHARACTERS))


def _check_path(settings: Body, field: str) -> None:
    path = settings.get("path")
    if path is None:
        return
    full = "/" + str(path).strip("/")
    if not isinstance(path, str) or len(full) > PATH_MAX or not PATH.match(full):
        raise BadRequest(
            f"{field}.path {str(path)[:80]!r} is no path such as /webhook: use letters, digits,"
            f" '.', '_', '~', '-' and '/', at most {PATH_MAX} characters."
        )
    words = full.split("/")
    if words[1] in OTHERS or {".", ".."} & set(words):
        raise BadRequest(f"{field}.path {path[:80]!r} leads to other resources; choose another.")


def _check_number(settings: Body, name: str, low: int, high: int, field: str) -> None:
    value = settings.get(name)
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise BadRequest(f"{field}.{name} {str(value)[:40]} is outside {low} to {high}.")


def _check_url(url: object, field: str) -> None:
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    text = str(url)
    if not usable or len(text) > URL_MAX or not text.isascii() or not text.isprintable():
        raise BadRequest(f"{field} {text[:120]!r} is no URL that begins with https:// or http://.")
    if parts.username is not None or parts.password is not None:
        raise BadRequest(f"{field} must not hold a user name or password.")
