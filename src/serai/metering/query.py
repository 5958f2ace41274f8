"""What a caller asks of the metrics: every parameter checked, with the fix in the error."""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import msgspec

from serai.kernel.errors import BadRequest
from serai.metering.dimensions import DIMENSIONS
from serai.metering.times import DAY, EPOCH, millis
from serai.metering.windows import LONGEST, RESOLUTIONS, fitting_resolution

GROUPINGS = ("workspace", "resource_type", "resource_name", "resource_uuid", "billing_dimension")
RESOURCE = frozenset({"resource_name", "resource_uuid"})
MAX_GROUPINGS = 3
MAX_LIMIT = 100
FARTHEST = timedelta(days=3660)
"""How far in the future a window may end."""

FILTERS = {
    "workspace": "workspace",
    "resourceType": "resource_type",
    "resourceName": "resource_name",
    "resourceUuid": "resource_uuid",
    "billingDimension": "billing_dimension",
}
PAGING = ("limit", "cursor")
PARAMETERS = ("startTime", "endTime", "resolution", "groupBy", *FILTERS, "listPrice", *PAGING)
UNSUPPORTED = ("label", "unit")

RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)


class MetricsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A checked question.

    Attributes:
        start: first millisecond of the window since 1970.
        end: the first one after it.
        resolution: ``hourly``, ``daily``, ``weekly`` or ``monthly``.
        group_by: up to three of ``GROUPINGS``, sorted; empty for one entry of everything.
        filters: grouping name to the one value wanted.
        limit: groups on a page, 1 to 100.
        after: the key of the last group of the page before.
        list_price: whether to tell besides what the hosted service would list for it.
    """

    start: int
    end: int
    resolution: str
    group_by: tuple[str, ...] = ()
    filters: Mapping[str, str] = {}
    limit: int = MAX_LIMIT
    after: tuple[str, ...] | None = None
    list_price: bool = False

    @property
    def by_workspace(self) -> bool:
        """Whether it tells workspaces apart, which only an account admin may."""
        return "workspace" in self.group_by or "workspace" in self.filters

    @property
    def by_dimension(self) -> bool:
        """Whether each group has one unit, so that usage can be told besides cost."""
        return "billing_dimension" in self.group_by

    @property
    def of_resource(self) -> bool:
        """Whether it is about single resources, so that sums of workspaces do not help."""
        return not RESOURCE.isdisjoint(self.filters)

    @property
    def by_resource(self) -> bool:
        """Whether its groups are told from the usage of single resources."""
        return self.of_resource or not RESOURCE.isdisjoint(self.group_by)

    @property
    def fingerprint(self) -> str:
        """Tells it from every query whose groups are others: a cursor belongs to one."""
        filters = sorted(self.filters.items())
        parts = msgspec.json.encode((self.start, self.end, self.resolution, self.group_by, filters))
        return hashlib.sha256(parts).hexdigest()[:16]


def parse_query(
    params: Mapping[str, list[str]], now: datetime, *, capped: bool = True
) -> MetricsQuery:
    """Check the query string of the metrics.

    Args:
        params: each parameter's values, decoded.
        now: the current moment.
        capped: whether a resolution has a longest window, as it has in answers of one piece.

    Raises:
        BadRequest: names the parameter and what to give instead.
    """
    given = _single(params)
    start, end = parse_window(params, now)
    query = MetricsQuery(
        start=start,
        end=end,
        resolution=_resolution(given.get("resolution"), end - start, capped),
        group_by=_group_by(params.get("groupBy", [])),
        filters=_filters(given),
        limit=_limit(given.get("limit")),
        list_price=_flag("listPrice", given.get("listPrice")),
    )
    return msgspec.structs.replace(query, after=_after(given.get("cursor"), query))


def parse_window(params: Mapping[str, list[str]], now: datetime) -> tuple[int, int]:
    """Check ``startTime`` and ``endTime`` alone; milliseconds since 1970, the end exclusive.

    Raises:
        BadRequest: names the parameter and what to give instead.
    """
    given = _single(params)
    start, end = (_moment(name, given.get(name)) for name in ("startTime", "endTime"))
    if start < EPOCH:
        raise BadRequest("startTime must not be before 1970-01-01T00:00:00Z.")
    if end > now + FARTHEST:
        raise BadRequest("endTime must not be more than ten years from now.")
    if millis(end) <= millis(start):
        raise BadRequest("endTime must be after startTime: the window ends before endTime.")
    return millis(start), millis(end)


def encode_cursor(query: MetricsQuery, key: tuple[str, ...]) -> str:
    """The cursor of the page after the group ``key`` of this query."""
    content = msgspec.json.encode((query.fingerprint, key))
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _single(params: Mapping[str, list[str]]) -> dict[str, str]:
    given: dict[str, str] = {}
    for name, values in params.items():
        _check_name(name)
        if name in PARAMETERS:
            if len(values) > 1 and name != "groupBy":
                raise BadRequest(f"{name} is given {len(values)} times; give it once.")
            if values and values[0]:
                given[name] = values[0]
    return given


def _check_name(name: str) -> None:
    if name in UNSUPPORTED:
        raise BadRequest(f"{name} is not supported; remove it.")
    for known in PARAMETERS:
        if name != known and name.replace("_", "").lower() == known.lower():
            raise BadRequest(f"{name} is not a parameter; did you mean {known}?")


def _moment(name: str, text: str | None) -> datetime:
    example = f"for example {name}=2026-05-01T00:00:00Z"
    if text is None:
        raise BadRequest(f"{name} is missing; give an RFC 3339 time in UTC, {example}.")
    problem = BadRequest(
        f"{name} is not an RFC 3339 time in UTC: {text[:40]!r}; give {example}. "
        "In a URL, write the + of an offset as %2B."
    )
    if not RFC3339.fullmatch(text.upper()):
        raise problem
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise problem from None


def _resolution(text: str | None, length: int, capped: bool) -> str:
    if text is None:
        return fitting_resolution(length)
    if text not in RESOLUTIONS:
        raise BadRequest(f"resolution must be one of {', '.join(RESOLUTIONS)}, not {text[:40]!r}.")
    longest = LONGEST.get(text)
    if capped and longest is not None and length > longest:
        raise BadRequest(
            f"resolution={text} covers at most {longest // DAY} days and the window is longer; "
            "shorten it, choose a coarser resolution or leave resolution out."
        )
    return text


def _group_by(values: list[str]) -> tuple[str, ...]:
    names = [name.strip() for text in values if text for name in text.split(",")]
    for name in names:
        if name not in GROUPINGS:
            raise BadRequest(f"groupBy must be of {', '.join(GROUPINGS)}; {name[:40]!r} is not.")
        if names.count(name) > 1:
            raise BadRequest(f"groupBy names {name} twice; name it once.")
    if len(names) > MAX_GROUPINGS:
        raise BadRequest(f"groupBy takes at most {MAX_GROUPINGS} dimensions, not {len(names)}.")
    return tuple(sorted(names))


def _filters(given: dict[str, str]) -> dict[str, str]:
    dimension = given.get("billingDimension")
    if dimension is not None and dimension not in DIMENSIONS:
        raise BadRequest(
            f"billingDimension {dimension[:60]!r} is unknown; give one of {', '.join(DIMENSIONS)}."
        )
    return {column: given[name] for name, column in FILTERS.items() if name in given}


def _limit(text: str | None) -> int:
    if text is None:
        return MAX_LIMIT
    if not re.fullmatch(r"[0-9]{1,18}", text) or int(text) == 0:
        raise BadRequest(f"limit must be a whole number from 1 to {MAX_LIMIT}, not {text[:40]!r}.")
    return min(int(text), MAX_LIMIT)


def _flag(name: str, text: str | None) -> bool:
    if text is None or text in {"false", "0"}:
        return False
    if text in {"true", "1"}:
        return True
    raise BadRequest(f"{name} must be true or false, not {text[:40]!r}.")


def _after(cursor: str | None, query: MetricsQuery) -> tuple[str, ...] | None:
    if cursor is None:
        return None
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        fingerprint, key = msgspec.json.decode(data, type=tuple[str, list[str]])
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        raise BadRequest(
            "cursor is not one of ours; give meta.nextCursor of the page before, or leave it out.",
            code="INVALID_CURSOR",
        ) from None
    if fingerprint != query.fingerprint or len(key) != len(query.group_by) or not key:
        raise BadRequest(
            "cursor belongs to another query; repeat the one that answered it, with the same "
            "window, resolution, groupBy and filters.",
            code="INVALID_CURSOR",
        )
    return tuple(key)
