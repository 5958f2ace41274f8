"""What is told of each model call: times, tokens of every kind, who failed, and `Server-Timing`."""

import asyncio
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serai.gateway.models.counts import Tally, model_named, read_answer, read_event
from serai.gateway.models.naming import operation_of, provider_name
from serai.gateway.models.timing import Timings, timing_key
from serai.gateway.models.token_policies import TokenPolicy

from .model_calls import ANSWER, CHAT, ask, body
from .world import Client, World, plain

TIMING = re.compile(r"gw;dur=(\d+\.\d\d), upstream;dur=(\d+\.\d)")


def timing(answer) -> tuple[float, float]:
    found = TIMING.fullmatch(answer.headers["server-timing"])
    assert found is not None
    return float(found[1]), float(found[2])


def after(seconds: float, content: bytes = ANSWER):
    handler = plain(content)

    async def slow(request, reader, writer) -> None:
        await asyncio.sleep(seconds)
        await handler(request, reader, writer)

    return slow


@pytest.mark.parametrize("log_every", [False, True], ids=["short way", "long way"])
async def test_an_answer_says_how_long_each_part_took(
    world: World, client: Client, log_every: bool
) -> None:
    world.gateway.log_every = log_every
    world.model.handler = plain(ANSWER)
    await ask(client)
    world.model.handler = after(0.15)
    ours, upstream = timing(await ask(client))
    assert ours < 100 < 140 < upstream < 1000
    usage = world.usages[-1]
    assert 0.14 < usage.first_byte <= usage.duration + 1e-9
    assert (usage.operation, usage.attempts, usage.error) == ("chat", 1, "")


async def test_a_stream_tells_when_its_first_event_came(world: World, client: Client) -> None:
    async def stream(request, reader, writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        await asyncio.sleep(0.2)
        writer.write(b'data: {"choices":[{}]}\n\n')
        await asyncio.sleep(0.2)
        last = {"choices": [], "model": "gpt-real-2", "usage": {"prompt_tokens": 3}}
        writer.write(b"data: " + json.dumps(last).encode() + b"\n\n")
        writer.close()

    world.model.handler = stream
    answer = await ask(client, content=body(stream=True))
    _, upstream = timing(answer)
    assert upstream < 190
    usage = world.usages[-1]
    assert 0.19 < usage.first_byte < 0.39 < usage.duration
    assert (usage.streamed, usage.answered_by) == (True, "gpt-real-2")


@pytest.mark.parametrize(
    ("content", "status", "kind", "told"),
    [
        (b'{"error":{"code":"slow_down"}}', "429 Busy", "application/json", "slow_down"),
        (b'{"error":{"type":"overloaded_error"}}', "529 Busy", "application/json",
         "overloaded_error"),
        (b'{"error":{"code":7,"status":"DOWN"}}', "503 Down", "application/json", "DOWN"),
        (b'{"error":"text"}', "400 Bad", "application/json", "400"),
        (b"plain text", "404 No", "text/plain", "404"),
        (b"<html>", "500 No", "text/html", "PROVIDER_ANSWER_UNREADABLE"),
    ],
)  # fmt: skip
async def test_a_failure_of_the_provider_has_its_code(
    world: World, client: Client, content: bytes, status: str, kind: str, told: str
) -> None:
    world.model.handler = plain(content, status, kind)
    answer = await ask(client)
    usage = world.usages[-1]
    assert (usage.error, usage.origin, usage.status) == (told, "provider", answer.status)


async def test_a_provider_that_cannot_be_reached_is_to_blame(world: World, client: Client) -> None:
    world.add_model("down", "http://127.0.0.1:9/v1")
    answer = await ask(client, "/main/models/down/v1/chat/completions")
    assert answer.status == 502
    usage = world.usages[-1]
    assert (usage.error, usage.origin) == ("UPSTREAM_CONNECT_FAILED", "provider")


async def test_a_refusal_is_told_apart_from_calls(world: World, client: Client) -> None:
    refused = []
    world.gateway.on_model_refusal = lambda *told: refused.append(told)
    policy = TokenPolicy(name="p", granularity="hour", total=1)
    world.add_model("capped", f"http://127.0.0.1:{world.model_port}/v1", token_policies=(policy,))
    world.model.handler = plain(ANSWER)
    target = "/main/models/capped/v1/chat/completions"
    assert (await ask(client, target)).status == 200
    answer = await ask(client, target)
    ((route, principal, usage),) = refused
    assert (answer.status, usage.status, usage.attempts) == (429, 429, 0)
    assert (usage.error, usage.origin) == ("POLICY_VIOLATION", "platform")
    assert (route.name, principal.subject) == ("capped", "u1")
    assert len(world.usages) == 1


async def test_strangers_and_unknown_models_are_told_to_nobody(
    world: World, client: Client
) -> None:
    refused = []
    world.gateway.on_model_refusal = lambda *told: refused.append(told)
    assert (await ask(client, key="other-key")).status == 403
    assert (await ask(client, CHAT.replace("llm", "nothing"))).status == 404
    assert (refused, world.usages) == ([], [])


DETAILED = [
    ({"usage": {"prompt_tokens": 9, "completion_tokens": 5,
                "prompt_tokens_details": {"cached_tokens": 4},
                "completion_tokens_details": {"reasoning_tokens": 3}}}, (9, 5, 4, 3)),
    ({"usage": {"input_tokens": 9, "output_tokens": 5,
                "input_tokens_details": {"cached_tokens": 4},
                "output_tokens_details": {"reasoning_tokens": 3}}}, (9, 5, 4, 3)),
    ({"usage": {"input_tokens": 5, "output_tokens": 5, "cache_read_input_tokens": 4}},
     (9, 5, 4, 0)),
    ({"usage": {"prompt_tokens": 9, "completion_tokens": 5, "prompt_cache_hit_tokens": 4}},
     (9, 5, 4, 0)),
    ({"usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 2, "thoughtsTokenCount": 3,
                        "cachedContentTokenCount": 4}}, (9, 5, 4, 3)),
]  # fmt: skip


@pytest.mark.parametrize(("told", "tokens"), DETAILED)
@pytest.mark.parametrize("read", [read_answer, read_event])
def test_tokens_are_told_by_their_kind(told: dict, tokens: tuple, read) -> None:
    tally = Tally()
    read(json.dumps(told).encode()).add_to(tally)
    assert (tally.input, tally.output, tally.cached, tally.reasoning) == tokens


@pytest.mark.parametrize("model", ["m", None, 7, {"a": 1}, ["x"], "x" * 500])
def test_a_strange_model_name_spoils_nothing(model: object) -> None:
    tally = Tally()
    told = {"model": model, "usage": {"prompt_tokens": 3}}
    read_answer(json.dumps(told).encode()).add_to(tally)
    assert tally.input == 3
    assert model_named(tally.model) == (model[:128] if isinstance(model, str) else "")


@given(st.floats(-10, 86_400), st.floats(-10, 86_400))
def test_any_two_durations_make_a_valid_field(ours: float, upstream: float) -> None:
    line = Timings()[timing_key(ours, upstream)].decode()
    found = TIMING.fullmatch(line.removeprefix("server-timing: ").removesuffix("\r\n"))
    assert found is not None
    if ours >= 0 <= upstream:
        assert abs(float(found[1]) / 1000 - ours) < 2e-5
        assert abs(float(found[2]) / 1000 - upstream) < 2e-4


@pytest.mark.parametrize(
    ("rest", "operation"),
    [
        (b"/v1/chat/completions", "chat"),
        (b"/v1/completions", "text_completion"),
        (b"/v1/messages", "chat"),
        (b"/v1beta/models/x:streamGenerateContent", "generate_content"),
        (b"/v1/embeddings/", "embeddings"),
        (b"/v1/files", "other"),
    ],
)
def test_operations_have_the_names_of_the_conventions(rest: bytes, operation: str) -> None:
    assert operation_of(rest) == operation
    assert provider_name("xai") == "x_ai"
    assert provider_name("openai") == "openai"
