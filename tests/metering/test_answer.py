"""The billing answer equals what adding up single pieces of usage by hand gives."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serai.identity.principal import Principal
from serai.kernel.errors import BadRequest, Forbidden
from serai.metering import operations
from serai.metering.answer import account_metrics
from serai.metering.dimensions import DIMENSIONS, MODEL_OUTPUT_TOKENS, SANDBOX_RUNTIME
from serai.metering.events import Series, UsageEvent
from serai.metering.models import ModelCall, UsageBuffer
from serai.metering.prices import PriceList
from serai.metering.query import GROUPINGS, MetricsQuery, parse_query
from serai.metering.records import record
from serai.metering.spans import SpanMeter
from serai.metering.times import HOUR, hourly, millis, moment_of
from serai.metering.usage import Scope
from serai.metering.windows import bucket_of, bucket_start, buckets
from serai.store.tables import identity

NOW = datetime(2026, 4, 28, 12, 30, 5, tzinfo=UTC)
METER = SpanMeter()
PRICES = PriceList.of(
    {
        "price": [
            {"dimension": SANDBOX_RUNTIME, "per_unit": "0.0001", "from": "2026-04-25"},
            {"dimension": MODEL_OUTPUT_TOKENS, "per_million": "2", "provider": "openai"},
            {"dimension": MODEL_OUTPUT_TOKENS, "per_million": "7", "model": "m1"},
        ]
    }
)


def principal(account="acc", admin=True, workspaces=("main",)):
    return Principal(
        subject="u",
        email="u@example.org",
        account_id=account,
        account_admin=admin,
        workspaces=dict.fromkeys(workspaces, "member"),
        credential_id="k",
    )


def opened(conn, name="box", workspace="main", account="acc", at=NOW, memory=1024):
    METER.open(
        conn,
        resource_id=f"id-{account}-{name}",
        account_id=account,
        workspace=workspace,
        name=name,
        memory_mb=memory,
        at=at,
    )


def window(start=NOW - timedelta(hours=1), end=NOW + timedelta(hours=1), **more):
    times = {"startTime": [start.isoformat()], "endTime": [end.isoformat()]}
    return {**times, **{name: [str(value)] for name, value in more.items()}}


async def asked(db, now=NOW, caller=None, prices=None, account="acc", **params):
    caller = caller or principal()
    given = window(**params)
    answer = await db.read(
        lambda conn: operations.get_account_metrics(
            conn, caller, account, given, prices or PriceList(), now
        )
    )
    return msgspec.json.decode(msgspec.json.encode(answer))


async def test_a_sandbox_that_just_ran_three_seconds_is_in_the_answer(db):
    await db.write(opened)
    answer = await asked(db, NOW + timedelta(seconds=3))
    assert answer["summary"] == {"totalCost": 0.00003}
    await db.write(lambda conn: METER.close(conn, "id-acc-box", NOW + timedelta(seconds=3)))
    assert await asked(db, NOW + timedelta(seconds=3)) == answer
    assert [point["cost"] for point in answer["data"][0]["timeseries"]] == [0.0, 0.00003, 0.0]


async def test_the_shape_of_an_answer(db):
    await db.write(opened)
    answer = await asked(
        db,
        NOW + timedelta(seconds=2),
        start=datetime(2026, 4, 28, 12, tzinfo=UTC),
        end=datetime(2026, 4, 28, 14, tzinfo=UTC),
        groupBy="billing_dimension,resource_uuid",
    )
    assert answer == {
        "startTime": "2026-04-28T12:00:00Z",
        "endTime": "2026-04-28T14:00:00Z",
        "resolution": "hourly",
        "summary": {"totalCost": 0.00002, "totalUsage": 2.0},
        "data": [
            {
                "workspace": "main",
                "resourceType": "sandbox",
                "resourceName": "box",
                "resourceUuid": "id-acc-box",
                "billingDimension": SANDBOX_RUNTIME,
                "summary": {"cost": 0.00002, "usage": 2.0},
                "timeseries": [
                    {"timestamp": "2026-04-28T12:00:00Z", "cost": 0.00002, "usage": 2.0},
                    {"timestamp": "2026-04-28T13:00:00Z", "cost": 0.0, "usage": 0.0},
                ],
            }
        ],
        "meta": {"hasMore": False, "nextCursor": ""},
    }


async def test_nothing_used_is_one_entry_of_zeros_or_no_group(db):
    answer = await asked(db)
    assert answer["summary"] == {"totalCost": 0.0}
    assert [point["cost"] for point in answer["data"][0]["timeseries"]] == [0.0, 0.0, 0.0]
    assert (await asked(db, groupBy="resource_type"))["data"] == []


async def test_a_name_in_two_workspaces_is_one_group_without_a_workspace(db):
    await db.write(lambda conn: opened(conn, "box"))
    await db.write(
        lambda conn: METER.open(
            conn,
            resource_id="other",
            account_id="acc",
            workspace="second",
            name="box",
            memory_mb=1024,
            at=NOW,
        )
    )
    now = NOW + timedelta(seconds=1)
    (entry,) = (await asked(db, now, groupBy="resource_name"))["data"]
    assert entry["resourceName"] == "box"
    assert entry["resourceType"] == "sandbox"
    assert "workspace" not in entry
    assert entry["summary"]["cost"] == 0.00002
    entries = (await asked(db, now, groupBy="workspace"))["data"]
    assert [entry["workspace"] for entry in entries] == ["main", "second"]


async def test_other_accounts_are_neither_answered_nor_counted(db):
    for account in ("acc", "rival"):
        await db.write(lambda conn, a=account: opened(conn, account=a))
        await db.write(lambda conn: METER.tick(conn, NOW + timedelta(seconds=2)))
    now = NOW + timedelta(seconds=3)
    for grouping in ("", *GROUPINGS):
        answer = await asked(db, now, groupBy=grouping)
        assert answer["summary"]["totalCost"] == 0.00003
        assert "rival" not in str(answer)
    assert (await asked(db, now, resourceUuid="id-rival-box"))["summary"]["totalCost"] == 0
    with pytest.raises(Forbidden):
        await asked(db, now, account="rival")


async def test_members_see_their_workspaces_and_may_not_split_by_workspace(db):
    await db.write(lambda conn: opened(conn, "a", "main"))
    await db.write(lambda conn: opened(conn, "b", "second"))
    await db.write(lambda conn: METER.tick(conn, NOW + timedelta(seconds=1)))
    member = principal(admin=False)
    now = NOW + timedelta(seconds=2)
    assert (await asked(db, now))["summary"]["totalCost"] == 0.00004
    assert (await asked(db, now, caller=member))["summary"]["totalCost"] == 0.00002
    assert (await asked(db, now, workspace="second"))["summary"]["totalCost"] == 0.00002
    for params in ({"workspace": "main"}, {"groupBy": "resource_type,workspace"}):
        with pytest.raises(Forbidden, match="Access denied"):
            await asked(db, now, caller=member, **params)


async def test_model_usage_is_priced_by_provider_and_model(db):
    buffer = UsageBuffer()
    for name, provider in (("m1", "openai"), ("m2", "openai"), ("m3", "local")):
        buffer.add(
            ModelCall(
                account_id="acc",
                workspace="main",
                resource_id=f"id-{name}",
                model_name=name,
                request_id="r",
                started=NOW.timestamp() - 60,
                input_tokens=5,
                output_tokens=1_000_000,
                total_tokens=1_000_005,
                counted=True,
                status=200,
                provider=provider,
            )
        )
    await buffer.save(db)
    answer = await asked(db, prices=PRICES, groupBy="resource_name")
    costs = {entry["resourceName"]: entry["summary"]["cost"] for entry in answer["data"]}
    assert costs == {"m1": 7.0, "m2": 2.0, "m3": 0.0}
    assert (await asked(db, prices=PRICES))["summary"]["totalCost"] == 9.0


async def test_the_values_of_parameters_can_be_asked_for(db):
    await db.write(opened)
    await db.write(lambda conn: conn.execute(identity.accounts.insert(), [ACCOUNT, RIVAL]))

    def values(conn, **params):
        now = NOW + timedelta(seconds=1)
        return operations.list_resource_types(
            conn, principal(), "acc", window(**params), now
        ).values

    assert await db.read(values) == ["sandbox"]
    assert await db.read(lambda conn: values(conn, end=NOW)) == []
    assert operations.list_groupings(principal(), "acc").values == list(GROUPINGS)
    with pytest.raises(Forbidden):
        operations.list_groupings(principal(), "rival")
    with pytest.raises(BadRequest, match="endTime"):
        await db.read(
            lambda conn: operations.list_resource_types(
                conn, principal(), "acc", {"startTime": ["2026-05-01T00:00:00Z"]}, NOW
            )
        )
    found = await db.read(lambda conn: operations.list_accounts(conn, principal()))
    assert [account.id for account in found] == ["acc"]


ACCOUNT = {
    "id": "acc",
    "name": "Acme",
    "currency": "USD",
    "created_at": "2026-01-01T00:00:00.000Z",
}
RIVAL = {**ACCOUNT, "id": "rival"}


async def test_another_currency_is_told(db):
    assert "currency" not in await asked(db)
    assert (await asked(db, prices=PriceList.of({"currency": "EUR"})))["currency"] == "EUR"


MOMENTS = st.integers(millis(NOW) - 7 * 24 * HOUR, millis(NOW))
RUNS = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.sampled_from(["main", "second"]),
        st.sampled_from(["acc", "acc", "rival"]),
        st.sampled_from([SANDBOX_RUNTIME, MODEL_OUTPUT_TOKENS]),
        MOMENTS,
        st.integers(1, 30 * HOUR),
    ),
    max_size=12,
)
WINDOWS = st.tuples(MOMENTS, st.integers(1, 40 * HOUR) | st.integers(1, 400 * 24 * HOUR))
GROUPS = st.lists(st.sampled_from(GROUPINGS), max_size=3, unique=True).map(sorted).map(tuple)


def used(conn, runs):
    """Record the runs; returns every millisecond range (or moment) and its quantity per ms."""
    truth = []
    for number, (name, workspace, account, dimension, start, length) in enumerate(runs):
        series = Series(
            account_id=account,
            workspace=workspace,
            resource_type=DIMENSIONS[dimension].resource_type,
            resource_name=f"n{name}",
            resource_id=f"id-{number}",
            dimension=dimension,
            provider="openai" if dimension == MODEL_OUTPUT_TOKENS else "",
            model=f"n{name}" if dimension == MODEL_OUTPUT_TOKENS else "",
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
    found = defaultdict(lambda: defaultdict(Decimal))
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
        found[key][bucket_of(query.resolution, first)] += quantity * rate
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
            "cursor": [answer.meta.next_cursor],
        }
        after = parse_query(params, NOW).after
        query = msgspec.structs.replace(query, after=after)
        answer = account_metrics(conn, Scope(account_id="acc"), query, PRICES, NOW)
        yield answer
    assert answer.meta.next_cursor == ""


@settings(max_examples=120, deadline=None)
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
        end=start + (length if resolution != "hourly" else min(length, 40 * HOUR)),
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
    whole = sum((cost for by in truth.values() for cost in by.values()), Decimal(0))
    assert {answer.summary.total_cost for answer in answers} == {_shown(whole)}
    for key, entry in zip(keys, entries, strict=True):
        costs = [truth[key].get(bucket_of(resolution, at), Decimal(0)) for at in times]
        assert [point.cost for point in entry.timeseries] == list(map(_shown, costs))
        assert entry.summary.cost == _shown(sum(costs, Decimal(0)))


def _field(entry, name):
    return getattr(entry, name)


def _shown(cost):
    return float(round(cost, 12))


@settings(max_examples=60, deadline=None)
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
