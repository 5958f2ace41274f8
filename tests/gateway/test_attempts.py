"""The machine of attempts under random failures: one answer, in order, and nothing left behind."""

import asyncio
import json
from collections import defaultdict
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serai.gateway.limits import Limits
from serai.gateway.models.course import Course
from serai.gateway.models.health import Health
from serai.gateway.models.rate_limits import RateLimit
from serai.gateway.models.token_policies import TokenPolicy
from serai.gateway.models.verdicts import Outcome, Verdict
from serai.gateway.routes import ModelRoute

from .model_calls import body
from .routed_calls import (
    EVENTS,
    at_rest,
    hanging_up,
    leave,
    path,
    plain,
    provider,
    refusing,
    settings,
    silent,
    spread,
    streaming,
)
from .world import Client, Handler, Received, Upstream, World

SPANS = {"backoffMs": 4, "maxBackoffMs": 16}


# -- decisions alone
def a_model(name: str, connections: int, attempts: int | None) -> ModelRoute:
    retries = None if attempts is None else {"attempts": attempts} | SPANS
    route = ModelRoute(
        account_id="a",
        workspace="w",
        name=name,
        resource_id=name,
        provider="openai",
        base_url="http://x.test",
        api_key="",
        model=None,
        gateway=settings(retries=retries),
    )
    if connections == 1:
        return route
    places = tuple(
        msgspec.structs.replace(route, place=f"{name}/{number}") for number in range(connections)
    )
    return msgspec.structs.replace(places[0], places=places)


MODELS = st.lists(
    st.tuples(st.integers(1, 3), st.none() | st.integers(1, 4), st.booleans()),
    min_size=1,
    max_size=4,
)
OUTCOMES = st.lists(
    st.builds(
        Outcome,
        st.sampled_from([Verdict.AGAIN, Verdict.AGAIN, Verdict.ELSEWHERE, Verdict.FINAL]),
        st.none() | st.floats(0, 0.02),
    ),
    max_size=30,
)


@given(MODELS, OUTCOMES, st.integers(0, 1000), st.floats(0.001, 0.1), st.booleans())
def test_every_course_ends_in_order(
    shapes, outcomes: list[Outcome], seed: int, ends: float, worn: bool
) -> None:
    models = [a_model(f"m{n}", *shape[:2]) for n, shape in enumerate(shapes)]
    admitted = {f"m{n}": admits for n, (_, _, admits) in enumerate(shapes)} | {"m0": True}
    now = 0.0
    health = Health(lambda: now, Random(seed))
    if worn:
        for _ in range(3):
            health.begin(models[0]).failed(Outcome(Verdict.AGAIN))
    course = Course(iter(models), lambda route: admitted[route.name], health, ends, Random(seed))
    place = course.first()
    assert place is not None
    seen: list[ModelRoute] = []
    closed: dict[str, set[str]] = defaultdict(set)
    for outcome in [*outcomes, *[Outcome(Verdict.ELSEWHERE)] * 60]:
        assert place.place not in closed[place.name], "who will not answer is not asked again"
        seen.append(place)
        lease = health.begin(place)
        lease.failed(outcome)
        following = course.after(place, outcome, now)
        if following is None:
            break
        assert outcome.verdict is not Verdict.FINAL
        assert now < ends
        if outcome.verdict is Verdict.ELSEWHERE or (outcome.wait or 0) > 0.016:
            closed[place.name].add(place.place)
        assert 0 <= following.pause <= 0.016
        if following.place.place == place.place and outcome.wait:
            assert following.pause >= outcome.wait - 1e-9
        if following.pause:
            assert now + following.pause < ends, "no pause leads over the deadline"
        now += following.pause
        place = following.place
    else:
        raise AssertionError("the course does not end")
    names = [each.name for each in seen]
    order = list(dict.fromkeys(names))
    assert names == [name for name in order for _ in range(names.count(name))], "one by one"
    assert all(admitted[name] for name in order)
    for (connections, attempts, _), model in zip(shapes, models, strict=True):
        most = connections if attempts is None else 1 + attempts
        assert names.count(model.name) <= most
    assert health.working() == 0


# -- over real connections
@pytest.fixture
def limits() -> Limits:
    return Limits(tick=0.02, model_response_timeout=10.0, connect_timeout=2.0)


class Providers:
    """Providers that fail at random, and what they did with each call."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.servers: list[Upstream] = []
        self.done: dict[str, list[str]] = defaultdict(list)
        self.ways: dict[str, Handler] = {
            "stream": streaming(*EVENTS),
            "slow": refusing("429 Slow Down", retry_after_ms="5"),
            "busy": refusing("503 Service Unavailable", retry_after="1"),
            "oops": refusing("500 Internal Server Error"),
            "page": plain(b"<html>", "502 Bad Gateway", "text/html"),
            "key": refusing("401 Unauthorized"),
            "fault": refusing("400 Bad Request"),
            "long": plain(b'{"error": "' + b"x" * 100_000 + b'"}', "500 Oops"),
            "hangs": hanging_up,
            "silent": silent,
            "half": plain(b'{"half":'),
            "broken": streaming(EVENTS[0], end=b"", pause=0.005),
        }

    async def __call__(
        self, request: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        call = request.headers["x-request-id"]
        way = self.random.choice(["good", "good", *self.ways])
        self.done[call].append(way)
        if way == "good":
            told = {"id": f"{call}/{len(self.done[call])}", "usage": {"prompt_tokens": 1}}
            await plain(json.dumps(told).encode())(request, reader, writer)
        else:
            await self.ways[way](request, reader, writer)


ENDINGS = {"good", "stream", "fault", "broken"}
"""After these nothing may be tried again: something of them went to the client."""


async def build(world: World, providers: Providers, random: Random) -> None:
    """A model with up to two that stand in for it, each with some connections."""
    policy = TokenPolicy(name="cap", granularity="day", total=10**9, strict=True)
    limit = RateLimit(requests=10**6, tokens=10**9, per="hour", by="model", counter="c")
    for name in ("first", "second", "third"):
        retries = {"attempts": random.randint(1, 3)} | SPANS
        fields = {
            "timeoutMs": 500,
            "retries": random.choice([None, retries]),
            "fallbacks": ["second", "third"] if name == "first" else None,
            "balance": {"failures": 4, "coolDownSeconds": 1},
            "cache": random.choice([None, {"ttlSeconds": 1}]) if name == "first" else None,
        }
        found = [await provider(world, providers) for _ in range(random.randint(1, 3))]
        providers.servers += [server for server, _ in found]
        urls = [url for _, url in found]
        urls += ["http://127.0.0.1:9/v1"] * random.randint(0, 1)
        spread(world, name, urls, **{key: value for key, value in fields.items() if value})
        extra = {"token_policies": (policy,), "strict": True, "rate_limits": (limit,)}
        route = world.routes.models["main", name]
        places = tuple(msgspec.structs.replace(place, **extra) for place in route.places)
        whole = msgspec.structs.replace(route, places=places, **extra)
        world.routes.models["main", name] = whole


async def whole(client: Client, headers: dict[str, str]) -> bytes | None:
    """The body of an answer; None when it is cut off."""
    if "content-length" in headers:
        return await client.reader.readexactly(int(headers["content-length"]))
    content = b""
    while line := await client.reader.readline():
        piece = await client.reader.readexactly(int(line, 16) + 2)
        if piece == b"\r\n":
            return content
        content += piece[:-2]
    assert b"HTTP/1.1" not in content, "a second answer"
    return None


async def call(world: World, client: Client, name: str, random: Random) -> None:
    """One call; its client may leave. What comes back is one answer and nothing after it."""
    content = body(max_tokens=10, stream=random.random() < 0.3, n=1, seed=name)
    headers = {"X-Request-Id": name, "Content-Type": "application/json"}
    client.send(path("first"), method="POST", body=content, headers=headers)
    if random.random() < 0.15:
        await asyncio.sleep(random.random() * 0.1)
        await leave(client)
        return
    head = await asyncio.wait_for(client.head(), 20)
    assert head.headers["x-request-id"] == name
    content = await asyncio.wait_for(whole(client, head.headers), 20)
    if content is None:
        return
    if head.status == 200 and "x-serai-cache" not in head.headers:
        own = content == b"".join(EVENTS) or json.loads(content)["id"].startswith(f"{name}/")
        assert own, content
    if head.headers.get("connection") != "close":
        following = await asyncio.wait_for(client.ask("/v0/next"), 10)
        assert following.headers["x-app"] == "asgi", "something stands before the next answer"


@pytest.mark.parametrize("seed", range(4))
async def test_one_answer_and_nothing_left_behind(world: World, seed: int) -> None:
    random, providers = Random(seed), Providers(seed)
    await build(world, providers, random)
    world.gateway.health._random.seed(seed)

    async def caller(number: int) -> None:
        for turn in range(12):
            await call(world, await world.client(), f"call-{number}-{turn}", random)

    await asyncio.gather(*(caller(number) for number in range(6)))
    await at_rest(world)
    await asyncio.sleep(0.05)
    told = [usage.request_id for usage in world.usages]
    assert len(told) == len(set(told)), "each call is metered once"
    assert set(told) >= set(providers.done), "and none that was sent is forgotten"
    for name, ways in providers.done.items():
        early = [way for way in ways[:-1] if way in ENDINGS]
        assert not early, f"{name} went on after its first byte: {ways}"
    for usage, route in zip(world.usages, world.answering, strict=True):
        ways = providers.done.get(usage.request_id, [])
        if usage.status == 200 and ways:
            assert ways[-1] in ENDINGS
            assert route.name in ("first", "second", "third")
    for _ in range(200):
        kept = sum(map(len, world.gateway.pool._idle.values()))
        held = sum(server.connections - server.closed for server in providers.servers)
        if held == kept:
            break
        await asyncio.sleep(0.01)
    assert held == kept, "connections of attempts that were given up are left"
    assert not world.gateway.token_policies._reserved
    counters = world.gateway.rate_limits._counters.values()
    assert all(counter.held == 0 for counter in counters)
    assert len({way for ways in providers.done.values() for way in ways}) > 8
    assert max(map(len, providers.done.values())) > 3, "there were retries"
