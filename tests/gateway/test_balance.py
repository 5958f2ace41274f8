"""Several connections of one model: shares, load, failures, and cool-downs."""

import asyncio
from collections import Counter
from random import Random

import msgspec
import pytest

from serai.gateway.limits import Limits
from serai.gateway.models.health import LONGEST_COOL_DOWN, MOST_PLACES, Health
from serai.gateway.models.verdicts import Outcome, Verdict
from serai.gateway.routes import ModelRoute
from serai.gateway.usage import ModelUsage
from serai.metered import model_calls

from .model_calls import ANSWER, ask, body
from .routed_calls import at_rest, leave, path, provider, refusing, settings, silent, spread
from .world import Client, World, plain, principal

DOWN = refusing("503 Service Unavailable")
FAILED = Outcome(Verdict.AGAIN)


@pytest.fixture
def limits() -> Limits:
    return Limits(tick=0.02, model_response_timeout=2.0)


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def places(*weights: int, **balance: object) -> list[ModelRoute]:
    route = ModelRoute(
        account_id="a",
        workspace="w",
        name="m",
        resource_id="r",
        provider="openai",
        base_url="http://x.test",
        api_key="",
        model=None,
        gateway=settings(balance=balance),
    )
    return [
        msgspec.structs.replace(route, place=f"p{number}", weight=weight)
        for number, weight in enumerate(weights)
    ]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(clock, Random(7))


def test_each_gets_its_share_while_little_goes_on(health: Health) -> None:
    three = places(6, 3, 1)
    drawn = Counter(health.choose(three).place for _ in range(6000))
    assert [round(drawn[place.place] / 600) for place in three] == [6, 3, 1]


def test_under_load_the_idle_one_gets_more(health: Health) -> None:
    busy, idle = places(1, 1)
    for _ in range(5):
        health.begin(busy)
    drawn = Counter(health.choose([busy, idle]).place for _ in range(1000))
    assert 0.70 < drawn["p1"] / 1000 < 0.80, "two draws: it loses only where both fall on the other"


def test_calls_that_last_end_up_by_weight(health: Health) -> None:
    two = places(3, 1)
    held = [health.begin(health.choose(two)) for _ in range(400)]
    drawn = Counter(lease.route.place for lease in held)
    assert 280 <= drawn["p0"] <= 320
    for lease in held:
        lease.end()
    assert health.working() == 0


def test_a_spare_serves_while_the_others_rest(health: Health, clock: Clock) -> None:
    main, spare = places(1, 0, failures=1, coolDownSeconds=10)
    assert {health.choose([main, spare]).place for _ in range(50)} == {"p0"}
    health.begin(main).failed(FAILED)
    assert {health.choose([main, spare]).place for _ in range(50)} == {"p1"}
    clock.now += 10
    assert {health.choose([main, spare]).place for _ in range(50)} == {"p0"}


def test_it_cools_down_after_failures_in_a_row(health: Health, clock: Clock) -> None:
    (place,) = places(1, failures=3, coolDownSeconds=10)
    for _ in range(2):
        health.begin(place).failed(FAILED)
    health.begin(place).well()
    for _ in range(2):
        health.begin(place).failed(FAILED)
    assert not health.rests(place)
    health.begin(place).failed(FAILED)
    assert health.rests(place)
    clock.now += 9.9
    assert health.rests(place)
    clock.now += 0.1
    assert not health.rests(place)


def test_after_the_cool_down_one_call_tries_it(health: Health, clock: Clock) -> None:
    (place,) = places(1, failures=1, coolDownSeconds=10)
    health.begin(place).failed(FAILED)
    clock.now += 10
    trial = health.begin(place)
    assert health.rests(place), "the others wait for how it goes"
    trial.failed(FAILED)
    assert health.rests(place)
    clock.now += 10
    trial = health.begin(place)
    trial.end()
    assert not health.rests(place), "a client that left has told nothing: the next one tries"
    trial = health.begin(place)
    trial.well()
    assert not health.rests(place)
    trial.end()


@pytest.mark.parametrize(
    ("wait", "rests"), [(None, 0.0), (0.0, 0.0), (5.0, 5.0), (1e9, LONGEST_COOL_DOWN)]
)
def test_the_provider_says_how_long(
    health: Health, clock: Clock, wait: float | None, rests: float
) -> None:
    (place,) = places(1, failures=3)
    health.begin(place).failed(Outcome(Verdict.AGAIN, wait))
    assert health.rests(place) == (rests > 0)
    clock.now += rests
    assert not health.rests(place)


def test_where_all_rest_the_first_to_end_is_taken(health: Health, clock: Clock) -> None:
    one, two = places(1, 1)
    health.begin(one).failed(Outcome(Verdict.AGAIN, 20.0))
    health.begin(two).failed(Outcome(Verdict.AGAIN, 10.0))
    assert health.choose([one, two]) is two


def test_a_place_at_rest_is_forgotten(health: Health) -> None:
    for place in places(*[1] * 10):
        lease = health.begin(place)
        lease.well()
        lease.end()
        lease.end()
    assert not health._states


async def three(world: World, *handlers, **fields: object) -> list:
    found = [await provider(world, handler) for handler in handlers]
    spread(world, "wide", [url for _, url in found], **fields)
    return [upstream for upstream, _ in found]


async def test_calls_reach_every_connection_with_its_key(world: World, client: Client) -> None:
    servers = await three(world, *[plain(ANSWER)] * 3)
    for _ in range(40):
        answer = await ask(client, path("wide"))
        number = answer.headers["x-serai-connection"].removeprefix("c")
        request = servers[int(number)].requests[-1]
        assert request.headers["authorization"] == f"Bearer sk-{number}-of-its-own"
    assert all(server.requests for server in servers)
    assert {route.resource_id for route in world.answering} == {"id-wide"}
    await at_rest(world)


async def test_a_failure_goes_to_another_connection_at_once(world: World, client: Client) -> None:
    servers = await three(world, DOWN, DOWN, plain(ANSWER), weights=[500, 500, 1])
    answer = await ask(client, path("wide"))
    assert (answer.status, answer.headers["x-serai-connection"]) == (200, "c2")
    assert [len(server.requests) for server in servers] == [1, 1, 1]


async def test_all_fail_once_and_then_it_is_told(world: World, client: Client) -> None:
    servers = await three(world, DOWN, DOWN)
    answer = await ask(client, path("wide"))
    assert (answer.status, answer.headers["x-serai-attempts"]) == (503, "2")
    assert [len(server.requests) for server in servers] == [1, 1]


async def test_a_bad_key_at_one_connection_costs_nobody_an_answer(
    world: World, client: Client
) -> None:
    servers = await three(world, refusing("401 Unauthorized"), plain(ANSWER))
    for _ in range(20):
        assert (await ask(client, path("wide"))).status == 200
    assert len(servers[0].requests) == 3, "then it cools down"


async def test_long_calls_spread(world: World) -> None:
    servers = await three(world, silent, silent)
    clients = [await world.client() for _ in range(40)]
    for client in clients:
        client.send(path("wide"), method="POST", body=body())
        await asyncio.sleep(0.002)
    await asyncio.sleep(0.1)
    assert world.gateway.health.working() == 40
    counts = [len(server.requests) for server in servers]
    assert sum(counts) == 40
    assert min(counts) >= 14
    for client in clients:
        await leave(client)
    await at_rest(world)


async def test_what_is_kept_at_one_provider_stays_at_the_first(
    world: World, client: Client
) -> None:
    servers = await three(world, plain(b"{}"), plain(b"{}"))
    for _ in range(20):
        await client.ask("/main/models/wide/v1/batches", method="POST", body=b"{}")
        await client.ask("/main/models/wide/v1/files/f")
    assert [len(server.requests) for server in servers] == [40, 0]


def test_places_that_are_no_more_are_forgotten(health: Health, clock: Clock) -> None:
    (place,) = places(1, failures=1, coolDownSeconds=10)
    for number in range(MOST_PLACES):
        gone = msgspec.structs.replace(place, place=f"gone-{number}")
        health.begin(gone).failed(FAILED)
    clock.now += 5
    resting = msgspec.structs.replace(place, place="resting")
    health.begin(resting).failed(FAILED)
    clock.now += 5
    lease = health.begin(place)
    assert set(health._states) == {"resting", place.place}
    lease.end()


async def test_how_to_call_each_place_is_worked_out_once(world: World, client: Client) -> None:
    await three(world, *[plain(ANSWER)] * 3)

    def plans() -> dict[object, int]:
        return {key: id(plan) for key, plan in world.gateway.plans._known.items()}

    for _ in range(30):
        await ask(client, path("wide"))
    before = plans()
    assert len(before) == 4, "the model's own, to look at the call, and those of its places"
    for _ in range(10):
        await ask(client, path("wide"))
    assert plans() == before


def test_calls_of_one_second_at_two_providers_are_metered_apart() -> None:
    usage = ModelUsage(
        request_id="r", status=200, input_tokens=2, output_tokens=1, total_tokens=3,
        started=1_777_000_000.25, duration=0.1, streamed=False, counted=True,
    )  # fmt: skip
    one, other = (
        msgspec.structs.replace(place, provider=provider)
        for place, provider in zip(places(1, 1), ("openai", "groq"), strict=True)
    )
    me = principal("main")
    made = model_calls([(one, me, usage), (other, me, usage), (other, me, usage)])
    assert [(call.provider, call.calls) for call in made] == [("openai", 1), ("groq", 2)]
