"""The billing answer: usage of an account, priced, in buckets, page by page."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from math import lcm

from sqlalchemy import Connection

from serai.kernel.clock import rfc3339
from serai.metering.dimensions import DIMENSIONS
from serai.metering.money import diffused, published, units
from serai.metering.prices import HOSTED_LIST, PriceList
from serai.metering.query import MetricsQuery, encode_cursor
from serai.metering.records import events_since
from serai.metering.times import DAY, EPOCH, HOUR, SECOND, millis, moment_of, rounded_up
from serai.metering.usage import Amount, Key, Scope, UsageReader
from serai.metering.windows import Piece, bucket_start, buckets, plan
from serai.wire.billing import (
    AccountMetrics,
    MetricsAmount,
    MetricsEntry,
    MetricsPage,
    MetricsPoint,
    MetricsSummary,
)

USAGE_PARTS = lcm(*(dimension.scale for dimension in DIMENSIONS.values()))
"""Parts of one unit of any dimension, of which every stored integer is a whole number."""


def account_metrics(
    conn: Connection, scope: Scope, query: MetricsQuery, prices: PriceList, now: datetime
) -> AccountMetrics:
    """Answer a query about one account, up to the very moment: also for what runs right now."""
    reader = reader_of(conn, scope, query, prices, now)
    groups, more = page_of(reader, query)
    sums = sums_of(reader, groups, prices)
    shown = _Shown(query, prices)
    return AccountMetrics(
        start_time=time_text(query.start),
        end_time=time_text(query.end),
        resolution=query.resolution,
        currency=prices.currency,
        summary=shown.summary(_total(reader, prices) if query.group_by else sums[()]),
        data=list(shown.entries(groups, sums)),
        meta=MetricsPage(
            has_more=more, next_cursor=encode_cursor(query, list(groups)[-1]) if more else ""
        ),
    )


def resource_types(
    conn: Connection, scope: Scope, window: tuple[int, int], now: datetime
) -> list[str]:
    """The types of resources with any usage in a window (milliseconds since 1970), sorted."""
    start, end = window
    query = MetricsQuery(start=start, end=end, resolution="monthly", group_by=("resource_type",))
    reader = reader_of(conn, scope, query, PriceList(), now)
    return sorted(key[0] for key in reader.groups())


def reader_of(
    conn: Connection, scope: Scope, query: MetricsQuery, prices: PriceList, now: datetime
) -> UsageReader:
    """Reads the usage a query is about, cut where prices change."""
    return UsageReader(conn, scope, query, _plan(query, prices, millis(now)), millis(now))


def page_of(reader: UsageReader, query: MetricsQuery) -> tuple[dict[Key, dict[str, str]], bool]:
    """The groups of a page, in order, each with what follows from it; and whether more follow."""
    groups = reader.groups(query.limit + 1) if query.group_by else {(): {}}
    keys = sorted(key for key in groups if query.after is None or key > query.after)
    page = keys[: query.limit]
    return {key: groups[key] for key in page}, len(keys) > len(page)


class Sums:
    """Exact cost and usage of one group, by bucket.

    Attributes:
        costs: grains of ``money`` by bucket.
        list_costs: the same at the hosted list's prices.
        usages: ``USAGE_PARTS`` by bucket, whatever the dimension.
    """

    def __init__(self, prices: PriceList) -> None:
        self._prices = prices
        self.costs: dict[int, int] = defaultdict(int)
        self.list_costs: dict[int, int] = defaultdict(int)
        self.usages: dict[int, int] = defaultdict(int)

    def add(self, amount: Amount) -> None:
        """Price an amount and add it to its bucket."""
        kind = amount.dimension, amount.provider, amount.model, amount.day
        self.costs[amount.bucket] += amount.quantity * self._prices.rate(*kind)
        self.list_costs[amount.bucket] += amount.quantity * HOSTED_LIST.rate(*kind)
        parts = USAGE_PARTS // DIMENSIONS[amount.dimension].scale
        self.usages[amount.bucket] += amount.quantity * parts


def sums_of(reader: UsageReader, keys: Iterable[Key], prices: PriceList) -> dict[Key, Sums]:
    """What each of the groups used and costs."""
    sums = {key: Sums(prices) for key in keys}
    for amount in reader.amounts(list(sums)):
        sums[amount.key].add(amount)
    return sums


def _total(reader: UsageReader, prices: PriceList) -> Sums:
    total = Sums(prices)
    for amount in reader.totals():
        total.add(amount)
    return total


def time_text(ms: int) -> str:
    """Milliseconds since 1970 as RFC 3339 in UTC, with a fraction only where there is one."""
    text = rfc3339(moment_of(ms))
    return text if ms % SECOND else text.replace(".000Z", "Z")


class _Shown:
    """Sums as the answer to one query shows them."""

    def __init__(self, query: MetricsQuery, prices: PriceList) -> None:
        self._query = query
        self._prices = prices
        self._buckets = buckets(query.resolution, query.start, query.end)
        self._times = [time_text(bucket_start(query.resolution, one)) for one in self._buckets]

    def summary(self, sums: Sums) -> MetricsSummary:
        """The sums of the whole window."""
        amount = self._amount(sums)
        return MetricsSummary(
            total_cost=amount.cost, total_usage=amount.usage, total_list_cost=amount.list_cost
        )

    def entries(
        self, groups: dict[Key, dict[str, str]], sums: dict[Key, Sums]
    ) -> Iterator[MetricsEntry]:
        """An entry per group."""
        for key, more in groups.items():
            yield MetricsEntry(
                **dict(zip(self._query.group_by, key, strict=True)),
                **more,
                summary=self._amount(sums[key]),
                timeseries=self._points(sums[key]),
            )

    def _amount(self, sums: Sums) -> MetricsAmount:
        usage, list_cost = sum(sums.usages.values()), sum(sums.list_costs.values())
        return MetricsAmount(
            cost=float(published(sum(sums.costs.values()))),
            usage=float(units(usage, USAGE_PARTS)) if self._query.by_dimension else None,
            list_cost=float(published(list_cost)) if self._query.list_price else None,
        )

    def _points(self, sums: Sums) -> list[MetricsPoint]:
        costs = diffused(self._series(sums.costs))
        points = [
            MetricsPoint(timestamp=time, cost=float(cost))
            for time, cost in zip(self._times, costs, strict=True)
        ]
        if self._query.by_dimension:
            for point, usage in zip(points, self._usages(sums), strict=True):
                point.usage = float(usage)
        if self._query.list_price:
            list_costs = diffused(self._series(sums.list_costs))
            for point, cost in zip(points, list_costs, strict=True):
                point.list_cost = float(cost)
        return points

    def _usages(self, sums: Sums) -> Iterator[Decimal]:
        return diffused(self._series(sums.usages), USAGE_PARTS)

    def _series(self, parts: dict[int, int]) -> Sequence[int]:
        return [parts.get(bucket, 0) for bucket in self._buckets]


def _plan(query: MetricsQuery, prices: PriceList, now_ms: int) -> list[Piece]:
    changes = [(day - EPOCH.date()).days * DAY for day in prices.changes]
    # No usage is later than now: of an hour that goes on, the sum so far is the window's part.
    end = query.end if query.end < now_ms else rounded_up(query.end, HOUR)
    return plan(query.start, end, query.resolution, changes, events_since(now_ms))
