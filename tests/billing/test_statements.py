"""Statements: closed once, exact, and never changed by anything that comes later."""

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.world import GB_HOUR, World, used
from serai.billing.closing import Closing
from serai.billing.price_records import replace_prices
from serai.billing.statement_records import find_statements, need_statement
from serai.kernel.errors import Conflict, NotFound
from serai.metering.dimensions import MODEL_OUTPUT_TOKENS, SANDBOX_RUNTIME
from serai.metering.prices import Price, PriceList
from serai.store.tables import metadata

HOUR_COST = Decimal("0.0000115") * 3600
MAY_CLOSES = datetime(2026, 6, 4, tzinfo=UTC)


def priced(*prices: dict[str, str], currency: str = "USD") -> PriceList:
    return PriceList.of({"price": list(prices), "currency": currency})


async def closed(world: World, month: str, prices: PriceList | None = None) -> None:
    await Closing(world.context(prices), world.clock).close("acc", month, "u-1")


async def statement(world: World, month: str):
    return await world.db.read(lambda conn: need_statement(conn, "acc", month))


async def months(world: World) -> list[str]:
    return [one.month for one in await world.db.read(lambda c: find_statements(c, "acc"))]


async def test_a_month_is_closed_with_a_line_per_workspace_dimension_and_price(each_world):
    each_world.use("2026-04-30T23")
    each_world.use("2026-05-01T00", name="a")
    each_world.use("2026-05-31T23", name="b")
    each_world.use("2026-05-09T10", workspace="second")
    each_world.use("2026-05-10T10", 500, name="m", dimension=MODEL_OUTPUT_TOKENS, provider="openai")
    each_world.use("2026-06-01T00")
    prices = priced(
        {"dimension": SANDBOX_RUNTIME, "per_unit": "0.01", "from": "2026-05-15"},
        {"dimension": MODEL_OUTPUT_TOKENS, "per_million": "2", "provider": "openai"},
    )
    each_world.now = MAY_CLOSES
    await closed(each_world, "2026-05", prices)
    may = await statement(each_world, "2026-05")
    shown = [
        (line.kind, line.workspace, line.billing_dimension, line.since, line.usage, line.cost)
        for line in may.lines
    ]
    assert shown == [
        ("usage", "main", MODEL_OUTPUT_TOKENS, "2026-05-01", 500, Decimal("0.001")),
        ("usage", "main", SANDBOX_RUNTIME, "2026-05-01", 3600, HOUR_COST),
        ("usage", "main", SANDBOX_RUNTIME, "2026-05-15", 3600, 36),
        ("usage", "second", SANDBOX_RUNTIME, "2026-05-01", 3600, HOUR_COST),
    ]
    assert may.total == sum(line.cost for line in may.lines)
    assert (may.closed_by, may.currency) == ("u-1", "USD")
    assert [(line.price, line.per) for line in may.lines][:2] == [
        (2, "million"),
        (Decimal("0.0000115"), "unit"),
    ]


async def test_nothing_changes_a_closed_month_and_late_usage_is_in_the_next_one(each_world):
    each_world.use("2026-05-01T00")
    each_world.now = MAY_CLOSES
    await closed(each_world, "2026-05")
    before = await statement(each_world, "2026-05")
    each_world.use("2026-05-20T00", 2 * GB_HOUR, name="late")
    each_world.use("2026-05-21T00", name="new", workspace="second")
    each_world.use("2026-06-05T00")
    dearer = [Price(dimension=SANDBOX_RUNTIME, per_unit=Decimal(1))]
    await each_world.db.write(
        lambda c: replace_prices(c, "acc", dearer, "USD", "u", each_world.now)
    )
    await closed(each_world, "2026-05")
    assert await statement(each_world, "2026-05") == before
    each_world.now = datetime(2026, 7, 5, tzinfo=UTC)
    await closed(each_world, "2026-06")
    june = await statement(each_world, "2026-06")
    assert [(one.kind, one.period, one.workspace, one.usage, one.cost) for one in june.lines] == [
        ("adjustment", "2026-05", "main", 7200, 2 * HOUR_COST),
        ("adjustment", "2026-05", "second", 3600, HOUR_COST),
        ("usage", "2026-06", "main", 3600, 3600),
    ]
    each_world.use("2026-05-22T00", name="later")
    each_world.now = datetime(2026, 8, 5, tzinfo=UTC)
    await closed(each_world, "2026-07")
    (line,) = (await statement(each_world, "2026-07")).lines
    assert (line.period, line.usage, line.cost) == ("2026-05", 3600, HOUR_COST)
    assert await statement(each_world, "2026-05") == before


async def test_an_adjustment_after_a_change_of_currency_is_in_the_new_one(world):
    world.use("2026-05-01T00")
    world.now = MAY_CLOSES
    await closed(world, "2026-05")
    world.use("2026-05-02T00", name="late")
    world.now = datetime(2026, 7, 5, tzinfo=UTC)
    per_hour = {"dimension": SANDBOX_RUNTIME, "per_unit": "0.5"}
    await closed(world, "2026-06", priced(per_hour, currency="EUR"))
    june = await statement(world, "2026-06")
    assert (june.currency, june.total) == ("EUR", 1800)


async def test_months_close_by_themselves_after_the_grace_in_order(world):
    world.use("2026-02-01T00")
    closing = Closing(world.context(), world.clock)
    world.now = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(days=3, seconds=-1)
    assert await closing.close_due() == 1
    assert await months(world) == ["2026-01"]
    world.now += timedelta(seconds=1)
    assert await closing.close_due() == 1
    assert await closing.close_due() == 0
    assert await months(world) == ["2026-02", "2026-01"]
    assert (await statement(world, "2026-02")).total == HOUR_COST
    world.now = MAY_CLOSES - timedelta(days=3)
    await closed(world, "2026-05")
    assert await months(world) == ["2026-05", "2026-04", "2026-03", "2026-02", "2026-01"]


@pytest.mark.parametrize(("month", "code"), [("2026-05", "MONTH_OPEN"), ("2025-12", "MONTH_BEFO")])
async def test_what_has_not_ended_or_not_begun_cannot_be_closed(world, month, code):
    with pytest.raises(Conflict) as refused:
        await closed(world, month)
    assert refused.value.code.startswith(code)
    with pytest.raises(NotFound):
        await statement(world, month)


AMOUNTS = st.lists(
    st.tuples(st.integers(1, 9), st.integers(1, 28), st.integers(1, GB_HOUR)), max_size=8
)


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rounds=st.lists(AMOUNTS, min_size=1, max_size=3))
async def test_statements_bill_everything_once_whenever_it_comes(tmp_path_factory, rounds):
    """Usage of January to September, told in any order, closed whenever: all of it, once."""
    world = World(tmp_path_factory.mktemp("world")).open()
    try:
        whole = 0
        for turn, amounts in enumerate(rounds):
            world.record(
                [
                    used(f"2026-0{month}-{day:02}T05", quantity, name=f"n{turn}-{number}")
                    for number, (month, day, quantity) in enumerate(amounts)
                ]
            )
            whole += sum(quantity for _, _, quantity in amounts)
            world.now = datetime(2026, 10 if turn + 1 == len(rounds) else 4 + turn, 2, tzinfo=UTC)
            await closed(world, f"2026-{world.now.month - 1:02}")
        world.now = datetime(2026, 11, 2, tzinfo=UTC)
        await closed(world, "2026-10")
        all_months = [await statement(world, month) for month in await months(world)]
    finally:
        world.close()
    lines = [line for one in all_months for line in one.lines]
    usage = sum((Fraction(line.usage) for line in lines), Fraction(0))
    assert abs(usage - Fraction(whole, GB_HOUR // 3600)) <= Fraction(len(lines), 10**12)
    billed = sum((Fraction(one.total) for one in all_months), Fraction(0))
    exact = Fraction("0.0000115") * whole / (GB_HOUR // 3600)
    assert abs(billed - exact) <= Fraction(len(lines), 10**12)


CRASHING = """
import asyncio, os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from billing.world import World
from serai.billing.closing import Closing
from serai.store import database

world = World(Path(sys.argv[1])).open()
world.now = datetime(2026, 6, 4, tzinfo=UTC)

def arm(conn):
    driver = conn.connection.driver_connection
    driver.create_function("die", 0, lambda: os.kill(os.getpid(), signal.SIGKILL))
    conn.exec_driver_sql(
        "CREATE TEMP TRIGGER crash AFTER INSERT ON statement_lines "
        "WHEN NEW.month = '2026-05' AND NEW.number = 3 BEGIN SELECT die(); END"
    )

async def main():
    await world.db.write(arm)
    await Closing(world.context(), world.clock).close("acc", "2026-05", "u")

asyncio.run(main())
"""


async def test_a_kill_between_lines_leaves_nothing_half_closed(tmp_path):
    world = World(tmp_path).open()
    for number in range(5):
        world.use("2026-05-01T00", name=f"n{number}", workspace=f"w{number}")
    world.close()
    paths = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    died = subprocess.run(
        [sys.executable, "-c", CRASHING, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": paths},
        timeout=60,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL
    world = World(tmp_path).open()
    try:
        world.now = MAY_CLOSES
        assert await months(world) == ["2026-04", "2026-03", "2026-02", "2026-01"]
        await closed(world, "2026-05")
        found = await statement(world, "2026-05")
    finally:
        world.close()
    assert len(found.lines) == 5
    assert found.total == 5 * HOUR_COST


async def test_the_migration_makes_the_declared_tables(world):
    names = ("price_lists", "prices", "budgets", "budget_alerts", "statements", "statement_lines")

    def differences(conn):
        found = compare_metadata(MigrationContext.configure(conn), metadata)
        return [each for each in found if any(f"'{name}'" in repr(each) for name in names)]

    assert await world.db.read(differences) == []
