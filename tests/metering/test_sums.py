"""Answers over random usage, windows and groupings equal adding up single pieces by hand."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from serai.metering.answer import account_metrics
from serai.metering.dimensions import DIMENSIONS, MODEL_OUTPUT_TOKENS, SANDBOX_RUNTIME
from serai.metering.events import Series, UsageEvent
from serai.metering.money import GRAINS
from serai.metering.prices import PriceList
from serai.metering.query import FILTERS, GROUPINGS, MetricsQuery, parse_query
from serai.metering.records import record
from serai.metering.times import HOUR, hourly, millis, moment_of
from serai.metering.usage import Scope
from serai.metering.windows import bucket_of, bucket_start, buckets

NOW = datetime(2026, 4, 28, 12, 30, 5, tzinfo=UTC)
PRICES = PriceList.of(
    {
        "price": [
            {"dimension": SANDBOX_RUNTIME, "per_unit": "0.0001", "from": "2026-04-25"},
            {"dimension": MODEL_OUTPUT_TOKENS, "per_million": "2", "provider": "openai"},
            {"dimension": MODEL_OUTPUT_TOKENS, "per_million": "7", "model": "m1"},
        ]
    }
)


PARAMETER = {column: name for name, column in FILTERS.items()}
QUARTER = HOUR // 4


def span_of(quarters, least=0):
    """Milliseconds up to that many quarters of an hour: often whole ones, so that edges meet."""
    near = st.sampled_from([0, 0, 0, 1, 999, QUARTER - 1])
    wide = st.sampled_from(range(quarters))
    return st.builds(lambda many, few: max(least, many * QUARTER + few), wide, near)


MOMENTS = span_of(7 * 96).map(lambda ms: millis(NOW) // QUARTER * QUARTER - 7 * 24 * HOUR + ms)
RUNS = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.sampled_from(["main", "second"]),
        st.sampled_from(["acc", "acc", "rival"]),
        st.sampled_from([SANDBOX_RUNTIME, MODEL_OUTPUT_TOKENS]),
        MOMENTS,
        span_of(120, 1),
    ),
    max_size=12,
)
WINDOWS = st.tuples(MOMENTS, span_of(160, 1) | span_of(400 * 96, 1))
NAMES = ("n0", "n1", "N2", "n\u00e9\uffee", "n\U0001f600")
"""Some sort differently as text of a language, as UTF-16, or without regard to case."""

GROUPS = st.lists(st.sampled_from(GROUPINGS), max_size=3, unique=True).map(sorted).map(tuple)


def used(conn, runs):
    """Record the runs; returns every millisecond range (or moment) and its quantity per ms."""
    truth = []
    for number, (name, workspace, account, dimension, start, length) in enumerate(runs):
        series = Series(
            account_id=account,
            workspace=workspace,
            resource_type=DIMENSIONS[dimension].resource_type,
            resource_name=NAMES[name],
            resource_id=f"id-{number}",
            dimension=dimension,
            provider="openai" if dimension == MODEL_OUTPUT_TOKENS else "",
            model=NAMES[name] if dimension == MODEL_OUTPUT_TOKENS else "",
        )
        if dimension == MODEL_OUTPUT_TOKENS:
            ranges, rate = [(start, start)], length
        else:
            ranges, rate = list(hourly(start, start + length)), 512
        for begin, end in ranges:
            quantity = rate * (end - begin) if end > begin else rate
            event = UsageEvent(
                id=f"{number}/{begin}", series=series, start=begin, end=end, quantity=quantity
            )
            assert record(conn, [event]) == 1
            truth.append((series, begin, end, quantity))
    return truth


def expected(truth, query):
    """Cost and usage per key and bucket, from the pieces themselves."""
    found = defaultdict(lambda: defaultdict(Fraction))
    for series, begin, end, quantity in truth:
        first, last = max(begin, query.start), min(end, query.end)
        if begin == end:
            if not query.start <= begin < query.end:
                continue
        elif last <= first:
            continue
        else:
            quantity = quantity // (end - begin) * (last - first)
        names = {
            "workspace": series.workspace,
            "resource_type": series.resource_type,
            "resource_name": series.resource_name,
            "resource_uuid": series.resource_id,
            "billing_dimension": series.dimension,
        }
        if series.account_id != "acc" or any(names[n] != v for n, v in query.filters.items()):
            continue
        rate = PRICES.rate(series.dimension, series.provider, series.model, moment_of(first).date())
        key = tuple(names[name] for name in query.group_by)
        found[key][bucket_of(query.resolution, first)] += Fraction(quantity * rate, GRAINS)
    return found


def pages(conn, query):
    """Every page, followed by its cursors."""
    answer = account_metrics(conn, Scope(account_id="acc"), query, PRICES, NOW)
    yield answer
    while answer.meta.has_more:
        params = {
            "startTime": [answer.start_time],
            "endTime": [answer.end_time],
            "groupBy": [",".join(query.group_by)],
            "resolution": [query.resolution],
            **{PARAMETER[name]: [value] for name, value in query.filters.items()},
            "cursor": [answer.meta.next_cursor],
        }
        after = parse_query(params, NOW, capped=False).after
        query = msgspec.structs.replace(query, after=after)
        answer = account_metrics(conn, Scope(account_id="acc"), query, PRICES, NOW)
        yield answer
    assert answer.meta.next_cursor == ""


@settings(max_examples=80, deadline=None)
@given(
    runs=RUNS,
    when=WINDOWS,
    group_by=GROUPS,
    resolution=st.sampled_from(["hourly", "daily", "weekly", "monthly"]),
    limit=st.integers(1, 4),
    filters=st.sampled_from([{}, {}, {"resource_name": "n1"}, {"workspace": "main"}]),
)
def test_an_answer_is_the_sum_of_its_parts(fresh, runs, when, group_by, resolution, limit, filters):
    start, length = when
    query = MetricsQuery(
        start=start,
        end=start + (length if resolution != "hourly" else min(length, 48 * HOUR)),
        resolution=resolution,
        group_by=group_by,
        filters=filters,
        limit=limit,
    )
    with fresh() as conn:
        truth = expected(used(conn, runs), query)
        answers = list(pages(conn, query))
    entries = [entry for answer in answers for entry in answer.data]
    keys = [tuple(_field(entry, name) for name in group_by) for entry in entries]
    assert keys == (sorted(truth) if group_by else [()])
    times = [bucket_start(resolution, number) for number in buckets(resolution, start, query.end)]
    whole = sum((cost for by in truth.values() for cost in by.values()), Fraction(0))
    assert {answer.summary.total_cost for answer in answers} == {_shown(whole)}
    for key, entry in zip(keys, entries, strict=True):
        costs = [truth[key].get(bucket_of(resolution, at), Fraction(0)) for at in times]
        shown = [Fraction(repr(point.cost)) for point in entry.timeseries]
        for cost, one in zip(costs, shown, strict=True):
            assert abs(cost - one) <= Fraction(1, 10**12)
        assert sum(shown) == Fraction(repr(entry.summary.cost))
        assert entry.summary.cost == _shown(sum(costs, Fraction(0)))


def _field(entry, name):
    return getattr(entry, name)


def _shown(cost):
    return float(round(cost, 12))


@settings(max_examples=40, deadline=None)
@given(runs=RUNS, when=WINDOWS, cut=st.floats(0, 1), years=st.integers(0, 1))
def test_windows_in_a_row_count_everything_once(fresh, runs, when, cut, years):
    start, length = when
    middle = start + int(length * cut)
    now = NOW + timedelta(days=365 * years)
    with fresh() as conn:
        used(conn, runs)

        def usage(begin, end):
            query = MetricsQuery(
                start=begin, end=end, resolution="monthly", group_by=("billing_dimension",)
            )
            scope = Scope(account_id="acc")
            answer = account_metrics(conn, scope, query, PRICES, now)
            return Decimal(repr(answer.summary.total_usage))

        parts = [
            usage(begin, end)
            for begin, end in ((start, middle), (middle, start + length))
            if begin < end
        ]
        assert abs(sum(parts) - usage(start, start + length)) < Decimal("1e-9")
