"""What usage costs: a list of prices with days they hold from, applied when somebody asks.

Usage is stored, money is not: a changed price list changes every answer about the days it covers
(a closed statement keeps its own copy). Prices are exact decimals and costs are exact integers of
``money``; each published number is rounded once, to 12 places, half to even. So the exact parts
always add up to the exact total however they are grouped.
"""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from serai.kernel.errors import SeraiError
from serai.metering import dimensions as names
from serai.metering.dimensions import DIMENSIONS
from serai.metering.money import EXACT, GB_MONTH_SECONDS, PRICE_PLACES, grains

FINEST = Decimal(1).scaleb(-PRICE_PLACES)
ALWAYS = date(1970, 1, 1)


class InvalidPrices(SeraiError):
    """The price list is wrong; the message names the entry, the field and the fix."""

    code = "INVALID_PRICES"


class Price(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One price, from a day on; one of the three ``per_…`` is given.

    Attributes:
        dimension: a billing dimension.
        per_unit: for one unit of the dimension: a GB-second, a token, a request, an hour.
        per_million: for a million of them.
        per_gb_month: for a GB kept for a month of 730 hours; of dimensions in GB-seconds.
        provider: only for models of this provider.
        model: only for the model of this name.
        since: the first day (UTC) it holds, ``from`` in a file; always, when absent.
    """

    dimension: str
    per_unit: Decimal | None = None
    per_million: Decimal | None = None
    per_gb_month: Decimal | None = None
    provider: str | None = None
    model: str | None = None
    since: date = msgspec.field(default=ALWAYS, name="from")

    @property
    def given(self) -> list[tuple[str, Decimal, int]]:
        """Every ``per_…`` that is given: its name, the price, and how many units that buys."""
        fields = (
            ("per_unit", self.per_unit, 1),
            ("per_million", self.per_million, 10**6),
            ("per_gb_month", self.per_gb_month, GB_MONTH_SECONDS),
        )
        return [(name, price, units) for name, price, units in fields if price is not None]

    @property
    def rate(self) -> int:
        """The price of one stored integer of the dimension, exact, in grains of ``money``."""
        ((_, price, units),) = self.given
        return grains(price, units * DIMENSIONS[self.dimension].scale)

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


def _hosted() -> tuple[Price, ...]:
    seconds = {
        names.SANDBOX_RUNTIME: "0.0000115",
        "job_compute_runtime_gbs": "0.000006",
        "mcp_server_compute_runtime_gbs": "0.000007",
    }
    months = dict.fromkeys((name for name in DIMENSIONS if "_image_" in name), "0.045")
    months["sandbox_snapshot_storage_gbs"] = "0.20"
    return (
        *(Price(dimension=name, per_unit=Decimal(price)) for name, price in seconds.items()),
        *(Price(dimension=name, per_gb_month=Decimal(price)) for name, price in months.items()),
    )


HOSTED = _hosted()
"""What the hosted service lists, in USD, as far as it says so."""

DEFAULTS: Sequence[Price] = (
    *HOSTED,
    Price(dimension="agent_compute_runtime_gbs", per_unit=Decimal("0.0000115")),
    Price(dimension="volume_storage_gbs", per_gb_month=Decimal("0.10")),
    Price(dimension="drive_storage_gbs", per_gb_month=Decimal("0.10")),
)
"""The list in force when nobody set another, in USD: the hosted prices, and three of our own.

A dimension without a price costs nothing: models, requests and domains.
"""


class _PriceFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    currency: str = "USD"
    price: tuple[Price, ...] = ()


class PriceList:
    """Prices in one currency, in force from certain days on.

    Attributes:
        currency: of every price; nothing is ever converted.
        levels: sources of prices, the first of which goes before the others.
        changes: the days on which any price begins to hold.
    """

    def __init__(self, levels: Sequence[Sequence[Price]] = (DEFAULTS,), currency: str = "USD"):
        self.currency = currency
        self.levels = tuple(tuple(level) for level in levels)
        self._prices = [
            price
            for level in self.levels
            for price in sorted(level, key=lambda one: (-one.precision, -one.since.toordinal()))
        ]
        self.changes = sorted({price.since for price in self._prices} - {ALWAYS})
        self.price = lru_cache(maxsize=4096)(self._find)
        """``price(dimension, provider, model, day)``: the one that holds; ``None``: it is free.

        The list that goes first wins, in it the price that names a model, then one that names a
        provider, then the latest.
        """
        self._rate = lru_cache(maxsize=4096)(self._find_rate)

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
        check(file.price, file.currency)
        return cls((file.price, DEFAULTS), file.currency.upper())

    def under(self, own: Sequence[Price], currency: str) -> "PriceList":
        """This list with another one going before it, in the other one's currency."""
        return PriceList((own, *self.levels), currency)

    def rate(self, dimension: str, provider: str, model: str, day: date) -> int:
        """The price of one stored integer of a dimension on a day, in grains of ``money``."""
        return self._rate(dimension, provider, model, day)

    def _find(self, dimension: str, provider: str, model: str, day: date) -> Price | None:
        for price in self._prices:
            if price.covers(dimension, provider, model, day):
                return price
        return None

    def _find_rate(self, dimension: str, provider: str, model: str, day: date) -> int:
        price = self._find(dimension, provider, model, day)
        return price.rate if price is not None else 0


HOSTED_LIST = PriceList((HOSTED,))
"""For the comparison with the hosted service; always USD."""


def check(prices: Iterable[Price], currency: str) -> None:
    """Check a list before it is used.

    Raises:
        InvalidPrices: names the entry, the field and the fix.
    """
    if not currency.isascii() or not currency.isalpha() or len(currency) != 3:
        raise InvalidPrices("currency must be a code of three letters, for example USD.")
    for number, price in enumerate(prices, 1):
        _check(number, price)


def _check(number: int, price: Price) -> None:
    where = f"Price {number} ({price.dimension[:60]})"
    if price.dimension not in DIMENSIONS:
        raise InvalidPrices(f"{where}: dimension must be one of {', '.join(DIMENSIONS)}.")
    if len(price.given) != 1:
        raise InvalidPrices(f"{where}: give one of per_unit, per_million and per_gb_month.")
    ((name, amount, _),) = price.given
    if name == "per_gb_month" and DIMENSIONS[price.dimension].unit != "gbs":
        raise InvalidPrices(f"{where}: per_gb_month is for dimensions in GB-seconds.")
    if not amount.is_finite() or amount < 0:
        raise InvalidPrices(f"{where}: the price must be zero or more.")
    if amount >= 10**9 or amount != amount.quantize(FINEST, context=EXACT):
        raise InvalidPrices(
            f"{where}: the price must be below 10^9 with at most {PRICE_PLACES} places."
        )
