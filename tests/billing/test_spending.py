"""Budgets that refuse calls of models: what counts, when they refuse, and that nothing is lost."""

import asyncio
import random
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest

from billing.test_budgets import budget, keep
from billing.world import World
from serai.billing import budget_records as records
from serai.billing.budgets import bounds, check
from serai.billing.spending import Spending
from serai.kernel.errors import BadRequest
from serai.metering.models import ModelCall, UsageBuffer
from serai.metering.money import GRAINS
from serai.metering.prices import PriceList
from serai.wire import billing as wire

PRICES = PriceList.of(
    {
        "price": [
            {"dimension": "model_input_tokens_count", "per_million": "1"},
            {"dimension": "model_output_tokens_count", "per_million": "10"},
            {"dimension": "model_output_tokens_count", "per_million": "20", "model": "dear"},
        ]
    }
)
"""A call of ``call`` costs 0.01 + 0.01 = 0.02, of the model ``dear`` 0.03."""


def call(world: World, **fields) -> ModelCall:
    given = {
        "account_id": "acc",
        "workspace": "main",
        "resource_id": "id-llm",
        "model_name": "llm",
        "request_id": "r",
        "started": world.now.timestamp(),
        "input_tokens": 10_000,
        "output_tokens": 1000,
        "total_tokens": 11_000,
        "counted": True,
        "status": 200,
        "credential_id": "k1",
    }
    return ModelCall(**given | fields)


class Calls:
    """Calls as the gateway makes them: refused or counted."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.buffer = UsageBuffer()
        context = world.context(PRICES)
        self.spending = Spending(context, world.usage, self.buffer, world.clock)

    async def begin(self) -> "Calls":
        await self.spending.reload()
        return self

    def refusal(self, made: ModelCall):
        if not self.spending.refusing:
            return None
        return self.spending.refusal(
            made.account_id, made.workspace, made.model_name, made.labels, made.credential_id
        )

    def make(self, **fields) -> bool:
        made = call(self.world, **fields)
        if self.refusal(made) is not None:
            return False
        self.buffer.add(made)
        if self.spending.watched:
            self.spending.note(made)
        return True


def refusing(amount: str, name: str = "cap", per: str = "month", **filters):
    made = budget(name, amount, (), "", **filters)
    return msgspec.structs.replace(made, action="refuse", per=per)


async def test_the_call_that_crosses_passes_and_the_next_is_refused(world: World) -> None:
    await keep(world, refusing("0.05"))
    calls = await Calls(world).begin()
    assert [calls.make() for _ in range(5)] == [True, True, True, False, False]
    refusal = calls.refusal(call(world))
    assert (refusal.status, refusal.code) == (429, "USAGE_LIMIT_EXCEEDED")
    assert refusal.details == {
        "budget": "cap",
        "limit": "0.05",
        "spent": "0.06",
        "currency": "USD",
        "per": "month",
        "resetAt": "2026-06-01T00:00:00Z",
    }
    assert int(refusal.headers["Retry-After"]) == 11 * 86400 + 12 * 3600 + 1


async def test_a_crash_forgets_no_more_than_what_was_not_written(world: World) -> None:
    await keep(world, refusing("0.05"))
    calls = await Calls(world).begin()
    assert calls.make()
    assert calls.make()
    await calls.buffer.save(world.usage)
    assert calls.make()
    again = await Calls(world).begin()
    assert [one.spent for one in again.spending.watched] == [GRAINS // 25]
    assert [again.make() for _ in range(2)] == [True, False]


@pytest.mark.parametrize(
    ("filters", "makes"),
    [
        ({"workspace": "main"}, {"workspace": "other", "resource_id": "id-2"}),
        ({"resourceName": "llm"}, {"model_name": "dear", "resource_id": "id-dear"}),
        ({"apiKey": "k1"}, {"credential_id": "k2"}),
        ({"label": "team=red"}, {"labels": '{"team":"blue"}', "resource_id": "id-2"}),
        ({"label": "team=red", "apiKey": "k1"}, {"credential_id": "k2"}),
        ({}, {"account_id": "foreign", "resource_id": "id-2"}),
    ],
)
async def test_a_budget_is_about_what_it_names(world: World, filters, makes) -> None:
    await keep(world, refusing("0.03", **filters))
    calls = await Calls(world).begin()
    mine = {"labels": '{"team":"red"}'}
    for _ in range(3):
        assert calls.make(**(mine | makes))
    assert [calls.make(**mine) for _ in range(3)] == [True, True, False]
    assert calls.make(**(mine | makes))
    await calls.buffer.save(world.usage)
    after = await Calls(world).begin()
    assert [one.spent for one in after.spending.watched] == [GRAINS * 4 // 100]
    assert (after.make(**mine), after.make(**(mine | makes))) == (False, True)


def steps(work) -> int:
    """How many functions are called on the way."""
    count = 0

    def note(frame, event, arg) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


async def test_budgets_of_others_cost_a_call_nothing(world: World) -> None:
    """Neither where they are of other accounts, nor where they are about other workspaces."""
    mine = [refusing("0.03"), refusing("9", "here", workspace="main")]
    others = [refusing("0.01", f"w{number}", workspace=f"w{number}") for number in range(30)]
    others += [
        msgspec.structs.replace(refusing("0", f"foreign-{number}"), account_id=f"acc-{number}")
        for number in range(30)
    ]
    alone = await looked_at(world, mine)
    assert await looked_at(world, others) == alone


async def looked_at(world: World, more: list) -> list[int]:
    """Steps of a call beside these budgets: of counting it, of refusing it, of letting one pass."""
    for one in more:
        await keep(world, one)
    calls, made = await Calls(world).begin(), call(world)
    calls.spending.note(made)
    calls.spending.note(made)
    assert calls.refusal(made).details["budget"] == "cap"
    quiet = call(world, workspace="quiet")
    works = [
        lambda: calls.spending.note(made),
        lambda: calls.refusal(made),
        lambda: calls.refusal(quiet),
    ]
    return [steps(work) for work in works]


async def test_the_first_of_several_periods_that_ends_is_noticed(world: World) -> None:
    await keep(world, refusing("0.02", "later", per="month", workspace="main"))
    await keep(world, refusing("0.02", "sooner", per="day", workspace="other"))
    calls = await Calls(world).begin()
    assert calls.make()
    assert calls.make(workspace="other", resource_id="id-2")
    assert not calls.make()
    assert not calls.make(workspace="other", resource_id="id-2")
    world.now += timedelta(days=1)
    assert not calls.make()
    assert calls.make(workspace="other", resource_id="id-2")
    world.now += timedelta(days=30)
    assert calls.make()
    assert calls.make(workspace="other", resource_id="id-2")
    assert not calls.make()


async def test_a_dimension_counts_alone(world: World) -> None:
    await keep(world, refusing("0.02", billingDimension="model_output_tokens_count"))
    calls = await Calls(world).begin()
    assert [calls.make() for _ in range(3)] == [True, True, False]


async def test_a_day_ends_and_the_next_begins_at_nothing(world: World) -> None:
    await keep(world, refusing("0.02", per="day", apiKey="k1"))
    calls = await Calls(world).begin()
    assert [calls.make() for _ in range(2)] == [True, False]
    assert calls.refusal(call(world)).details["resetAt"] == "2026-05-21T00:00:00Z"
    world.now += timedelta(hours=12)
    assert [calls.make() for _ in range(2)] == [True, False]
    await calls.buffer.save(world.usage)
    await calls.spending.reload()
    assert [one.spent for one in calls.spending.watched] == [GRAINS // 50]


async def test_a_late_end_of_a_call_of_yesterday_does_not_count_today(world: World) -> None:
    await keep(world, refusing("0.02", per="day"))
    calls = await Calls(world).begin()
    assert calls.make(started=(world.now - timedelta(days=1)).timestamp())
    assert calls.make()
    assert not calls.make()


async def test_reading_anew_among_calls_loses_and_doubles_nothing(each_world: World) -> None:
    world = each_world
    await keep(world, refusing("1000"))
    calls = await Calls(world).begin()
    saves = asyncio.create_task(calls.buffer.run(world.usage))

    async def work() -> None:
        for _ in range(50):
            assert calls.make(credential_id=f"k{random.randint(0, 3)}")
            await asyncio.sleep(random.random() / 200)

    async def read_anew() -> None:
        for _ in range(12):
            await calls.spending.reload()

    await asyncio.gather(work(), work(), read_anew())
    saves.cancel()
    await asyncio.gather(saves, return_exceptions=True)
    assert [one.spent for one in calls.spending.watched] == [100 * GRAINS // 50]
    await calls.spending.reload()
    assert [one.spent for one in calls.spending.watched] == [100 * GRAINS // 50]


async def test_what_cannot_be_written_counts_once_it_can(world: World) -> None:
    await keep(world, refusing("1000", label="team=red"))
    calls = await Calls(world).begin()
    rename = "ALTER TABLE usage_caller_hours RENAME TO {}"
    await world.usage.write(lambda c: c.exec_driver_sql(rename.format("broken")))
    calls.make(labels='{"team":"red"}')
    with pytest.raises(Exception, match="no such table"):
        await calls.spending.reload()
    back = "ALTER TABLE broken RENAME TO usage_caller_hours"
    await world.usage.write(lambda c: c.exec_driver_sql(back))
    calls.make(labels='{"team":"red"}')
    await calls.spending.reload()
    assert [one.spent for one in calls.spending.watched] == [GRAINS * 2 // 50]


async def test_a_budget_that_only_notifies_refuses_nothing(world: World) -> None:
    await keep(world, budget("soft", "0.001"))
    calls = await Calls(world).begin()
    assert not calls.spending.watched
    assert all(calls.make() for _ in range(5))


async def test_a_deleted_or_raised_budget_lets_calls_pass_again(world: World) -> None:
    small = refusing("0.02")
    await keep(world, small)
    calls = await Calls(world).begin()
    assert [calls.make() for _ in range(2)] == [True, False]
    raised = msgspec.structs.replace(small, amount=Decimal("0.03"))
    await world.db.write(lambda c: records.change_budget(c, raised, None, world.vault))
    await calls.spending.reload()
    assert [calls.make() for _ in range(2)] == [True, False]
    await world.db.write(lambda c: records.drop_budget(c, raised))
    await calls.spending.reload()
    assert calls.make()


def test_periods_are_days_and_months() -> None:
    day = bounds("2026-05-20")
    assert day[1] - day[0] == 86_400_000
    assert datetime.fromtimestamp(bounds("2026-05")[1] / 1000, UTC).isoformat()[:10] == "2026-06-01"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "webhookUrl is missing"),
        ({"action": "refuse", "thresholds": [{"percent": 50}]}, "webhookUrl is missing"),
        ({"action": "refuse", "resourceType": "sandbox"}, "resourceType must be model"),
        (
            {"action": "refuse", "billingDimension": "volume_storage_gbs"},
            "billingDimension must be one of model_",
        ),
        ({"action": "refuse", "label": "team"}, "NAME=VALUE"),
        ({"action": "refuse", "label": "=red"}, "NAME=VALUE"),
        ({"webhookUrl": "http://x.example/", "label": "team=red"}, "1 to 20 entries"),
    ],
)
def test_a_budget_without_sense_is_refused(fields: dict, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        check(msgspec.convert({"name": "b", "amount": "1"} | fields, wire.Budget))
