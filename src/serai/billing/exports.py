"""Usage as CSV files: everything a query is about, however many pages and buckets that is.

A file is read in parts: windows of whole buckets in a row, and pages of groups in each. So its
size is bounded by neither the cap of a resolution nor memory.
"""

import csv
import io
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import pairwise

import msgspec
from sqlalchemy import Connection

from serai.billing.context import UsageSource
from serai.metering.answer import USAGE_PARTS, page_of, reader_of, sums_of, time_text
from serai.metering.dimensions import DIMENSIONS
from serai.metering.money import plain, published, units
from serai.metering.prices import PriceList
from serai.metering.query import MetricsQuery
from serai.metering.usage import Key, Scope, UsageReader
from serai.metering.windows import DAILY, HOURLY, WEEKLY, bucket_of, bucket_start

COLUMNS = (
    "startTime",
    "endTime",
    "workspace",
    "resourceType",
    "resourceName",
    "resourceUuid",
    "billingDimension",
    "usage",
    "unit",
    "cost",
    "currency",
)
FIELDS = ("workspace", "resource_type", "resource_name", "resource_uuid", "billing_dimension")

AT_ONCE = {HOURLY: 24 * 7, DAILY: 31, WEEKLY: 26}
"""Buckets read at once; 12 months when the resolution is monthly."""

Row = Sequence[str]
Rows = Callable[["Part", dict[Key, dict[str, str]]], Iterable[Row]]


class Part(msgspec.Struct, frozen=True):
    """What one piece of a file is made from: a query of one window and page, and its reader."""

    reader: UsageReader
    query: MetricsQuery
    prices: PriceList


class Export(msgspec.Struct, frozen=True, kw_only=True):
    """One file to write.

    Attributes:
        usage: where usage is read from.
        scope: whose.
        query: about what; its cap and cursor do not matter.
        prices: of the account.
        now: up to which moment what runs is counted.
        header: names of the columns.
        rows: makes the rows of a page of groups.
    """

    usage: UsageSource
    scope: Scope
    query: MetricsQuery
    prices: PriceList
    now: datetime
    header: Row
    rows: Rows

    async def text(self) -> AsyncIterator[str]:
        """The file, piece by piece."""
        yield lines([self.header])
        for start, end in windows(self.query):
            after: Key | None = None
            more = True
            while more:
                query = msgspec.structs.replace(self.query, start=start, end=end, after=after)
                text, after, more = await self.usage.read_in_thread(self._reading(query))
                yield text

    def _reading(self, query: MetricsQuery) -> Callable[[Connection], tuple[str, Key | None, bool]]:
        def read(conn: Connection) -> tuple[str, Key | None, bool]:
            reader = reader_of(conn, self.scope, query, self.prices, self.now)
            groups, more = page_of(reader, query)
            text = lines(self.rows(Part(reader, query, self.prices), groups))
            return text, next(reversed(groups), None), more

        return read


def windows(query: MetricsQuery) -> Iterator[tuple[int, int]]:
    """The window of a query in pieces of whole buckets, the first and last cut to it."""
    first, last = (bucket_of(query.resolution, ms) for ms in (query.start, query.end - 1))
    step = AT_ONCE.get(query.resolution, 12)
    edges = [bucket_start(query.resolution, one) for one in range(first + step, last + 1, step)]
    yield from pairwise([query.start, *edges, query.end])


def lines(rows: Iterable[Row]) -> str:
    """Rows as CSV, as RFC 4180 has it."""
    text = io.StringIO()
    csv.writer(text).writerows([_harmless(cell) for cell in row] for row in rows)
    return text.getvalue()


def csv_header(query: MetricsQuery) -> Row:
    """The columns of our own CSV."""
    return [*COLUMNS, "listCost"] if query.list_price else COLUMNS


def csv_rows(part: Part, groups: dict[Key, dict[str, str]]) -> Iterator[Row]:
    """A row per group and bucket with any usage."""
    for key, sums in sums_of(part.reader, groups, part.prices).items():
        named = dict(zip(part.query.group_by, key, strict=True)) | groups[key]
        fields = [named.get(name, "") for name in FIELDS]
        unit = DIMENSIONS[named["billing_dimension"]].unit if part.query.by_dimension else ""
        for bucket in sorted(sums.usages):
            usage = plain(units(sums.usages[bucket], USAGE_PARTS)) if unit else ""
            row = [*edges_of(part.query, bucket), *fields, usage, unit]
            row += [plain(published(sums.costs[bucket])), part.prices.currency]
            if part.query.list_price:
                row.append(plain(published(sums.list_costs[bucket])))
            yield row


def edges_of(query: MetricsQuery, bucket: int) -> tuple[str, str]:
    """Where a bucket begins and ends inside the window."""
    start = max(query.start, bucket_start(query.resolution, bucket))
    end = min(query.end, bucket_start(query.resolution, bucket + 1))
    return time_text(start), time_text(end)


def _harmless(cell: str) -> str:
    """No cell is a formula for whatever opens the file; names may begin with anything."""
    return f"'{cell}" if cell[:1] in {"=", "@", "+", "\t", "\r"} else cell
