"""Time as the wire wants it."""

import time
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now() -> datetime:
    """The current moment, aware, in UTC."""
    return datetime.now(UTC)


def millis(moment: datetime) -> int:
    """A moment as whole milliseconds since 1970, rounded down; exact, unlike ``timestamp()``."""
    return (moment - EPOCH) // timedelta(milliseconds=1)


def rfc3339(moment: datetime) -> str:
    """A moment as RFC 3339 in UTC with milliseconds: ``2026-04-28T12:00:00.123Z``.

    Six fraction digits or fewer keep Python 3.10 clients able to parse it.
    """
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_rfc3339(text: str) -> datetime:
    """Parse an RFC 3339 moment; one without an offset is taken as UTC.

    Raises:
        ValueError: when the text is no RFC 3339 moment.
    """
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class SteadyClock:
    """Time that passes as it really does, also while the system's clock is set back or forward.

    Args:
        start: what it shows now.
    """

    def __init__(self, start: datetime) -> None:
        self._start = start
        self._begun = time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def now(self) -> datetime:
        """The current moment, in UTC."""
        passed = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - self._begun
        return self._start + timedelta(microseconds=passed // 1000)
