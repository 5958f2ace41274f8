"""Windows of time: which buckets an answer has, and which stored sums it is read from."""

from collections.abc import Iterable, Iterator
from datetime import date

import msgspec

from serai.metering.times import DAY, HOUR, moment_of, month_of, month_start, rounded_up

HOURLY, DAILY, WEEKLY, MONTHLY = "hourly", "daily", "weekly", "monthly"

LONGEST = {HOURLY: 7 * DAY, DAILY: 90 * DAY, WEEKLY: 366 * DAY}
"""The longest window of each resolution; ``monthly`` has none."""

RESOLUTIONS = (HOURLY, DAILY, WEEKLY, MONTHLY)

EVENTS, HOURS, DAYS = "events", "hours", "days"


class Piece(msgspec.Struct, frozen=True):
    """A part of a window, read from one kind of stored usage at one price.

    Attributes:
        source: ``events`` inside one hour, or whole ``hours``, or whole ``days``.
        start: first millisecond since 1970.
        end: the first one after it.
    """

    source: str
    start: int
    end: int

    @property
    def day(self) -> date:
        """The day whose prices hold for all of it."""
        return moment_of(self.start).date()


def fitting_resolution(length: int) -> str:
    """The resolution that a window of ``length`` milliseconds gets when none is asked for."""
    if length < 7 * DAY:
        return HOURLY
    if length < 90 * DAY:
        return DAILY
    return WEEKLY if length < 365 * DAY else MONTHLY


def bucket_of(resolution: str, ms: int) -> int:
    """The number of the bucket that a moment lies in: hour, day, week or month since 1970.

    Weeks begin on Monday; all in UTC.
    """
    if resolution == HOURLY:
        return ms // HOUR
    day = ms // DAY
    if resolution == DAILY:
        return day
    return (day + 3) // 7 if resolution == WEEKLY else month_of(day)


def bucket_start(resolution: str, bucket: int) -> int:
    """Milliseconds since 1970 where a bucket begins."""
    if resolution == HOURLY:
        return bucket * HOUR
    if resolution == DAILY:
        return bucket * DAY
    return (bucket * 7 - 3) * DAY if resolution == WEEKLY else month_start(bucket)


def buckets(resolution: str, start: int, end: int) -> range:
    """The numbers of all buckets that a window touches."""
    return range(bucket_of(resolution, start), bucket_of(resolution, end - 1) + 1)


def plan(
    start: int, end: int, resolution: str, changes: Iterable[int], events_since: int
) -> list[Piece]:
    """Cut a window into what can be read from the coarsest sums.

    A window may begin or end inside an hour. That part is read from single events; where those
    are gone (before ``events_since``), the hour counts whole for the window its start lies in, so
    that windows in a row still count everything once.

    Args:
        start: first millisecond of the window.
        end: the first one after it.
        resolution: of the answer.
        changes: where prices change: the start of days, in milliseconds.
        events_since: from where on single events are kept.
    """
    start, end = (rounded_up(edge, HOUR) if edge < events_since else edge for edge in (start, end))
    first, last = rounded_up(start, HOUR), end // HOUR * HOUR
    if first > last:
        return [Piece(EVENTS, start, end)]
    pieces = [Piece(EVENTS, start, first), *_whole(first, last, resolution)]
    pieces.append(Piece(EVENTS, last, end))
    inside = sorted(changes)
    return [part for piece in pieces for part in _split(piece, inside) if part.start < part.end]


def _whole(first: int, last: int, resolution: str) -> list[Piece]:
    first_day, last_day = rounded_up(first, DAY), last // DAY * DAY
    if resolution == HOURLY or first_day > last_day:
        return [Piece(HOURS, first, last)]
    return [
        Piece(HOURS, first, first_day),
        Piece(DAYS, first_day, last_day),
        Piece(HOURS, last_day, last),
    ]


def _split(piece: Piece, changes: list[int]) -> Iterator[Piece]:
    start = piece.start
    for change in changes:
        if start < change < piece.end:
            yield Piece(piece.source, start, change)
            start = change
    yield Piece(piece.source, start, piece.end)
