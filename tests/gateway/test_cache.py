"""Answers from memory: when two calls are the same, what is kept, and who still has to pass."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serai.gateway.limits import Limits
from serai.gateway.models.answers import MOST_PIECES, Answers, Recording, directives_of, key_of
from serai.gateway.models.rate_limits import RateLimit
from serai.gateway.models.token_policies import TokenPolicy
from serai.gateway.upstream import Answer

from .model_calls import ANSWER, CHAT, ask, body
from .routed_calls import (
    EVENTS,
    at_rest,
    base,
    leave,
    path,
    provider,
    refusing,
    script,
    settings,
    streaming,
)
from .world import Client, World, plain

CACHE = {"ttlSeconds": 60}


@pytest.fixture
def limits() -> Limits:
    return Limits(tick=0.02, model_response_timeout=2.0, model_cache_bytes=200_000)


def add(world: World, name: str = "kept", **more: object) -> str:
    cache = more.pop("cache", CACHE)
    extra = settings(cache=cache, **more.pop("gateway", {}))  # type: ignore[arg-type]
    world.add_model(name, base(world), model="gpt-real", gateway=extra, **more)
    return path(name)


async def found(client: Client, url: str, content: bytes | None = None, **headers: str) -> str:
    answer = await ask(client, url, content, headers=headers)
    assert answer.status == 200
    return answer.headers["x-serai-cache"]


async def test_the_same_call_is_answered_from_memory(world: World, client: Client) -> None:
    world.model.handler = plain(ANSWER)
    url = add(world)
    first = await ask(client, url)
    second = await ask(client, url)
    assert first.body == second.body == ANSWER
    assert (first.headers["x-serai-cache"], second.headers["x-serai-cache"]) == ("miss", "hit")
    assert "age" not in first.headers
    assert second.headers["age"] == "0"
    assert second.headers["x-serai-attempts"] == "0"
    assert second.headers["content-type"] == "application/json"
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert len(world.model.requests) == 1
    miss, hit = world.usages
    assert (miss.cache, miss.attempts, miss.input_tokens) == ("miss", 1, 11)
    assert (hit.cache, hit.attempts, hit.status, hit.counted) == ("hit", 0, 200, True)
    assert (hit.input_tokens, hit.output_tokens, hit.total_tokens) == (0, 0, 0)
    await at_rest(world)


async def test_streams_are_answered_as_streams(world: World, client: Client) -> None:
    world.model.handler = streaming(*EVENTS)
    url = add(world)
    for expected in ("miss", "hit", "hit"):
        client.send(url, method="POST", body=body(stream=True))
        answer = await client.head()
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.headers["transfer-encoding"] == "chunked"
        assert answer.headers["x-serai-cache"] == expected
        sizes = []
        while size := int(await client.reader.readline(), 16):
            sizes.append(size)
            await client.reader.readexactly(size + 2)
        await client.reader.readline()
        assert sizes == [len(event) for event in EVENTS]
    assert [usage.streamed for usage in world.usages] == [True, True, True]
    assert len(world.model.requests) == 1


async def test_what_the_client_asked_of_usage_is_part_of_the_call(
    world: World, client: Client
) -> None:
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n'
    world.model.handler = streaming(EVENTS[0], usage, EVENTS[1])
    url = add(world)
    asks = body(stream=True, stream_options={"include_usage": True})
    for _ in range(2):
        assert usage not in (await ask(client, url, body(stream=True))).body
        assert usage in (await ask(client, url, asks)).body
    assert len(world.model.requests) == 2
    assert json.loads(world.model.requests[0].body) == json.loads(world.model.requests[1].body)


@pytest.mark.parametrize(
    ("content", "headers", "same"),
    [
        (body(), {}, True),
        (body(), {"User-Agent": "other", "X-Stainless-Retry-Count": "1"}, True),
        (body(), {"Traceparent": "00-1-2-3", "Authorization": "Bearer slow-key"}, True),
        (body(temperature=1), {}, False),
        (b" " + body(), {}, True),
        (body(), {"OpenAI-Beta": "assistants=v2"}, False),
        (body(), {"Accept": "text/plain"}, False),
        (body(), {"Content-Type": "application/json; charset=utf-8"}, False),
    ],
)
async def test_what_makes_two_calls_the_same(
    world: World, client: Client, content: bytes, headers: dict[str, str], same: bool
) -> None:
    world.model.handler = plain(ANSWER)
    url = add(world)
    await ask(client, url)
    key = None if "Authorization" in headers else "good-key"
    answer = await ask(client, url, content, headers=headers, key=key)
    assert answer.headers["x-serai-cache"] == ("hit" if same else "miss")


async def test_models_and_paths_and_queries_stay_apart(world: World, client: Client) -> None:
    world.model.handler = plain(ANSWER)
    add(world), add(world, "other")
    urls = [
        path("kept"),
        path("other"),
        path("kept") + "?api-version=1",
        "/main/models/kept/v1/responses",
    ]
    for expected in ("miss", "hit"):
        assert [await found(client, url) for url in urls] == [expected] * 4
    again = world.routes.models["main", "kept"]
    world.add_model("kept", again.base_url, model="another-model", gateway=again.gateway)
    assert await found(client, path("kept")) == "miss"


async def test_an_answer_gets_too_old(world: World, client: Client) -> None:
    world.model.handler = plain(ANSWER)
    url = add(world, cache={"ttlSeconds": 1})
    assert [await found(client, url) for _ in range(2)] == ["miss", "hit"]
    await asyncio.sleep(1.05)
    assert [await found(client, url) for _ in range(2)] == ["miss", "hit"]


@pytest.mark.parametrize(
    ("value", "second", "third"),
    [
        ("no-cache", "miss", "hit"),
        ("no-store", "bypass", "hit"),
        ("max-age=0", "miss", "hit"),
        ("max-age=60", "hit", "hit"),
        ("NO-STORE, x=y", "bypass", "hit"),
        ("only-if-hungry", "hit", "hit"),
    ],
)
async def test_a_client_may_want_no_cache(
    world: World, client: Client, value: str, second: str, third: str
) -> None:
    world.model.handler = script(*(plain(b'{"n": %d}' % n) for n in range(3)))
    url = add(world)
    assert await found(client, url) == "miss"
    assert await found(client, url, **{"Cache-Control": value}) == second
    answer = await ask(client, url)
    assert answer.headers["x-serai-cache"] == third
    assert json.loads(answer.body)["n"] == (1 if second == "miss" else 0)


async def test_no_store_is_not_kept(world: World, client: Client) -> None:
    url = add(world)
    assert await found(client, url, **{"Cache-Control": "no-store"}) == "bypass"
    assert await found(client, url) == "miss"
    assert world.usages[0].cache == ""


@pytest.mark.parametrize(
    "handler",
    [
        refusing("400 Bad Request"),
        refusing("500 Oops"),
        plain(b'{"error": {"message": "in disguise"}}'),
        plain(b'{"id": "r", "status": "failed", "error": {"code": "server_error"}}'),
        plain(b'{"half'),
        plain(b"{" + b" " * 70_000 + b"}"),
        streaming(EVENTS[0], b'data: {"error": {"message": "broke"}}\n\n'),
        streaming(b'event: error\ndata: {"type": "error"}\n\n'),
        streaming(b'data: {"type":"response.failed","response":{}}\n\n'),
        streaming(EVENTS[0], end=b""),
    ],
)
async def test_only_good_and_complete_answers_are_kept(world: World, handler) -> None:
    world.model.handler = handler
    url = add(world, cache={"ttlSeconds": 60, "maxEntryKb": 64})
    for _ in range(2):
        client = await world.client()
        client.send(url, method="POST", body=body())
        await client.head()
        await leave(client)
        await asyncio.sleep(0.05)
    assert len(world.model.requests) == 2
    assert world.gateway.answers.size == 0
    await at_rest(world)


async def test_an_answer_that_a_client_left_is_not_kept(world: World, client: Client) -> None:
    world.model.handler = streaming(*[EVENTS[0]] * 20, EVENTS[1], pause=0.01)
    url = add(world)
    client.send(url, method="POST", body=body(stream=True))
    await client.head()
    await leave(client)
    await at_rest(world)
    assert world.gateway.answers.size == 0


async def test_an_answer_of_a_fallback_is_not_kept(world: World, client: Client) -> None:
    world.model.handler = script(refusing("500 Oops"), plain(ANSWER))
    _, url = await provider(world)
    world.add_model("spare", url)
    target = add(world, gateway={"fallbacks": ["spare"]})
    assert [await found(client, target) for _ in range(3)] == ["miss", "miss", "hit"]


async def test_a_retried_answer_is_kept(world: World, client: Client) -> None:
    world.model.handler = script(refusing("500 Oops"), plain(ANSWER))
    target = add(world, gateway={"retries": {"attempts": 1, "backoffMs": 1}})
    assert [await found(client, target) for _ in range(2)] == ["miss", "hit"]


@pytest.mark.parametrize(
    ("method", "rest", "content", "kind"),
    [
        ("GET", "/v1/models", None, "application/json"),
        ("POST", "/v1/batches", b"{}", "application/json"),
        ("POST", "/v1/audio/transcriptions", b"--x--", "multipart/form-data; boundary=x"),
    ],
)
async def test_other_calls_pass_by(
    world: World, client: Client, method: str, rest: str, content: bytes | None, kind: str
) -> None:
    add(world)
    for _ in range(2):
        answer = await client.ask(
            f"/main/models/kept{rest}", method=method, body=content, headers={"Content-Type": kind}
        )
        assert answer.headers["x-serai-cache"] == "bypass"
    assert len(world.model.requests) == 2


async def test_hits_have_to_pass_admission(world: World, client: Client) -> None:
    world.model.handler = plain(ANSWER)
    policy = TokenPolicy(name="cap", granularity="day", total=15)
    url = add(world, token_policies=(policy,))
    assert await found(client, url) == "miss"
    assert (await ask(client, url)).status == 429
    assert (await ask(client, url, key="other-key")).status == 403
    assert (await ask(client, url, key="bad-key")).status == 401


async def test_hits_use_no_tokens_of_a_policy(world: World, client: Client) -> None:
    world.model.handler = plain(ANSWER)
    policy = TokenPolicy(name="cap", granularity="day", total=200, strict=True)
    url = add(world, token_policies=(policy,), strict=True)
    content = body(max_tokens=50)
    states = [await found(client, url, content) for _ in range(8)]
    assert states == ["miss"] + ["hit"] * 7
    assert not world.gateway.token_policies._reserved


async def test_hits_count_as_requests_of_a_rate_limit(world: World, client: Client) -> None:
    world.model.handler = plain(ANSWER)
    requests = RateLimit(requests=3, per="hour", by="model", counter="requests")
    tokens = RateLimit(tokens=5000, per="hour", by="model", counter="tokens")
    url = add(world, rate_limits=(requests, tokens))
    answers = [await ask(client, url) for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    left = [answer.headers["x-ratelimit-remaining-requests"] for answer in answers]
    assert left == ["2", "1", "0", "0"]
    assert answers[2].headers["x-serai-cache"] == "hit"
    assert answers[3].headers["x-ratelimit-remaining-tokens"] == "4982"


async def test_a_slow_reader_gets_a_long_answer_whole(world: World) -> None:
    long = b'{"text": "' + b"x" * 150_000 + b'"}'
    world.model.handler = plain(long)
    url = add(world)
    client = await world.client()
    await ask(client, url)
    for _ in range(50):
        client.send(url, method="POST", body=body(), headers={"Content-Type": "application/json"})
    for _ in range(50):
        answer = await client.answer()
        assert (answer.headers["x-serai-cache"], answer.body) == ("hit", long)
    assert len(world.model.requests) == 1


async def test_a_plain_model_tells_nothing_of_a_cache(world: World, client: Client) -> None:
    answer = await ask(client, CHAT)
    assert not [name for name in answer.headers if name.startswith("x-serai")]


# -- the store
HEAD = Answer(200, [(b"content-type", b"application/json"), (b"set-cookie", b"a=b")], {}, 3, False)


def recorded(size: int) -> Recording:
    recording = Recording(HEAD, 1 << 30, streamed=False)
    recording.add(b"x" * size)
    return recording


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.integers(0, 5_000)), max_size=60
    )
)
def test_it_never_takes_more_than_it_may(calls: list[tuple[str, int, int]]) -> None:
    answers = Answers(20_000, lambda: 0.0)
    for workspace, number, size in calls:
        answers.keep(workspace, bytes([number]), recorded(size))
        assert answers.size <= 20_000
        kept = answers._kept.values()
        assert answers.size == sum(entry.size for each in kept for entry in each.values())
        assert answers.find(workspace, bytes([number]), 1.0) is not None
        other = next(each for each in "abc" if each != workspace)
        entry = answers.find(other, bytes([number]), 1.0)
        assert entry is None or (other, number) in {call[:2] for call in calls}


def test_the_largest_workspace_gives_way_with_what_it_used_least() -> None:
    answers = Answers(22_000, lambda: 0.0)
    answers.keep("small", b"1", recorded(1_000))
    for number in range(4):
        answers.keep("large", bytes([number]), recorded(3_000))
    answers.find("large", b"\0", 1.0)
    answers.keep("small", b"2", recorded(5_000))
    kept = [number for number in range(4) if answers.find("large", bytes([number]), 1.0)]
    assert kept == [0, 2, 3]
    assert answers.find("small", b"1", 1.0)


def test_a_large_head_counts_like_a_body() -> None:
    answers = Answers(100_000, lambda: 0.0)
    head = [(b"x-%d" % number, b"v" * 1000) for number in range(50)]
    for number in range(10):
        recording = Recording(Answer(200, head, dict(head), 3, False), 100, streamed=False)
        recording.add(b"{}")
        answers.keep("a", bytes([number]), recording)
    assert sum(answers.find("a", bytes([number]), 1.0) is not None for number in range(10)) == 1


def test_an_answer_in_endless_pieces_is_given_up() -> None:
    recording = Recording(HEAD, 1 << 30, streamed=True)
    assert sum(recording.add(b"ab") for _ in range(MOST_PIECES + 5)) == MOST_PIECES


def test_fields_of_one_call_are_not_kept() -> None:
    assert recorded(3).answer.headers == [(b"content-type", b"application/json")]


@given(st.lists(st.tuples(st.binary(max_size=3), st.binary(max_size=3)), max_size=3), st.binary())
def test_no_two_calls_have_one_key(fields: list[tuple[bytes, bytes]], content: bytes) -> None:
    key = key_of("id", b" /x", fields, content, strip=False)
    assert key == key_of("id", b" /x", fields[::-1], content, strip=False)
    for other in (
        key_of("id", b" /x", [*fields, (b"x-y", content)], b"", strip=False),
        key_of("id", b" /x", fields, content, strip=True),
        key_of("id", b" /x", fields, content + b" ", strip=False),
        key_of("id2", b" /x", fields, content, strip=False),
    ):
        assert key != other


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, (True, True, float("inf"))),
        (b"", (True, True, float("inf"))),
        (b'max-age="5"', (True, True, 5.0)),
        (b"max-age=-5", (True, True, float("inf"))),
        (b"no-cache, no-store", (False, False, float("inf"))),
        (b'private="no-store"', (True, True, float("inf"))),
    ],
)
def test_directives(value: bytes | None, expected: tuple[bool, bool, float]) -> None:
    read = directives_of(value)
    assert (read.looks, read.keeps, read.max_age) == expected
