"""Milliseconds, hours, days and months since 1970 UTC, as usage is stored."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from serai.kernel.clock import EPOCH, millis

__all__ = [
    "DAY",
    "EPOCH",
    "HOUR",
    "SECOND",
    "hourly",
    "millis",
    "moment_of",
    "month_of",
    "month_start",
    "rounded_up",
]
SECOND = 1000
HOUR = 3600 * SECOND
DAY = 24 * HOUR


def moment_of(ms: int) -> datetime:
    """The moment of ``ms`` milliseconds since 1970."""
    return EPOCH + timedelta(milliseconds=ms)


def month_of(day: int) -> int:
    """The month (``year * 12 + month - 1``) that a day since 1970 lies in."""
    date = EPOCH + timedelta(days=day)
    return date.year * 12 + date.month - 1


def month_start(month: int) -> int:
    """Milliseconds since 1970 where a month begins."""
    return millis(datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC))


def month_name(ms: int) -> str:
    """The month that a moment lies in, as ``YYYY-MM``."""
    return f"{moment_of(ms):%Y-%m}"


def month_number(name: str) -> int:
    """``month_of`` the days of a month given as ``YYYY-MM``."""
    return int(name[:4]) * 12 + int(name[5:]) - 1


def rounded_up(ms: int, unit: int) -> int:
    """The first multiple of ``unit`` at or after ``ms``."""
    return -(-ms // unit) * unit


def hourly(start: int, end: int) -> Iterator[tuple[int, int]]:
    """``[start, end)`` cut at the hours inside it; nothing when it is empty."""
    while start < end:
        cut = min(end, (start // HOUR + 1) * HOUR)
        yield start, cut
        start = cut
