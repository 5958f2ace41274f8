"""Models that stand in for one another: when, in which order, and who is billed."""

import asyncio
import contextlib
import json
import socket

import pytest

from serai.catalog.provider_api import ProviderApi
from serai.gateway.limits import Limits
from serai.gateway.models.rate_limits import RateLimit
from serai.gateway.models.token_policies import TokenPolicy

from .model_calls import ANSWER, ask, body
from .routed_calls import (
    ERROR,
    EVENTS,
    at_rest,
    base,
    hanging_up,
    path,
    provider,
    refusing,
    settings,
    silent,
    spread,
    streaming,
)
from .world import Client, Upstream, World, plain

DOWN = refusing("503 Service Unavailable")
OTHER = json.dumps({"id": "c2", "usage": {"prompt_tokens": 1, "completion_tokens": 2}}).encode()


@pytest.fixture
def limits() -> Limits:
    return Limits(tick=0.02, model_response_timeout=2.0, connect_timeout=0.2)


async def two(world: World, *, first=DOWN, second=None, **fields: object) -> tuple[str, Upstream]:
    """A model that falls back to ``second``, and the provider of that."""
    world.model.handler = first
    upstream, url = await provider(world, second or plain(OTHER))
    fields = {"fallbacks": ["second"]} | fields
    world.add_model("first", base(world), model="one", gateway=settings(**fields))
    world.add_model("second", url, model="two", key="sk-second")
    return path("first"), upstream


@pytest.mark.parametrize(
    "failure",
    [
        DOWN,
        refusing("401 Unauthorized"),
        refusing("404 Not Found"),
        refusing("429 Slow Down", retry_after="60"),
        refusing("500 Oops", x_should_retry="false"),
        plain(b"<html>", kind="text/html"),
        hanging_up,
    ],
)
async def test_the_next_model_answers(world: World, client: Client, failure) -> None:
    url, second = await two(world, first=failure)
    answer = await ask(client, url)
    assert (answer.status, answer.body) == (200, OTHER)
    assert answer.headers["x-serai-model"] == "second"
    assert answer.headers["x-serai-attempts"] == "2"
    (request,) = second.requests
    assert json.loads(request.body)["model"] == "two"
    assert request.headers["authorization"] == "Bearer sk-second"
    assert [route.name for route in world.answering] == ["second"]
    assert (world.usages[0].input_tokens, world.usages[0].attempts) == (1, 2)
    await at_rest(world)


@pytest.mark.parametrize("status", ["400 Bad Request", "413 Too Large", "422 No"])
async def test_what_is_the_callers_fault_is_told(world: World, client: Client, status: str) -> None:
    url, second = await two(world, first=refusing(status))
    answer = await ask(client, url)
    assert (answer.status, answer.body) == (int(status[:3]), ERROR)
    assert not second.requests


async def test_retries_come_before_fallbacks_and_each_model_has_its_own(
    world: World, client: Client
) -> None:
    retries = {"attempts": 2, "backoffMs": 1, "maxBackoffMs": 2}
    url, second = await two(world, second=DOWN, retries=retries, fallbacks=["second", "third"])
    third, place = await provider(world, plain(OTHER))
    world.add_model("third", place, model="three")
    answer = await ask(client, url)
    assert (answer.status, answer.headers["x-serai-model"]) == (200, "third")
    assert answer.headers["x-serai-attempts"] == "5"
    sent = [len(each.requests) for each in (world.model, second, third)]
    assert sent == [3, 1, 1]


async def test_a_silent_model_gives_way_to_the_next(world: World, client: Client) -> None:
    answer = await ask(client, (await two(world, first=silent, timeoutMs=60))[0])
    assert (answer.status, answer.headers["x-serai-model"]) == (200, "second")


async def test_streams_fall_back_before_their_first_byte(world: World, client: Client) -> None:
    url, _ = await two(world, second=streaming(*EVENTS))
    answer = await ask(client, url, body(stream=True))
    assert answer.body == b"".join(EVENTS)
    assert answer.headers["x-serai-model"] == "second"


async def test_the_last_failure_is_told_when_all_fail(world: World, client: Client) -> None:
    answer = await ask(client, (await two(world, second=refusing("500 Oops")))[0])
    assert (answer.status, answer.headers["x-serai-model"]) == (500, "second")
    assert [route.name for route in world.answering] == ["second"]


async def test_fallbacks_of_fallbacks_are_not_asked(world: World, client: Client) -> None:
    url, _ = await two(world, second=DOWN)
    route = world.routes.models["main", "second"]
    world.add_model("second", route.base_url, gateway=settings(fallbacks=["first"]))
    answer = await ask(client, url)
    assert (answer.status, answer.headers["x-serai-attempts"]) == (503, "2")


def spent(world: World) -> dict[str, object]:
    policy = TokenPolicy(name="cap", granularity="day", total=1)
    world.gateway.token_policies.note("id-second", (policy,), 5, 5)
    return {"token_policies": (policy,)}


@pytest.mark.parametrize(
    "state",
    [
        lambda world: None,
        lambda world: {"disabled": True},
        lambda world: {"unusable": "it names no connection"},
        lambda world: {"api": ProviderApi(family="anthropic")},
        spent,
    ],
)
async def test_a_model_that_may_not_be_called_is_passed_over(
    world: World, client: Client, state
) -> None:
    url, second = await two(world, fallbacks=["second", "third"])
    fields = state(world)
    place = world.routes.models.pop(("main", "second")).base_url
    if fields is not None:
        world.add_model("second", place, **fields)
    _, other = await provider(world, plain(ANSWER))
    world.add_model("third", other)
    answer = await ask(client, url)
    assert (answer.status, answer.headers["x-serai-model"]) == (200, "third")
    assert not second.requests


NO_PLACE = {"unusable": "it names the connection 'x', which does not exist", "unlinked": True}


async def replaced(world: World, **fields: object) -> Upstream:
    """A model without a connection, which falls back to ``second``; the provider of that."""
    upstream, url = await provider(world, plain(OTHER))
    extra = settings(fallbacks=["gone", "off", "second"])
    world.add_model("first", "", gateway=extra, **NO_PLACE | fields)
    world.add_model("off", url, disabled=True)
    world.add_model("second", url, model="two", key="sk-second")
    return upstream


async def test_fallbacks_answer_for_a_model_without_a_connection(
    world: World, client: Client
) -> None:
    second = await replaced(world)
    answer = await ask(client, path("first"))
    assert (answer.status, answer.body) == (200, OTHER)
    assert answer.headers["x-serai-model"] == "second"
    assert answer.headers["x-serai-attempts"] == "1"
    assert json.loads(second.requests[0].body)["model"] == "two"
    assert (world.usages[0].called, world.answering[0].name) == ("first", "second")
    second.handler = DOWN
    assert (await ask(client, path("first"))).status == 503
    await at_rest(world)


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"disabled": True}, 403, "MODEL_DISABLED"),
        ({"prohibited": "the policy 'here' says so"}, 403, "POLICY_VIOLATION"),
        ({"unlinked": False}, 503, "MODEL_NOT_USABLE"),
        ({"gateway": settings(fallbacks=["gone", "off"])}, 503, "MODEL_NOT_USABLE"),
        ({"api": ProviderApi(family="anthropic")}, 503, "MODEL_NOT_USABLE"),
    ],
)
async def test_nobody_answers_for_a_model_that_is_switched_off_or_forbidden(
    world: World, client: Client, fields: dict[str, object], status: int, code: str
) -> None:
    second = await replaced(world)
    route = world.routes.models["main", "first"]
    world.add_model("first", "", **{"gateway": route.gateway} | NO_PLACE | fields)
    answer = await ask(client, path("first"))
    assert (answer.status, json.loads(answer.body)["error"]["code"]) == (status, code)
    assert not second.requests


async def test_what_a_model_without_a_connection_keeps_is_not_asked_for_elsewhere(
    world: World, client: Client
) -> None:
    second = await replaced(world)
    answer = await client.ask("/main/models/first/v1/files/file-1")
    assert (answer.status, json.loads(answer.body)["error"]["code"]) == (503, "MODEL_NOT_USABLE")
    client.send(
        path("first"),
        method="POST",
        headers={"Transfer-Encoding": "chunked", "Content-Type": "audio/wav"},
    )
    client.writer.write(b"0\r\n\r\n")
    assert (await client.answer()).status == 503
    assert not second.requests


async def test_limits_of_a_model_without_a_connection_hold(world: World, client: Client) -> None:
    await replaced(world, rate_limits=limited(2))
    assert [(await ask(client, path("first"))).status for _ in range(3)] == [200, 200, 429]


async def test_strict_policies_of_a_fallback_hold(world: World, client: Client) -> None:
    url, _ = await two(world)
    place = world.routes.models["main", "second"].base_url
    policy = TokenPolicy(name="cap", granularity="day", total=1000, strict=True)
    world.add_model("second", place, token_policies=(policy,), strict=True)
    assert (await ask(client, url, body(max_tokens=100))).headers["x-serai-model"] == "second"
    assert (await ask(client, url, body(max_tokens=2000))).headers["x-serai-model"] == "first"
    assert (await ask(client, url, body())).status == 503, "it does not limit its tokens"
    assert not world.gateway.token_policies._reserved


@pytest.mark.parametrize(
    ("families", "rest", "falls"),
    [
        (("google", "openai"), "/v1/chat/completions", True),
        (("google", "openai"), "/v1beta/models/m:generateContent", False),
        (("openai", "google"), "/v1/chat/completions", True),
        (("openai", "google"), "/v1/responses", False),
        (("openai", "azure-ai"), "/v1/chat/completions", True),
        (("azure-openai", "openai"), "/openai/deployments/x/chat/completions", False),
        (("google", "vertex"), "/v1beta/models/m:generateContent", True),
        (("anthropic", "anthropic"), "/v1/messages", True),
        (("cohere", "google"), "/v1/chat/completions", True),
        (("cohere", "google"), "/v2/chat", False),
    ],
)
async def test_only_what_speaks_the_calls_api_stands_in(
    world: World, client: Client, families, rest: str, falls: bool
) -> None:
    await two(world)
    for name, family in zip(("first", "second"), families, strict=True):
        route = world.routes.models["main", name]
        api = ProviderApi(family=family)
        world.add_model(name, route.base_url, model=name, api=api, gateway=route.gateway)
    answer = await ask(client, f"/main/models/first{rest}")
    assert answer.headers["x-serai-model"] == ("second" if falls else "first")


async def test_what_is_kept_at_one_provider_is_asked_there(world: World, client: Client) -> None:
    _, second = await two(world)
    answer = await client.ask("/main/models/first/v1/files/file-1")
    assert answer.status == 503
    assert not second.requests


async def test_a_model_that_cools_down_is_passed_over_at_once(world: World, client: Client) -> None:
    balance = {"failures": 2, "coolDownSeconds": 60}
    url, second = await two(world, balance=balance)
    for _ in range(4):
        assert (await ask(client, url)).headers["x-serai-model"] == "second"
    assert len(world.model.requests) == 2
    second.handler = DOWN
    answer = await ask(client, url)
    assert answer.headers["x-serai-model"] == "first", "when nobody else answers, it is asked"
    assert len(world.model.requests) == 3


async def test_a_fallback_may_have_several_connections(world: World, client: Client) -> None:
    url, _ = await two(world)
    _, bad_url = await provider(world, DOWN)
    good, good_url = await provider(world, plain(OTHER))
    spread(world, "second", [bad_url, good_url], weights=[1000, 1])
    answers = await asyncio.gather(ask(client, url))
    assert answers[0].status == 200
    assert answers[0].headers["x-serai-connection"] == "c1"
    assert len(good.requests) == 1


def limited(requests: int) -> tuple[RateLimit, ...]:
    return (RateLimit(requests=requests, per="hour", by="model", counter=f"of-{requests}"),)


async def test_rate_limits_of_a_fallback_hold(world: World, client: Client) -> None:
    url, second = await two(world)
    place = world.routes.models["main", "second"].base_url
    world.add_model("second", place, rate_limits=limited(2))
    models = [(await ask(client, url)).headers["x-serai-model"] for _ in range(4)]
    assert models == ["second", "second", "first", "first"]
    assert len(second.requests) == 2


@pytest.mark.parametrize("shared", [{"requests": 2}, {"tokens": 1300}])
async def test_a_limit_that_both_share_counts_a_call_once(
    world: World, client: Client, shared: dict[str, int]
) -> None:
    """What the first model had set aside is free again before the second is asked."""
    limits = (RateLimit(per="hour", by="workspace", counter="workspace/main", **shared),)
    await two(world)
    for name in ("first", "second"):
        route = world.routes.models["main", name]
        world.add_model(name, route.base_url, gateway=route.gateway, rate_limits=limits)
    answers = [await ask(client, path("first"), body(max_tokens=900)) for _ in range(3)]
    assert [answer.status for answer in answers[:2]] == [200, 200]
    assert answers[0].headers["x-serai-model"] == "second"
    assert answers[2].status == (429 if "requests" in shared else 200)


async def test_a_model_that_is_asked_last_sets_aside_what_it_needs_again(
    world: World, client: Client
) -> None:
    """It was passed over as it rests, and its policy is strict: calls at once stay below it."""
    policy = TokenPolicy(name="cap", granularity="day", total=1000, strict=True)
    held = []

    async def answering(request, reader, writer) -> None:
        held.append(list(world.gateway.token_policies._reserved.get("id-first", ())))
        await plain(ANSWER)(request, reader, writer)

    balance = {"failures": 1, "coolDownSeconds": 60}
    url, second = await two(world, balance=balance)
    route = world.routes.models["main", "first"]
    strict = {"token_policies": (policy,), "strict": True}
    world.add_model("first", route.base_url, gateway=route.gateway, **strict)
    assert (await ask(client, url, body(max_tokens=9))).headers["x-serai-model"] == "second"
    world.model.handler, second.handler = answering, DOWN
    answer = await ask(client, url, body(max_tokens=9))
    assert answer.headers["x-serai-model"] == "first"
    assert held == [[len(body(max_tokens=9)), 9]]
    assert not world.gateway.token_policies._reserved


async def test_a_call_is_counted_once_however_often_it_is_tried(
    world: World, client: Client
) -> None:
    retries = {"attempts": 2, "backoffMs": 1, "maxBackoffMs": 2}
    world.model.handler = DOWN
    world.add_model("first", base(world), gateway=settings(retries=retries), rate_limits=limited(3))
    answers = [await ask(client, path("first")) for _ in range(4)]
    assert [answer.status for answer in answers] == [503, 503, 503, 429]
    assert len(world.model.requests) == 9


async def test_a_connection_that_never_comes_is_given_up(world: World, client: Client) -> None:
    async def late(request, reader, writer) -> None:
        await asyncio.sleep(0.4)
        await plain(OTHER)(request, reader, writer)

    with socket.socket() as deaf, contextlib.ExitStack() as waiting:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(3):  # the system keeps so many for the one who does not take them
            other = waiting.enter_context(socket.socket())
            other.setblocking(False)
            other.connect_ex(deaf.getsockname())
        url, second = await two(world, second=late)
        where = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        extra = settings(fallbacks=["second"], timeoutMs=60)
        world.add_model("first", where, gateway=extra)
        answer = await ask(client, url)
    assert (answer.status, answer.headers["x-serai-attempts"]) == (200, "2")
    assert len(second.requests) == 1


@pytest.mark.parametrize("url", ["http://[::1", "http://a:99999", "ftp://a", ""])
async def test_a_fallback_whose_address_is_none_is_passed_over(
    world: World, client: Client, url: str
) -> None:
    world.add_model("lost", url)
    assert (await ask(client, path("lost"))).status == 503
    called, _ = await two(world, fallbacks=["lost", "second"])
    answer = await ask(await world.client(), called)
    assert (answer.status, answer.headers["x-serai-model"]) == (200, "second")
    await at_rest(world)
