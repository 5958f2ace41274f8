"""Rate limits of models: the arithmetic of sliding windows, and what clients are told."""

import asyncio
import itertools
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serai.gateway.models.rate_limits import SPANS, RateLimit, RateLimits, rate_limits_of
from serai.gateway.problems import TooManyTokens
from serai.gateway.windows import SlidingWindow
from serai.identity.principal import Principal
from serai.kernel.errors import RateLimited
from serai.wire.model_gateway import ModelCache, ModelGateway, ModelRateLimit

from .model_calls import ANSWER, ask, body
from .world import Client, World, plain, principal

SECOND = 1_000_000_000
ME = principal("main")
GAPS = st.lists(st.tuples(st.integers(0, 3 * SECOND), st.integers(1, 40)), min_size=1, max_size=120)


@given(GAPS, st.integers(1, 100), st.sampled_from([1, 59, SECOND // 7, SECOND, 60 * SECOND]))
def test_no_stretch_of_a_span_ever_has_more_than_the_limit(gaps, limit: int, span: int) -> None:
    window, now, let_in = SlidingWindow(span), 0, []
    for gap, amount in gaps:
        now += gap * span // SECOND
        if window.used(now) + amount <= limit:
            window.add(now, amount)
            let_in.append((now, amount))
    for begin, _ in let_in:
        assert sum(amount for at, amount in let_in if begin <= at < begin + span) <= limit


@given(GAPS, st.integers(0, 50), st.integers(1, 100 * SECOND))
def test_there_is_room_after_the_wait_and_not_before(gaps, room: int, span: int) -> None:
    window, now = SlidingWindow(span), 0
    for gap, amount in gaps:
        now += gap
        window.add(now, amount)
        wait = window.wait(now, room)
        assert 0 <= wait <= 61 * -(-span // 60)
    wait = window.wait(now, room)
    if wait:
        assert window.used(now + wait - 1) > room
    assert window.used(now + wait) <= room


class Clock:
    """Nanoseconds that only a test lets pass."""

    def __init__(self) -> None:
        self.now = 5 * SECOND

    def __call__(self) -> int:
        return self.now


def limit(**fields) -> RateLimit:
    return RateLimit(**{"per": "second", "by": "model", "counter": "model/r"} | fields)


@given(st.lists(st.tuples(st.integers(0, SECOND // 2), st.integers(1, 30), st.booleans())))
def test_calls_with_known_needs_never_use_more_tokens_than_allowed(steps) -> None:
    clock, limits, most = Clock(), [limit(tokens=60, requests=9)], 60
    rates, running, used, begun = RateLimits(clock), [], [], []
    for gap, need, ends in steps:
        clock.now += gap
        if ends and running:
            grant, asked = running.pop(0)
            rates.settle(grant, asked - asked // 3)
            used.append((clock.now, asked - asked // 3))
            continue
        try:
            running.append((rates.admit(limits, ME, need // 2, need - need // 2), need))
            begun.append((clock.now, 1))
        except RateLimited:
            pass
    for entries, allowed in ((used, most), (begun, 9)):
        for begin, _ in entries:
            within = [amount for at, amount in entries if begin <= at < begin + SECOND]
            assert sum(within) <= allowed


def test_a_call_is_let_in_at_the_very_moment_it_is_told() -> None:
    clock = Clock()
    rates, limits = RateLimits(clock), [limit(requests=3)]
    for _ in range(3):
        rates.admit(limits, ME, 0, None)
        clock.now += SECOND // 10
    with pytest.raises(RateLimited) as refused:
        rates.admit(limits, ME, 0, None)
    wait = int(refused.value.headers["Retry-After-Ms"])
    assert 700 <= wait <= 740
    clock.now += wait * 1_000_000
    rates.admit(limits, ME, 0, None)
    with pytest.raises(RateLimited):
        rates.admit(limits, ME, 0, None)


def test_a_refused_call_changes_no_counter() -> None:
    rates = RateLimits(Clock())
    wide, narrow = limit(requests=10, per="hour"), limit(tokens=5, counter="x")
    with pytest.raises(TooManyTokens):
        rates.admit([wide, narrow], ME, 3, 3)
    assert [one.remaining for one in rates.standing([wide, narrow], ME)] == [10, 5]


def test_what_nobody_told_counts_as_all_that_was_set_aside() -> None:
    rates, limits = RateLimits(Clock()), [limit(tokens=100)]
    rates.settle(rates.admit(limits, ME, 10, 20), None)
    assert rates.standing(limits, ME)[0].remaining == 70
    rates.settle(rates.admit(limits, ME, 10, 20), 4)
    assert rates.standing(limits, ME)[0].remaining == 66


def test_an_answer_of_unknown_length_takes_no_more_than_there_may_be() -> None:
    rates, limits = RateLimits(Clock()), [limit(tokens=100)]
    grant = rates.admit(limits, ME, 10, None)
    assert rates.standing(limits, ME)[0].remaining == 0
    rates.settle(grant, 30)
    with pytest.raises(RateLimited) as refused:
        rates.admit(limits, ME, 10, None)
    assert refused.value.details["limit"]["kind"] == "tokens"


def test_idle_counters_are_forgotten() -> None:
    clock = Clock()
    rates = RateLimits(clock)
    for number in range(20_000):
        clock.now += SECOND // 100
        rates.admit([limit(requests=1, counter=f"key/{number}")], ME, 0, None)
    assert len(rates._counters) < 5000


def test_a_sweep_forgets_no_counter_of_the_call_that_made_it() -> None:
    rates = RateLimits(Clock())
    others = [limit(requests=1, counter=f"key/{number}") for number in range(4095)]
    rates.admit(others, ME, 0, None)
    rates._clock.now += 2 * SECOND
    both = [limit(requests=1, counter="first", per="hour"), limit(requests=9, counter="second")]
    rates.admit(both, ME, 0, None)
    with pytest.raises(RateLimited):
        rates.admit(both, ME, 0, None)


def someone(key: str, user: str = "u1") -> Principal:
    return Principal(
        subject=user, email="", account_id="acc", account_admin=False, workspaces={},
        credential_id=key,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("by", "apart"),
    [("model", 1), ("workspace", 1), ("key", 4), ("user", 2), ("label:team", 1)],
)
def test_what_is_counted_apart(by: str, apart: int) -> None:
    settings = ModelGateway(rate_limits=[ModelRateLimit(requests=1, per="day", by=by)])
    limits = rate_limits_of(settings, "main", "r", {"team": "red"})
    rates, passed = RateLimits(Clock()), 0
    for key, user in itertools.product(("k1", "k2"), ("u1", "u2")):
        for _ in range(2):
            try:
                rates.admit(limits, someone(f"{user}-{key}", user), 0, None)
                passed += 1
            except RateLimited:
                pass
    assert passed == apart


@pytest.mark.parametrize(("by", "shared"), [("workspace", True), ("label:team", True),
                                            ("model", False), ("key", False)])  # fmt: skip
def test_which_limits_models_share(by: str, shared: bool) -> None:
    settings = ModelGateway(rate_limits=[ModelRateLimit(requests=1, per="day", by=by)])
    one, two, other = (
        rate_limits_of(settings, "main", name, {"team": team})[0].key(ME)
        for name, team in (("a", "red"), ("b", "red"), ("c", "blue"))
    )
    assert (one == two) is shared
    assert (one == other) is (by == "workspace")


def limited(world: World, *limits: RateLimit, **more) -> None:
    port = world.model_port
    world.add_model("llm", f"http://127.0.0.1:{port}/v1", rate_limits=limits, **more)


async def test_a_limit_of_requests_refuses_and_tells(world: World, client: Client) -> None:
    world.model.handler = plain(ANSWER)
    limited(world, limit(requests=2, per="minute"))
    answers = [await ask(client) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    told = [answer.headers["x-ratelimit-remaining-requests"] for answer in answers]
    assert told == ["1", "0", "0"]
    refused = answers[2]
    assert refused.headers["x-ratelimit-limit-requests"] == "2"
    assert refused.headers["x-ratelimit-reset-requests"].startswith(("1m", "59.", "60"))
    assert 1 <= int(refused.headers["retry-after"]) <= 61
    error = json.loads(refused.body)["error"]
    assert (error["code"], error["retryable"]) == ("RATE_LIMITED", True)
    assert error["limit"] == {"kind": "requests", "value": 2, "per": "minute", "by": "model"}
    assert len(world.model.requests) == 2


async def test_our_limits_stand_in_place_of_the_providers(world: World, client: Client) -> None:
    async def boasting(request, reader, writer) -> None:
        head = (
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
            b"x-ratelimit-remaining-requests: 9999\r\nanthropic-ratelimit-tokens-limit: 7\r\n"
            b"content-length: %d\r\n\r\n%b"
        )
        writer.write(head % (len(ANSWER), ANSWER))

    world.model.handler = boasting
    answer = await ask(client)
    assert answer.headers["x-ratelimit-remaining-requests"] == "9999"
    limited(world, limit(requests=5, tokens=50_000, per="hour"))
    answer = await ask(await world.client(), content=body(max_tokens=10))
    told = {name: value for name, value in answer.fields if "ratelimit" in name}
    assert len(told) == 6
    assert told["x-ratelimit-remaining-requests"] == "4"
    assert told["x-ratelimit-limit-tokens"] == "50000"
    assert sum(name == "x-ratelimit-remaining-requests" for name, _ in answer.fields) == 1


async def test_a_call_that_can_never_pass_is_not_to_be_repeated(
    world: World, client: Client
) -> None:
    limited(world, limit(tokens=100, per="day"))
    answer = await ask(client, content=body(max_tokens=200))
    assert (answer.status, answer.headers["x-should-retry"]) == (429, "false")
    assert "retry-after" not in answer.headers
    assert json.loads(answer.body)["error"]["retryable"] is False


async def test_an_answer_from_the_cache_uses_no_tokens(world: World, client: Client) -> None:
    world.model.handler = plain(ANSWER)
    cached = ModelGateway(cache=ModelCache(ttl_seconds=60))
    limited(world, limit(tokens=5000, requests=9, per="day"), gateway=cached)
    for left in ("4982", "4982", "4982"):
        answer = await ask(client, content=body(max_tokens=10))
        assert answer.status == 200
        await asyncio.sleep(0)
        standing = world.gateway.rate_limits.standing([limit(tokens=5000, per="day")], ME)
        assert str(standing[0].remaining) == left
    assert len(world.model.requests) == 1
    assert answer.headers["x-ratelimit-remaining-requests"] == "6"


async def test_uploads_and_other_bodies_count_as_requests(world: World, client: Client) -> None:
    world.model.handler = plain(ANSWER)
    limited(world, limit(requests=2, tokens=1000, per="day"))
    kind = {"Content-Type": "application/octet-stream"}
    where = "/main/models/llm/v1/files"
    sent = [await client.ask(where, method="POST", body=b"x" * 9, headers=kind) for _ in range(3)]
    assert [answer.status for answer in sent] == [200, 200, 429]
    listed = await (await world.client()).ask("/main/models/llm/v1/models")
    assert listed.status == 429


async def test_a_refused_upload_was_never_sent(world: World, client: Client) -> None:
    world.model.handler = plain(ANSWER)
    limited(world, limit(requests=1, per="day"), gateway=ModelGateway(timeout_ms=1000))
    framing = {"Transfer-Encoding": "chunked", "Content-Type": "application/octet-stream"}
    answers = []
    for _ in range(2):
        client = await world.client()
        client.send("/main/models/llm/v1/files", method="POST", headers=framing)
        client.writer.write(b"3\r\nabc\r\n0\r\n\r\n")
        answers.append(await client.answer())
    assert [answer.status for answer in answers] == [200, 429]
    told = ["x-serai-attempts" in answer.headers for answer in answers]
    assert told == [True, False]


def events(used: int) -> bytes:
    usage = {"prompt_tokens": 20, "completion_tokens": used, "total_tokens": 20 + used}
    pieces = [{"choices": [{"delta": {"content": "a"}}]}] * 3 + [{"choices": [], "usage": usage}]
    data = b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in pieces)
    return data + b"data: [DONE]\n\n"


async def streaming(request, reader, writer) -> None:
    """Streams as many tokens as it likes below what it may."""
    used = random.randint(0, json.loads(request.body)["max_tokens"])
    writer.write(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    for line in events(used).splitlines(keepends=True):
        writer.write(b"%x\r\n%b\r\n" % (len(line), line))
        await asyncio.sleep(random.random() / 100)
    writer.write(b"0\r\n\r\n")


@pytest.mark.parametrize("leaves", [False, True])
async def test_streams_at_once_never_use_more_tokens_than_a_limit(
    world: World, leaves: bool
) -> None:
    world.model.handler = streaming
    limited(world, limit(tokens=6000, per="day"))

    async def call(number: int) -> int:
        client = await world.client()
        content = body(max_tokens=100, stream=True)
        if leaves and number % 3 == 0:
            client.send(
                "/main/models/llm/v1/chat/completions", method="POST", body=content,
                headers={"Content-Type": "application/json"},
            )  # fmt: skip
            status = (await client.head()).status
            client.writer.close()
            return status
        return (await ask(client, content=content)).status

    statuses = await asyncio.gather(*(call(number) for number in range(200)))
    spent = sum(usage.input_tokens + usage.written() for usage in world.usages)
    assert set(statuses) == {200, 429}
    assert 0 < spent <= 6000
    left = world.gateway.rate_limits.standing([limit(tokens=6000, per="day")], ME)[0].remaining
    assert 0 <= left <= 6000 - spent
    assert left == 6000 - spent or leaves


async def test_requests_at_once_never_pass_a_limit_and_pass_again_after_it(world: World) -> None:
    world.model.handler = plain(ANSWER)
    limited(world, limit(requests=40, per="second"))

    async def call() -> tuple[int, float]:
        answer = await ask(await world.client())
        return answer.status, int(answer.headers.get("retry-after-ms", 0)) / 1000

    first = await asyncio.gather(*(call() for _ in range(200)))
    assert 40 <= sum(status == 200 for status, _ in first) <= 80
    assert len(world.model.requests) == sum(status == 200 for status, _ in first)
    await asyncio.sleep(SPANS["second"] * 61 / 60 + 0.02)
    again = await asyncio.gather(*(call() for _ in range(40)))
    assert [status for status, _ in again] == [200] * 40
