"""Billing's housekeeping goes on whatever fails in one turn."""

import asyncio
from datetime import UTC, datetime

import pytest

from billing.test_budgets import budget, keep, watch
from billing.world import GB_HOUR, World
from receiver import receiver
from serai.billing.closing import Closing
from serai.billing.keeper import BillingKeeper
from serai.billing.spending import Spending
from serai.billing.statement_records import closed_months
from serai.metering.models import UsageBuffer


async def renamed(world: World, before: str, after: str) -> None:
    rename = f"ALTER TABLE {before} RENAME TO {after}"
    await world.db.write(lambda conn: conn.exec_driver_sql(rename))


async def test_turns_go_on_when_one_fails_and_at_once_when_woken(world):
    world.use("2026-05-02T00", 5 * GB_HOUR)
    world.now = datetime(2026, 5, 20, tzinfo=UTC)
    await renamed(world, "budget_alerts", "broken")
    spending = Spending(world.context(), world.usage, UsageBuffer(), world.clock)
    closing = Closing(world.context(), world.clock)
    keeper = BillingKeeper(watch(world), closing, spending, world.clock)
    task = asyncio.create_task(keeper.run())
    try:
        with receiver() as hook:
            await keep(world, budget(url=hook.url))
            keeper.wake()
            while len(await world.db.read(lambda conn: closed_months(conn, "acc"))) < 4:
                await asyncio.sleep(0.01)
            assert not hook.received
            await renamed(world, "broken", "budget_alerts")
            keeper.wake()
            assert await asyncio.to_thread(hook.arrived.wait, 20)
        assert not task.done()
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
