"""What usage costs: a declared list of prices, applied when somebody asks.

Usage is stored, money is not: a changed price list changes every answer about the days it covers.
Costs are exact decimals. Nothing is rounded on the way; each published number is rounded once,
to 12 places, half to even. So the exact parts always add up to the exact total however they are
grouped, and ``n`` published parts differ from their published total by at most
``(n + 1) * 0.5e-12``.
"""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from serai.kernel.errors import SeraiError
from serai.metering.dimensions import (
    DIMENSIONS,
    MODEL_INPUT_TOKENS,
    MODEL_OUTPUT_TOKENS,
    MODEL_REQUESTS,
    SANDBOX_RUNTIME,
)

EXACT = Context(prec=80, rounding=ROUND_HALF_EVEN)
PLACES = Decimal("1e-12")
FINEST = Decimal("1e-24")
ALWAYS = date(1970, 1, 1)


class InvalidPrices(SeraiError):
    """The price list is wrong; the message names the entry, the field and the fix."""

    code = "INVALID_PRICES"


class Price(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One price, from a day on.

    Attributes:
        dimension: a billing dimension.
        per_unit: for one unit of the dimension: a GB-second, a token, a request.
        per_million: instead of ``per_unit``, for a million of them.
        provider: only for models of this provider.
        model: only for the model of this name.
        since: the first day (UTC) it holds, ``from`` in a file; always, when absent.
    """

    dimension: str
    per_unit: Decimal | None = None
    per_million: Decimal | None = None
    provider: str | None = None
    model: str | None = None
    since: date = msgspec.field(default=ALWAYS, name="from")

    @property
    def amount(self) -> Decimal:
        """The price of one unit, exact."""
        if self.per_unit is not None:
            return self.per_unit
        return (self.per_million or Decimal(0)).scaleb(-6, EXACT)

    @property
    def precision(self) -> int:
        """How closely it names what it is for: a model beats a provider beats neither."""
        return 2 * (self.model is not None) + (self.provider is not None)

    def covers(self, dimension: str, provider: str, model: str, day: date) -> bool:
        """Whether it may apply to usage of this kind on this day."""
        return (
            self.dimension == dimension
            and self.provider in (None, provider)
            and self.model in (None, model)
            and self.since <= day
        )


DEFAULTS: Sequence[Price] = (
    Price(dimension=SANDBOX_RUNTIME, per_unit=Decimal("0.00001")),
    Price(dimension=MODEL_INPUT_TOKENS, per_unit=Decimal(0)),
    Price(dimension=MODEL_OUTPUT_TOKENS, per_unit=Decimal(0)),
    Price(dimension=MODEL_REQUESTS, per_unit=Decimal(0)),
)
"""Serai's own list, in USD: 0.036 for a GB of running sandbox per hour; models cost nothing.

A dimension without a price costs nothing.
"""


class _PriceFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    currency: str = "USD"
    price: tuple[Price, ...] = ()


class PriceList:
    """Prices in one currency, in force from certain days on."""

    def __init__(self, own: Sequence[Price] = (), currency: str = "USD") -> None:
        self.currency = currency
        ranked = [(False, price) for price in DEFAULTS] + [(True, price) for price in own]
        ranked.sort(key=lambda item: (item[1].precision, item[0], item[1].since))
        self._prices = [price for _, price in reversed(ranked)]
        self.changes = sorted({price.since for price in self._prices} - {ALWAYS})
        self._rate = lru_cache(maxsize=4096)(self._find)

    @classmethod
    def load(cls, path: Path | None) -> "PriceList":
        """Read a TOML file; Serai's own list when there is none.

        Raises:
            InvalidPrices: the file cannot be read or an entry is wrong.
        """
        if path is None:
            return cls()
        try:
            with path.open("rb") as file:
                return cls.of(tomllib.load(file, parse_float=Decimal))
        except (OSError, tomllib.TOMLDecodeError) as problem:
            raise InvalidPrices(f"The price list {path} cannot be read: {problem}") from None

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "PriceList":
        """Take prices from ``{"currency": …, "price": [{"dimension": …, "per_unit": …}, …]}``.

        They go before Serai's own ones, which stay for what is not mentioned.

        Raises:
            InvalidPrices: an entry is wrong.
        """
        try:
            file = msgspec.convert(document, _PriceFile, strict=False)
        except msgspec.ValidationError as problem:
            raise InvalidPrices(f"The price list is not valid: {problem}") from None
        if not file.currency.isalpha() or len(file.currency) != 3:
            raise InvalidPrices("currency must be a code of three letters, for example USD.")
        for number, price in enumerate(file.price, 1):
            _check(number, price)
        return cls(file.price, file.currency.upper())

    def rate(self, dimension: str, provider: str, model: str, day: date) -> Decimal:
        """The price of one stored integer of a dimension on a day, exact.

        The price that names model or provider wins over one that does not, then your own over
        Serai's, then the latest.
        """
        return self._rate(dimension, provider, model, day)

    def _find(self, dimension: str, provider: str, model: str, day: date) -> Decimal:
        for price in self._prices:
            if price.covers(dimension, provider, model, day):
                return EXACT.divide(price.amount, Decimal(DIMENSIONS[dimension].scale))
        return Decimal(0)


def cost_of(quantity: int, rate: Decimal) -> Decimal:
    """Exact cost of a stored quantity."""
    return EXACT.multiply(Decimal(quantity), rate)


def total(amounts: Iterable[Decimal]) -> Decimal:
    """The exact sum."""
    with localcontext(EXACT):
        return sum(amounts, Decimal(0))


def published(amount: Decimal) -> float:
    """An exact amount as the answer shows it: rounded once, half to even, to 12 places."""
    return float(amount.quantize(PLACES, context=EXACT))


def _check(number: int, price: Price) -> None:
    where = f"Price {number} ({price.dimension})"
    if price.dimension not in DIMENSIONS:
        raise InvalidPrices(f"{where}: dimension must be one of {', '.join(DIMENSIONS)}.")
    if (price.per_unit is None) == (price.per_million is None):
        raise InvalidPrices(f"{where}: give either per_unit or per_million.")
    amount = price.amount
    if not amount.is_finite() or amount < 0:
        raise InvalidPrices(f"{where}: the price must be zero or more.")
    if amount >= 10**9 or amount != amount.quantize(FINEST, context=EXACT):
        raise InvalidPrices(f"{where}: the price must be below 10^9 with at most 24 places.")
