"""Files of usage say what the answers say, in CSV and in the columns of FOCUS 1.2."""

import csv
import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.world import ACCOUNT, GB_HOUR, used
from serai.billing.exports import Export, csv_header, csv_rows, windows
from serai.billing.focus import COLUMNS, GROUP_BY, focus_rows
from serai.metering.answer import account_metrics
from serai.metering.dimensions import MODEL_OUTPUT_TOKENS, SANDBOX_RUNTIME
from serai.metering.prices import PriceList
from serai.metering.query import MetricsQuery
from serai.metering.times import DAY, HOUR, millis
from serai.metering.usage import Scope
from serai.metering.windows import RESOLUTIONS
from serai.wire.billing import Account

PRICES = PriceList.of(
    {
        "currency": "EUR",
        "price": [
            {"dimension": SANDBOX_RUNTIME, "per_unit": "0.00002", "from": "2026-05-15"},
            {"dimension": MODEL_OUTPUT_TOKENS, "per_million": "3", "provider": "openai"},
        ],
    }
)
OPENAI = {"provider": "openai"}
SCOPE = Scope(account_id="acc")
MAY = datetime(2026, 5, 1, tzinfo=UTC)
MANDATORY = {
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ContractedCost",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "ServiceCategory",
    "ServiceName",
}
"""The mandatory columns of FOCUS 1.2."""


def query(start=MAY, days=31, resolution="daily", **more):
    window = {"start": millis(start), "end": millis(start + timedelta(days=days))}
    return MetricsQuery(**window, resolution=resolution, **more)


async def pieces(world, asked, header, rows, prices=PRICES):
    file = Export(
        usage=world.usage,
        scope=SCOPE,
        query=asked,
        prices=prices,
        now=world.now,
        header=header,
        rows=rows,
    )
    return [piece async for piece in file.text()]


async def read(world, asked, header=None, rows=csv_rows, prices=PRICES):
    found = await pieces(world, asked, header or csv_header(asked), rows, prices)
    return list(csv.DictReader(io.StringIO("".join(found))))


async def focus(world, asked):
    account = Account(**ACCOUNT, created_at="2026-01-01T00:00:00Z")
    return await read(world, asked, COLUMNS, focus_rows(account))


async def test_a_file_has_every_group_of_every_page(each_world):
    each_world.record(
        [used("2026-05-02T00", 1000 + number, name=f"n{number:03}") for number in range(250)]
    )
    asked = query(group_by=("billing_dimension", "resource_name"), list_price=True)
    found = await pieces(each_world, asked, csv_header(asked), csv_rows)
    assert len(found) == 1 + 3
    rows = list(csv.DictReader(io.StringIO("".join(found))))
    assert [row["resourceName"] for row in rows] == [f"n{number:03}" for number in range(250)]
    assert rows[7] == {
        "startTime": "2026-05-02T00:00:00Z",
        "endTime": "2026-05-03T00:00:00Z",
        "workspace": "main",
        "resourceType": "sandbox",
        "resourceName": "n007",
        "resourceUuid": "",
        "billingDimension": SANDBOX_RUNTIME,
        "usage": "0.000983398438",
        "unit": "gbs",
        "cost": "0.000000011309",
        "currency": "EUR",
        "listCost": "0.000000011309",
    }


@pytest.mark.parametrize("resolution", RESOLUTIONS)
async def test_a_file_has_no_longest_window_and_its_parts_are_the_answer(world, resolution):
    for day in ("2024-02-29", "2024-12-31", "2025-01-01", "2026-05-01", "2026-05-20"):
        world.use(f"{day}T07")
        world.use(f"{day}T08", 7777, dimension=MODEL_OUTPUT_TOKENS, name="m", **OPENAI)
    start = datetime(2024, 1, 3, 1, 30, tzinfo=UTC)
    asked = query(start, 900, resolution, group_by=("billing_dimension",))
    rows = await read(world, asked)
    for dimension in (SANDBOX_RUNTIME, MODEL_OUTPUT_TOKENS):
        mine = [row for row in rows if row["billingDimension"] == dimension]
        answer = await world.usage.read(
            lambda conn, d=dimension: account_metrics(
                conn,
                SCOPE,
                query(start, 900, "monthly", filters={"billing_dimension": d}),
                PRICES,
                world.now,
            )
        )
        cost = sum(Decimal(row["cost"]) for row in mine)
        assert abs(cost - Decimal(repr(answer.summary.total_cost))) <= Decimal("1e-11")
        usage = 5 * (3600 if dimension == SANDBOX_RUNTIME else 7777)
        assert sum(Decimal(row["usage"]) for row in mine) == usage


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_the_parts_of_a_window_meet_at_buckets(resolution):
    asked = query(datetime(2024, 1, 3, 1, 30, tzinfo=UTC), 900, resolution)
    parts = list(windows(asked))
    assert (parts[0][0], parts[-1][1]) == (asked.start, asked.end)
    assert [end for _, end in parts[:-1]] == [start for start, _ in parts[1:]]
    unit = HOUR if resolution == "hourly" else DAY
    assert all(start % unit == 0 for start, _ in parts[1:])
    assert len(parts) > 1 or resolution == "weekly"


async def test_without_groups_and_usage_there_are_only_columns(world):
    assert await read(world, query()) == []
    world.use("2026-05-02T00")
    (row,) = await read(world, query())
    assert (row["usage"], row["unit"], row["workspace"]) == ("", "", "")
    assert row["cost"] == "0.0414"


async def test_focus_has_every_mandatory_column_filled(each_world):
    each_world.use("2026-05-14T23", 2 * GB_HOUR)
    each_world.use("2026-05-15T00", GB_HOUR)
    each_world.use(
        "2026-05-15T01", 2_500_000, name="m", dimension=MODEL_OUTPUT_TOKENS, provider="openai"
    )
    each_world.use("2026-05-16T00", 5, name="d", dimension="custom_domain_active_time_hours")
    rows = await focus(each_world, query(group_by=GROUP_BY))
    assert set(COLUMNS) >= MANDATORY
    assert tuple(rows[0]) == COLUMNS
    for row in rows:
        empty = {name for name, value in row.items() if not value}
        assert empty == {"ChargeClass"}
        assert row["BillingAccountName"] == "'=Acme, Inc."
        costs = {row[name] for name in ("BilledCost", "EffectiveCost", "ListCost")}
        assert costs == {row["ContractedCost"]}
        product = Decimal(row["PricingQuantity"]) * Decimal(row["ListUnitPrice"])
        assert abs(product - Decimal(row["ListCost"])) <= Decimal("1e-12")
    by_sku = {(row["SkuId"], row["ChargePeriodStart"][:10]): row for row in rows}
    model = by_sku[MODEL_OUTPUT_TOKENS, "2026-05-15"]
    assert {name: model[name] for name in ("BilledCost", "ConsumedQuantity", "ConsumedUnit")} == {
        "BilledCost": "7.5",
        "ConsumedQuantity": "2500000",
        "ConsumedUnit": "Tokens",
    }
    assert (model["PricingQuantity"], model["PricingUnit"]) == ("2.5", "1000000 Tokens")
    assert model["SkuPriceId"] == f"{MODEL_OUTPUT_TOKENS}/openai/per_million"
    assert model["ServiceCategory"] == "AI and Machine Learning"
    first, second = (by_sku[SANDBOX_RUNTIME, f"2026-05-{day}"] for day in (14, 15))
    assert (first["BilledCost"], first["x_HostedListCost"]) == ("0.0828", "0.0828")
    assert (second["BilledCost"], second["x_HostedListCost"]) == ("0.072", "0.0414")
    assert first["BillingPeriodStart"] == "2026-05-01T00:00:00Z"
    assert first["BillingPeriodEnd"] == "2026-06-01T00:00:00Z"
    assert first["ChargePeriodEnd"] == "2026-05-15T00:00:00Z"
    assert (first["SubAccountId"], first["ResourceId"]) == ("main", "id-box")


async def test_focus_splits_a_month_where_the_price_changes(each_world):
    each_world.use("2026-05-14T23", GB_HOUR)
    each_world.use("2026-05-15T00", GB_HOUR)
    rows = await focus(each_world, query(resolution="monthly", group_by=GROUP_BY))
    assert [(row["ListUnitPrice"], row["BilledCost"]) for row in rows] == [
        ("0.0000115", "0.0414"),
        ("0.00002", "0.072"),
    ]
