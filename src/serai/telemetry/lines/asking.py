"""What somebody asks of logs, from the parameters of a request."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import msgspec

from serai.api.exchange import AnyRequest, flag
from serai.kernel.clock import EPOCH, now, parse_rfc3339
from serai.kernel.errors import BadRequest
from serai.telemetry.lines.query import COUNTED_MOST, RANGES, RESOURCES_MOST, Wanted

TYPES = {
    "agents": "agent",
    "applications": "application",
    "functions": "function",
    "images": "image",
    "jobs": "job",
    "models": "model",
    "sandboxes": "sandbox",
}
"""Types of resources as clients write them, and as lines have them; the second is taken too."""
SOURCES = ("build", "run", "task", "request", "trace")
LIMIT_DEFAULT, LIMIT_MOST = 100, 1000
LINES_MOST = 5_000
"""Lines of one answer, of however many resources."""
SEARCH_MOST = 256
EXACT = {
    "revision": "revision",
    "instance": "instance",
    "output": "output",
    "taskId": "task",
    "buildId": "build",
}
"""Filters by an exact value: parameter to column of the origin."""
OTHERS = {
    "resourceType": str,
    "workloadIds": str,
    "start": str,
    "end": str,
    "type": str,
    "severity": str,
    "search": str,
    "traceId": str,
    "executionId": str,
    "order": str,
    "limit": int,
    "offset": int,
    "cursor": str,
    "follow": bool,
    "interval": int,
}
UNBOUND = frozenset({"cursor", "limit", "interval"})
"""Parameters that may differ from page to page."""
HOUR = timedelta(hours=1)


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A question about logs.

    Attributes:
        resource_type: as lines have it.
        names: of resources; none for those with the newest lines.
        wanted: which of their lines.
        limit: how many lines of each.
        offset: how many are passed over.
        cursor: where an answer ended.
        follow: whether to go on with what comes.
        question: what a cursor is bound to.
    """

    resource_type: str
    names: tuple[str, ...]
    wanted: Wanted
    limit: int
    offset: int
    cursor: str | None
    follow: bool
    question: str


def parse(request: AnyRequest) -> Asked:
    """The question of a request. Empty parameters are none.

    Raises:
        BadRequest: naming the parameter and what it accepts.
    """
    given = request.query_params.items()
    params = {name: clean for name, value in given if (clean := value.replace("\0", ""))}
    names = tuple(dict.fromkeys(each for each in params.get("workloadIds", "").split(",") if each))
    if len(names) > RESOURCES_MOST:
        raise BadRequest(f"workloadIds names {len(names)} resources; {RESOURCES_MOST} at most.")
    limit = _number(params, "limit", 1, LIMIT_MOST, LIMIT_DEFAULT)
    asked = Asked(
        resource_type=_resource_type(params.get("resourceType", "")),
        names=names,
        wanted=_wanted(params),
        limit=max(1, min(limit, LINES_MOST // (len(names) or RESOURCES_MOST))),
        offset=_number(params, "offset", 0, COUNTED_MOST, 0),
        cursor=params.get("cursor"),
        follow=flag(request, "follow"),
        question=repr(sorted((n, value) for n, value in params.items() if n not in UNBOUND)),
    )
    if asked.cursor and (len(names) != 1 or asked.offset):
        raise BadRequest("cursor goes with one name in workloadIds, and without offset.")
    return asked


def _wanted(params: Mapping[str, str]) -> Wanted:
    first, last = _range(params)
    order = params.get("order", "desc")
    if order not in {"asc", "desc"}:
        raise BadRequest(f"order {order[:20]!r} is not one of asc, desc.")
    search = params.get("search", "")
    if len(search) > SEARCH_MOST:
        raise BadRequest(f"search has {len(search)} characters: use {SEARCH_MOST} or fewer.")
    return Wanted(
        first=first,
        last=last,
        sources=_listed(params, "type", SOURCES, str.lower),
        severities=_listed(params, "severity", tuple(RANGES), str.upper),
        search=search,
        exact={column: params[name] for name, column in EXACT.items() if name in params},
        execution=params.get("executionId", ""),
        trace_id=params.get("traceId", "").lower(),
        newest_first=order == "desc",
    )


def _resource_type(text: str) -> str:
    if text in TYPES:
        return TYPES[text]
    if text in TYPES.values():
        return text
    said = f"resourceType {text[:40]!r} is not" if text else "resourceType is missing: give"
    raise BadRequest(f"{said} one of {', '.join(TYPES)}.")


def _listed(
    params: Mapping[str, str], name: str, known: tuple[str, ...], spelled: Callable[[str], str]
) -> frozenset[str]:
    """Words between commas; none where all are wanted."""
    given = (each.strip() for each in params.get(name, "").split(","))
    wanted = {spelled(each) for each in given if each}
    if spelled("all") in wanted:
        return frozenset()
    unknown = sorted(wanted - set(known))
    if unknown:
        raise BadRequest(f"{name} {unknown[0][:40]!r} is none of {', '.join(known)}; or say all.")
    return frozenset(wanted)


def _range(params: Mapping[str, str]) -> tuple[int, int]:
    """Numbers from the start on, and below the end; an end in whole seconds includes its second."""
    moment = now()
    start = _moment(params, "start") or (moment - HOUR)
    end = _moment(params, "end") or (moment + HOUR)
    if end.microsecond == 0:
        end += timedelta(seconds=1)
    if start >= end:
        raise BadRequest("start is not before end.")
    return _nanoseconds(start), _nanoseconds(end)


def _moment(params: Mapping[str, str], name: str) -> datetime | None:
    text = params.get(name)
    if text is None:
        return None
    try:
        moment = parse_rfc3339(text)
    except ValueError:
        moment = EPOCH.replace(year=1)
    if not 1970 <= moment.year < 2200:
        raise BadRequest(
            f"{name} {text[:40]!r} is no time between 1970 and 2199, for example "
            "2026-04-28T12:00:00 (UTC) or 2026-04-28T14:00:00+02:00."
        )
    return moment


def _nanoseconds(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1) * 1000


def _number(params: Mapping[str, str], name: str, low: int, high: int, default: int) -> int:
    text = params.get(name)
    if text is None:
        return default
    if text.isascii() and text.isdecimal() and len(text) < 9 and low <= int(text) <= high:
        return int(text)
    raise BadRequest(f"{name} {text[:20]!r} is not a whole number from {low} to {high}.")
