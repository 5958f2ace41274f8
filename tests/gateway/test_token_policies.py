"""Policies that limit a model's tokens: windows, what passes, and strict ones under load."""

import asyncio
import json
import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serai.gateway.models.estimates import Reservation, most_tokens
from serai.gateway.models.token_policies import (
    PolicyViolated,
    TokenPolicies,
    TokenPolicy,
)
from serai.kernel.errors import BadRequest

from .model_calls import ANSWER, CHAT, ask, body
from .world import Client, World, plain

YEARS = st.floats(0, 4e9)


@given(YEARS, st.sampled_from(["minute", "hour", "day", "month"]), st.integers(1, 50))
def test_windows_follow_each_other_without_a_gap(moment: float, unit: str, step: int) -> None:
    policy = TokenPolicy(name="p", granularity=unit, step=step, total=1)
    begin, end = policy.window(moment)
    assert begin <= moment < end
    assert policy.window(begin) == (begin, end)
    assert policy.window(end)[0] == end


@pytest.mark.parametrize(
    ("unit", "step", "begin", "end"),
    [
        ("minute", 15, "2026-03-31T10:15:00", "2026-03-31T10:30:00"),
        ("hour", 1, "2026-03-31T10:00:00", "2026-03-31T11:00:00"),
        ("day", 1, "2026-03-31T00:00:00", "2026-04-01T00:00:00"),
        ("month", 1, "2026-03-01T00:00:00", "2026-04-01T00:00:00"),
        ("month", 3, "2026-01-01T00:00:00", "2026-04-01T00:00:00"),
    ],
)
def test_windows_are_aligned_to_the_clock(unit: str, step: int, begin: str, end: str) -> None:
    moment = datetime(2026, 3, 31, 10, 17, 5, tzinfo=UTC).timestamp()
    policy = TokenPolicy(name="p", granularity=unit, step=step, total=1)
    found = [datetime.fromtimestamp(each, UTC).isoformat()[:19] for each in policy.window(moment)]
    assert found == [begin, end]


def limited(world: World, **limits: int | bool) -> None:
    policy = TokenPolicy(name="cap", granularity="day", **limits)
    port = world.model_port
    world.add_model(
        "llm",
        f"http://127.0.0.1:{port}/v1",
        token_policies=(policy,),
        strict=policy.strict,
    )


async def test_the_call_that_passes_a_limit_is_answered_and_the_next_refused(
    world: World, client: Client
) -> None:
    world.model.handler = plain(ANSWER)
    limited(world, total=20)
    answers = [await ask(client) for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 429, 429]
    refused = json.loads(answers[2].body)["error"]
    assert (refused["code"], refused["origin"]) == ("POLICY_VIOLATION", "platform")
    assert "36" in refused["message"]
    assert "20 total tokens per day" in refused["message"]
    assert 0 < int(answers[2].headers["retry-after"]) <= 86401
    assert len(world.model.requests) == 2


async def test_one_policy_that_allows_the_call_is_enough(world: World, client: Client) -> None:
    world.model.handler = plain(ANSWER)
    small = TokenPolicy(name="small", granularity="day", output=1)
    large = TokenPolicy(name="large", granularity="month", input=30)
    world.add_model("llm", f"http://127.0.0.1:{world.model_port}/v1", token_policies=(small, large))
    assert [(await ask(client)).status for _ in range(4)] == [200, 200, 200, 429]


async def test_strict_policies_are_never_passed_by_calls_at_once(world: World) -> None:
    async def slow(request, reader, writer) -> None:
        wanted = json.loads(request.body)["max_tokens"]
        used = random.randint(0, wanted)
        usage = {"prompt_tokens": 20, "completion_tokens": used, "total_tokens": 20 + used}
        await asyncio.sleep(random.random() / 20)
        await plain(json.dumps({"usage": usage}).encode())(request, reader, writer)

    world.model.handler = slow
    limited(world, total=6_000, strict=True)

    async def call() -> int:
        return (await ask(await world.client(), content=body(max_tokens=100))).status

    statuses = await asyncio.gather(*(call() for _ in range(200)))
    spent = sum(usage.input_tokens + usage.output_tokens for usage in world.usages)
    assert set(statuses) == {200, 429}
    assert 0 < spent <= 6_000
    assert len(world.usages) == statuses.count(200)


async def test_strict_policies_need_to_know_the_most_tokens(world: World, client: Client) -> None:
    world.model.handler = plain(ANSWER)
    limited(world, total=1000, strict=True)
    refused = await ask(client)
    assert (refused.status, b"max_tokens" in refused.body) == (400, True)
    upload = await (await world.client()).ask(
        CHAT, method="POST", body=b"x", headers={"Content-Type": "text/plain"}
    )
    assert upload.status == 400
    assert not world.model.requests
    content = body(max_tokens=5)
    assert (await ask(await world.client(), content=content)).status == 200


@pytest.mark.parametrize(
    ("rest", "fields", "output"),
    [
        (b"/v1/chat/completions", {"max_tokens": 5, "n": 3}, 15),
        (b"/v1/chat/completions", {"max_tokens": 5, "max_completion_tokens": 9}, 9),
        (b"/v1/responses", {"max_output_tokens": 7}, 7),
        (b"/v1beta/models/x:generateContent", {"generationConfig": {"maxOutputTokens": 4}}, 4),
        (
            b"/x:generateContent",
            {"generationConfig": {"maxOutputTokens": 4, "candidateCount": 3}},
            12,
        ),
        (b"/v1/completions", {"prompt": "a", "max_tokens": 5, "best_of": 4}, 20),
        (
            b"/v1/chat/completions",
            {"messages": [], "max_tokens": 5, "generationConfig": {"maxOutputTokens": 1}},
            5,
        ),
        (b"/v1/embeddings", {"input": "x"}, 0),
    ],
)
def test_the_most_that_a_call_may_use(rest: bytes, fields: dict, output: int) -> None:
    content = json.dumps(fields).encode()
    assert most_tokens("r", rest, content) == Reservation("r", len(content), output)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"max_tokens": "5"},
        {"max_tokens": 1.5},
        {"n": 2},
        {"messages": [], "generationConfig": {"maxOutputTokens": 1}},
        {"contents": [], "max_tokens": 1},
    ],
)
def test_a_limit_that_is_none_is_named(fields: dict) -> None:
    with pytest.raises(BadRequest, match="max_tokens"):
        most_tokens("r", b"/v1/chat/completions", json.dumps(fields).encode())


async def test_a_new_window_begins_at_zero_and_an_old_one_is_loaded_once() -> None:
    now = [1_000_000.0]
    asked = []

    async def used(resource_id: str, since: float) -> tuple[int, int]:
        asked.append((resource_id, since))
        return 90, 5

    policies = TokenPolicies(used, lambda: now[0])
    policy = (TokenPolicy(name="p", granularity="minute", total=100),)
    policies.watch("r", policy)
    await policies.loaded()
    policies.admit("r", policy)
    policies.note("r", policy, 3, 2)
    with pytest.raises(PolicyViolated) as refused:
        policies.admit("r", policy)
    assert refused.value.details["resetAt"] == "1970-01-12T13:47:00Z"
    now[0] += 60
    policies.admit("r", policy)
    await policies.loaded()
    assert asked == [("r", 999_960.0)]


@pytest.mark.parametrize("leaves", [False, True])
async def test_strict_policies_are_never_passed_by_streams_at_once(
    world: World, leaves: bool
) -> None:
    """Nor by streams whose clients leave, and whose tokens nobody tells then."""
    used: list[int] = []

    async def stream(request, reader, writer) -> None:
        tokens = 20 + random.randint(0, json.loads(request.body)["max_tokens"])
        used.append(tokens)
        usage = {"prompt_tokens": 20, "completion_tokens": tokens - 20, "total_tokens": tokens}
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
        )
        for event in [{"choices": []}] * 3 + [{"choices": [], "usage": usage}]:
            writer.write(b"data: " + json.dumps(event).encode() + b"\n\n")
            await writer.drain()
            await asyncio.sleep(random.random() / 50)
        raise ConnectionError  # ends the answer

    world.model.handler = stream
    limited(world, total=6_000, strict=True)

    async def call(number: int) -> int:
        client = await world.client()
        content = body(max_tokens=100, stream=True)
        client.send(CHAT, method="POST", body=content, headers={"Content-Type": "application/json"})
        status = (await client.head()).status
        if leaves and number % 2:
            client.writer.close()
        else:
            await client.reader.readuntil(b"0\r\n\r\n" if status == 200 else b"}")
        return status

    statuses = await asyncio.gather(*(call(number) for number in range(200)))
    assert set(statuses) == {200, 429}
    assert len(used) == statuses.count(200)
    assert 0 < sum(used) <= 6_000
