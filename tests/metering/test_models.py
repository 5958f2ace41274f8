"""Model calls arrive in the sums exactly once, also when the database fails for a while."""

import asyncio

import pytest
from sqlalchemy import func, select

from serai.kernel.errors import ServiceUnavailable
from serai.metering.dimensions import MODEL_INPUT_TOKENS, MODEL_OUTPUT_TOKENS, MODEL_REQUESTS
from serai.metering.models import ModelCall, UsageBuffer
from serai.store.tables.usage import usage_events, usage_hours, usage_series

NOW = 1_777_000_000.25


def call(**change):
    fields = {
        "account_id": "acc",
        "workspace": "main",
        "resource_id": "id-m",
        "model_name": "gpt",
        "request_id": "r1",
        "started": NOW,
        "input_tokens": 10,
        "output_tokens": 3,
        "total_tokens": 13,
        "counted": True,
        "status": 200,
    }
    return ModelCall(**{**fields, **change})


def used(conn):
    query = (
        select(usage_series.c.dimension, func.sum(usage_hours.c.quantity))
        .join(usage_hours, usage_hours.c.series_id == usage_series.c.id)
        .where(usage_series.c.total.is_(False))
        .group_by(usage_series.c.dimension)
    )
    return dict(tuple(row) for row in conn.execute(query))


async def test_calls_of_a_second_become_one_event_per_dimension(db):
    buffer = UsageBuffer()
    for _ in range(1000):
        buffer.add(call())
    assert await buffer.save(db) == 3
    assert await buffer.save(db) == 0
    assert await db.read(used) == {
        MODEL_INPUT_TOKENS: 10_000,
        MODEL_OUTPUT_TOKENS: 3_000,
        MODEL_REQUESTS: 1_000,
    }


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"counted": False}, {MODEL_REQUESTS: 1}),
        ({"status": 500, "counted": False}, {}),
        ({"status": 500}, {MODEL_INPUT_TOKENS: 10, MODEL_OUTPUT_TOKENS: 3}),
        (
            {"total_tokens": 20},
            {MODEL_INPUT_TOKENS: 10, MODEL_OUTPUT_TOKENS: 10, MODEL_REQUESTS: 1},
        ),
        ({"output_tokens": 0, "total_tokens": 10}, {MODEL_INPUT_TOKENS: 10, MODEL_REQUESTS: 1}),
        ({"input_tokens": -5, "output_tokens": -5, "total_tokens": -9}, {MODEL_REQUESTS: 1}),
    ],
)
async def test_what_a_call_counts(db, change, expected):
    buffer = UsageBuffer()
    buffer.add(call(**change))
    await buffer.save(db)
    assert await db.read(used) == expected


async def test_calls_of_the_same_second_in_two_flushes_both_count(db):
    buffer = UsageBuffer()
    for _ in range(2):
        buffer.add(call())
        await buffer.save(db)
    assert (await db.read(used))[MODEL_REQUESTS] == 2
    assert await db.read(lambda c: c.execute(select(func.count(usage_events.c.id))).scalar()) == 6


async def test_the_background_task_saves_and_saves_once_more_at_the_end(db):
    buffer = UsageBuffer()
    task = asyncio.create_task(buffer.run(db))
    buffer.add(call())
    while not await db.read(used):
        await asyncio.sleep(0.05)
    buffer.add(call())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await db.read(used))[MODEL_REQUESTS] == 2


async def test_usage_waits_bounded_while_the_database_cannot_be_written(db, outage):
    buffer = UsageBuffer(max_waiting=30)
    with outage():
        for second in range(100):
            buffer.add(call(started=NOW + second))
            with pytest.raises(ServiceUnavailable):
                await buffer.save(db)
            assert len(buffer.waiting) <= 30
    await buffer.save(db)
    assert (await db.read(used))[MODEL_REQUESTS] == 100
    assert not buffer.waiting


@pytest.mark.parametrize("broken", [{"resource_id": ""}, {"started": float("nan")}])
async def test_a_broken_call_does_not_hold_up_the_others(db, broken):
    buffer = UsageBuffer()
    buffer.add(call(**broken))
    buffer.add(call())
    await buffer.save(db)
    assert (await db.read(used))[MODEL_REQUESTS] == 1


async def test_an_absurd_token_count_of_a_provider_is_capped(db):
    buffer = UsageBuffer()
    buffer.add(call(input_tokens=10**30, total_tokens=10**31))
    await buffer.save(db)
    assert (await db.read(used))[MODEL_INPUT_TOKENS] == 10**9


async def test_calls_of_one_model_at_two_providers_are_told_apart(db):
    buffer = UsageBuffer()
    for provider in ("openai", "groq", "groq"):
        buffer.add(call(provider=provider))
    await buffer.save(db)
    query = (
        select(usage_series.c.provider, func.sum(usage_hours.c.quantity))
        .join(usage_hours, usage_hours.c.series_id == usage_series.c.id)
        .where(usage_series.c.total.is_(False), usage_series.c.dimension == MODEL_REQUESTS)
        .group_by(usage_series.c.provider)
    )
    assert dict(map(tuple, await db.read(lambda conn: conn.execute(query).all()))) == {
        "openai": 1,
        "groq": 2,
    }
