"""Durations as clients write them: ``30s``, ``10m``, ``24h``, ``7d``."""

import re
from datetime import timedelta

from serai.kernel.errors import BadRequest

PATTERN = re.compile(r"([0-9]{1,9})([smhdw])\Z")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_duration(text: str, field: str) -> timedelta:
    """A duration; ``field`` is named when it cannot be read.

    Raises:
        BadRequest: not a whole number and a unit, or longer than ten years.
    """
    match = PATTERN.match(text)
    if match is None:
        raise BadRequest(
            f"{field} {text[:40]!r} is not a duration: use a whole number and a unit "
            "(s, m, h, d, w), for example 30m."
        )
    try:
        duration = timedelta(**{UNITS[match[2]]: int(match[1])})
    except OverflowError:
        duration = timedelta.max
    if duration > timedelta(days=3660):
        raise BadRequest(f"{field} {text!r} is longer than ten years.")
    return duration
