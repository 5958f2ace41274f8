"""The billing answer: usage of an account, priced, in buckets, page by page."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection, select

from serai.kernel.clock import rfc3339
from serai.metering.dimensions import DIMENSIONS
from serai.metering.prices import EXACT, PriceList, cost_of, published, total
from serai.metering.query import MetricsQuery, encode_cursor
from serai.metering.records import events_since
from serai.metering.times import DAY, EPOCH, SECOND, millis, moment_of
from serai.metering.usage import Amount, Key, Scope, UsageReader
from serai.metering.windows import Piece, bucket_start, buckets, plan
from serai.store.tables import identity
from serai.wire.billing import (
    Account,
    AccountMetrics,
    MetricsAmount,
    MetricsEntry,
    MetricsPage,
    MetricsPoint,
    MetricsSummary,
)


def accounts(conn: Connection, visible: Collection[str]) -> list[Account]:
    """The accounts with these ids, in order of their ids."""
    table = identity.accounts
    query = select(table).where(table.c.id.in_(list(visible))).order_by(table.c.id)
    return [
        Account(id=row.id, name=row.name, currency=row.currency, created_at=row.created_at)
        for row in conn.execute(query)
    ]


def account_metrics(
    conn: Connection, scope: Scope, query: MetricsQuery, prices: PriceList, now: datetime
) -> AccountMetrics:
    """Answer a query about one account, up to the very moment: also for what runs right now."""
    reader = _reader(conn, scope, query, prices, now)
    groups = reader.groups() if query.group_by else {(): {}}
    keys = sorted(key for key in groups if query.after is None or key > query.after)
    page = keys[: query.limit]
    sums: dict[Key, Sums] = defaultdict(lambda: Sums(prices))
    for amount in reader.amounts(page):
        sums[amount.key].add(amount)
    has_more = len(keys) > len(page)
    return AccountMetrics(
        start_time=_time(query.start),
        end_time=_time(query.end),
        resolution=query.resolution,
        currency=prices.currency,
        summary=_summary(query, prices, reader.totals()),
        data=_entries(query, page, groups, sums),
        meta=MetricsPage(
            has_more=has_more,
            next_cursor=encode_cursor(query.group_by, page[-1]) if has_more else "",
        ),
    )


def resource_types(
    conn: Connection, scope: Scope, window: tuple[int, int], now: datetime
) -> list[str]:
    """The types of resources with any usage in a window (milliseconds since 1970), sorted."""
    start, end = window
    query = MetricsQuery(start=start, end=end, resolution="monthly", group_by=("resource_type",))
    reader = _reader(conn, scope, query, PriceList(), now)
    return sorted(key[0] for key in reader.groups())


class Sums:
    """Cost and usage of one group, by bucket."""

    def __init__(self, prices: PriceList) -> None:
        self._prices = prices
        self.costs: dict[int, Decimal] = {}
        self.usages: dict[int, Decimal] = {}

    def add(self, amount: Amount) -> None:
        """Price an amount and add it to its bucket."""
        rate = self._prices.rate(amount.dimension, amount.provider, amount.model, amount.day)
        _add(self.costs, amount.bucket, cost_of(amount.quantity, rate))
        unit = Decimal(DIMENSIONS[amount.dimension].scale)
        _add(self.usages, amount.bucket, EXACT.divide(amount.quantity, unit))

    def cost(self, bucket: int | None = None) -> float:
        """The published cost of a bucket, or of all."""
        return _published(self.costs, bucket)

    def usage(self, query: MetricsQuery, bucket: int | None = None) -> float | None:
        """The published usage, where the query lets it have one unit."""
        return _published(self.usages, bucket) if query.by_dimension else None


def _reader(
    conn: Connection, scope: Scope, query: MetricsQuery, prices: PriceList, now: datetime
) -> UsageReader:
    return UsageReader(conn, scope, query, _plan(query, prices, millis(now)), millis(now))


def _plan(query: MetricsQuery, prices: PriceList, now_ms: int) -> list[Piece]:
    changes = [(day - EPOCH.date()).days * DAY for day in prices.changes]
    return plan(query.start, query.end, query.resolution, changes, events_since(now_ms))


def _summary(query: MetricsQuery, prices: PriceList, amounts: Iterable[Amount]) -> MetricsSummary:
    everything = Sums(prices)
    for amount in amounts:
        everything.add(amount)
    return MetricsSummary(total_cost=everything.cost(), total_usage=everything.usage(query))


def _entries(
    query: MetricsQuery,
    page: list[Key],
    groups: dict[Key, dict[str, str]],
    sums: dict[Key, Sums],
) -> list[MetricsEntry]:
    times = {
        bucket: _time(bucket_start(query.resolution, bucket))
        for bucket in buckets(query.resolution, query.start, query.end)
    }
    return [
        MetricsEntry(
            **dict(zip(query.group_by, key, strict=True)),
            **groups[key],
            summary=MetricsAmount(cost=sums[key].cost(), usage=sums[key].usage(query)),
            timeseries=[
                MetricsPoint(
                    timestamp=text,
                    cost=sums[key].cost(bucket),
                    usage=sums[key].usage(query, bucket),
                )
                for bucket, text in times.items()
            ],
        )
        for key in page
    ]


def _add(parts: dict[int, Decimal], bucket: int, amount: Decimal) -> None:
    before = parts.get(bucket)
    parts[bucket] = amount if before is None else EXACT.add(before, amount)


def _published(parts: dict[int, Decimal], bucket: int | None) -> float:
    if bucket is not None:
        return published(parts[bucket]) if bucket in parts else 0.0
    return published(total(parts.values()))


def _time(ms: int) -> str:
    text = rfc3339(moment_of(ms))
    return text if ms % SECOND else text.replace(".000Z", "Z")
