"""Monthly statements: what a month has cost, written down once.

A closed statement never changes. It keeps the price list that held when it was closed; usage that
becomes known later is priced by that list, in an adjustment line of the next statement.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
from sqlalchemy import Connection

from serai.metering.answer import reader_of
from serai.metering.dimensions import DIMENSIONS
from serai.metering.money import EXACT, published, units
from serai.metering.prices import Price, PriceList
from serai.metering.query import MetricsQuery
from serai.metering.times import moment_of, month_number, month_start
from serai.metering.usage import Scope
from serai.wire.billing import StatementLine

GRACE = timedelta(days=3)
"""How long after its end a month is closed by itself."""

LOOK_BACK = 12
"""How many months back late usage is looked for."""

GROUP_BY = ("billing_dimension", "resource_type", "workspace")
FREE = Price(dimension="", per_unit=Decimal(0))


class LineKey(msgspec.Struct, frozen=True, order=True):
    """What a line is about; see ``StatementLine``."""

    period: str
    workspace: str
    resource_type: str
    dimension: str
    provider: str
    model: str
    since: str


class Line(msgspec.Struct, frozen=True):
    """A line as it is kept: a stored quantity, and the price that held."""

    key: LineKey
    quantity: int
    per: str
    price: Decimal
    cost: Decimal

    def shown(self, month: str) -> StatementLine:
        """The line in the statement of a month."""
        key, dimension = self.key, DIMENSIONS[self.key.dimension]
        return StatementLine(
            kind="usage" if key.period == month else "adjustment",
            period=key.period,
            since=key.since,
            workspace=key.workspace,
            resource_type=key.resource_type,
            billing_dimension=key.dimension,
            provider=key.provider or None,
            model=key.model or None,
            usage=units(self.quantity, dimension.scale),
            unit=dimension.unit,
            price=self.price,
            per=self.per.removeprefix("per_"),
            cost=self.cost,
        )


class Closed(msgspec.Struct, frozen=True):
    """An earlier month: what its statement and the adjustments since have billed."""

    month: str
    prices: PriceList
    billed: Mapping[LineKey, int]


def month_lines(
    conn: Connection,
    account_id: str,
    month: str,
    prices: PriceList,
    earlier: Iterable[Closed],
    now: datetime,
) -> list[Line]:
    """The lines of a month's statement: its usage, and what came late of the earlier ones."""
    used = _used(conn, account_id, month, prices, now)
    lines = [_line(key, quantity, prices) for key, quantity in used.items()]
    for one in earlier:
        known = _used(conn, account_id, one.month, one.prices, now)
        same_currency = one.prices.currency == prices.currency
        for key in known.keys() | one.billed.keys():
            late = known.get(key, 0) - one.billed.get(key, 0)
            lines.append(_line(key, late, one.prices if same_currency else prices))
    return sorted((line for line in lines if line.quantity), key=lambda line: line.key)


def total_of(lines: Iterable[Line]) -> Decimal:
    """The sum of the costs of lines, exact."""
    total = Decimal(0)
    for line in lines:
        total = EXACT.add(total, line.cost)
    return total


def due_months(created: datetime, closed: Iterable[str], now: datetime) -> Iterator[str]:
    """The months since an account was created that have ended and are not closed, in order."""
    known = set(closed)
    first, current = (one.year * 12 + one.month - 1 for one in (created, now))
    for number in range(first, current):
        month = f"{number // 12:04}-{number % 12 + 1:02}"
        if month not in known:
            yield month


def end_of(month: str) -> datetime:
    """The first moment after a month."""
    return moment_of(month_start(month_number(month) + 1))


def encode_prices(prices: PriceList) -> str:
    """A price list as it is kept with a statement."""
    kept = {"currency": prices.currency, "levels": prices.levels}
    return msgspec.json.encode(kept).decode()


def decode_prices(text: str) -> PriceList:
    """A price list that was kept with a statement."""
    kept = msgspec.json.decode(text, type=_Kept)
    return PriceList(kept.levels, kept.currency)


class _Kept(msgspec.Struct):
    currency: str
    levels: tuple[tuple[Price, ...], ...]


def _used(
    conn: Connection, account_id: str, month: str, prices: PriceList, now: datetime
) -> dict[LineKey, int]:
    number = month_number(month)
    query = MetricsQuery(
        start=month_start(number),
        end=month_start(number + 1),
        resolution="monthly",
        group_by=GROUP_BY,
    )
    reader = reader_of(conn, Scope(account_id=account_id), query, prices, now)
    found: dict[LineKey, int] = defaultdict(int)
    for one in reader.amounts(list(reader.groups())):
        dimension, resource_type, workspace = one.key
        since = _since(prices, month, one.day)
        found[
            LineKey(month, workspace, resource_type, dimension, one.provider, one.model, since)
        ] += one.quantity
    return found


def _since(prices: PriceList, month: str, day: date) -> str:
    """The first day of a month from which on the prices of ``day`` hold."""
    first = date.fromisoformat(f"{month}-01")
    return max([first, *(change for change in prices.changes if first < change <= day)]).isoformat()


def _line(key: LineKey, quantity: int, prices: PriceList) -> Line:
    kind: Any = key.dimension, key.provider, key.model, date.fromisoformat(key.since)
    price = prices.price(*kind) or FREE
    ((per, amount, _),) = price.given
    return Line(key, quantity, per, amount, published(quantity * prices.rate(*kind)))
