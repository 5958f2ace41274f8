"""Money as integers, so that nothing is rounded before it is published.

An amount is a whole number of grains. A grain is so small a part of one unit of the currency that
every allowed price of the smallest stored quantity is a whole number of them: also a price per
GB-month, which has no finite decimal per GB-second. So sums are exact in whatever order and
grouping they are made.
"""

from collections.abc import Iterable, Iterator
from decimal import ROUND_HALF_EVEN, Context, Decimal

EXACT = Context(prec=80, rounding=ROUND_HALF_EVEN)

GB_MONTH_SECONDS = 730 * 3600
"""Seconds of the month that a price per GB-month speaks of: a twelfth of 365 days."""

PRICE_PLACES = 24
"""Decimal places a price may have, in its own unit."""

LARGEST_SCALE = 1024 * 1000 * 1_000_000
"""Stored integers of the largest thing with a price besides the GB-month: a million GB-seconds."""

GRAINS: int = 10**PRICE_PLACES * LARGEST_SCALE * GB_MONTH_SECONDS
"""Grains of one unit of the currency; also divided by the 3,600,000 milliseconds of an hour."""

PLACES = 12
"""Decimal places of a published amount."""

_STEP: int = GRAINS // 10**PLACES
_FINEST: int = GRAINS // 10**PRICE_PLACES


def grains(price: Decimal, quantity: int) -> int:
    """What one stored integer costs when ``quantity`` of them cost ``price``.

    Exact for prices of at most ``PRICE_PLACES`` places and quantities that divide a million
    GB-seconds, a million hours or a GB-month.
    """
    scaled = int(price.scaleb(PRICE_PLACES, EXACT))
    return scaled * _FINEST // quantity


def published(amount: int) -> Decimal:
    """Grains as a decimal, rounded once, half to even, to ``PLACES`` places."""
    return _decimal(_rounded(amount, _STEP))


def diffused(amounts: Iterable[int], per_unit: int = GRAINS) -> Iterator[Decimal]:
    """Parts as published decimals that add up, to the last digit, to their published sum.

    Each is the difference of two rounded running sums: within one last place of its exact value,
    and 0 where the part is.

    Args:
        amounts: the exact parts, in order.
        per_unit: how many of them are 1: grains, or stored integers of a dimension's unit.
    """
    exact = shown = 0
    for amount in amounts:
        exact += amount * 10**PLACES
        rounded = _rounded(exact, per_unit)
        yield _decimal(rounded - shown)
        shown = rounded


def units(quantity: int, per_unit: int) -> Decimal:
    """A stored quantity in its public unit, rounded once to ``PLACES`` places."""
    return _decimal(_rounded(quantity * 10**PLACES, per_unit))


def plain(amount: Decimal) -> str:
    """A decimal without exponent and without trailing zeros, for files and text."""
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _rounded(amount: int, step: int) -> int:
    whole, rest = divmod(amount, step)
    twice = 2 * rest
    return whole + (twice > step or (twice == step and whole % 2))


def _decimal(last_places: int) -> Decimal:
    return Decimal(last_places).scaleb(-PLACES, EXACT)
