"""Calls that are tried again: when, how often, after what pause, and what the client is told."""

import asyncio
import json
import time

import pytest

from serai.catalog.provider_api import ProviderApi
from serai.gateway.limits import Limits
from serai.gateway.problems import ProviderCredentialsRefused

from .model_calls import ANSWER, ask, body
from .routed_calls import (
    ERROR,
    EVENTS,
    at_rest,
    base,
    hanging_up,
    leave,
    path,
    refusing,
    script,
    settings,
    silent,
    streaming,
)
from .world import Client, World, plain, read_head

QUICK = {"attempts": 2, "backoffMs": 1, "maxBackoffMs": 2}


@pytest.fixture
def limits() -> Limits:
    return Limits(tick=0.02, model_response_timeout=2.0, model_body_bytes=100_000)


def add(world: World, **fields: object) -> str:
    api = fields.pop("api", None)
    world.add_model("tough", base(world), model="gpt-real", gateway=settings(**fields), api=api)
    return path("tough")


@pytest.mark.parametrize(
    "failure",
    [
        refusing("429 Too Many Requests"),
        refusing("408 Request Timeout"),
        refusing("500 Internal Server Error"),
        refusing("503 Service Unavailable"),
        refusing("529 Overloaded"),
        refusing("400 Bad Request", x_should_retry="true"),
        plain(b"<html>busy</html>", "502 Bad Gateway", "text/html"),
        plain(b"<html>busy</html>", kind="text/html"),
        plain(b'{"half":'),
        hanging_up,
    ],
)
async def test_what_may_pass_is_tried_again(world: World, client: Client, failure) -> None:
    world.model.handler = script(failure, failure, plain(ANSWER))
    answer = await ask(client, add(world, retries=QUICK))
    assert (answer.status, answer.body) == (200, ANSWER)
    assert answer.headers["x-serai-attempts"] == "3"
    assert answer.headers["x-serai-model"] == "tough"
    bodies = [json.loads(request.body) for request in world.model.requests]
    assert len(bodies) == 3
    assert all(each == bodies[0] for each in bodies)
    (usage,) = world.usages
    assert (usage.status, usage.attempts, usage.input_tokens) == (200, 3, 11)
    await at_rest(world)


@pytest.mark.parametrize(
    "failure",
    [
        refusing("400 Bad Request"),
        refusing("422 Unprocessable Entity"),
        refusing("409 Conflict"),
        refusing("501 Not Implemented"),
        refusing("401 Unauthorized"),
        refusing("404 Not Found"),
        refusing("503 Service Unavailable", x_should_retry="false"),
        refusing("429 Too Many Requests", retry_after="60"),
        refusing("429 Too Many Requests", retry_after_ms="60000"),
        refusing("429 Too Many Requests", retry_after="Fri, 31 Dec 2100 23:59:59 GMT"),
        refusing("429 Too Many Requests", retry_after="inf"),
    ],
)
async def test_what_will_not_pass_is_told(world: World, client: Client, failure) -> None:
    world.model.handler = script(failure, plain(ANSWER))
    answer = await ask(client, add(world, retries=QUICK))
    assert (answer.status >= 400, answer.body) == (True, ERROR)
    assert answer.headers["x-serai-attempts"] == "1"
    assert answer.headers["x-blaxel-source"] == "provider"
    assert len(world.model.requests) == 1


async def test_409_is_tried_again_where_the_provider_says_so(world: World, client: Client) -> None:
    world.model.handler = script(refusing("409 Conflict"), plain(ANSWER))
    url = add(world, retries=QUICK, api=ProviderApi(retryable=(408, 409, 429)))
    assert (await ask(client, url)).status == 200


async def test_named_statuses_replace_the_providers(world: World, client: Client) -> None:
    url = add(world, retries=QUICK | {"on": [418]})
    world.model.handler = script(refusing("418 Teapot"), plain(ANSWER))
    assert (await ask(client, url)).status == 200
    world.model.handler = script(refusing("503 Service Unavailable"), plain(ANSWER))
    assert (await ask(client, url)).status == 503


async def test_the_last_failure_is_told(world: World, client: Client) -> None:
    world.model.handler = refusing("503 Service Unavailable", retry_after="0")
    answer = await ask(client, add(world, retries=QUICK))
    assert (answer.status, answer.body) == (503, ERROR)
    assert answer.headers["x-serai-attempts"] == "3"
    assert answer.headers["retry-after"] == "0"
    (usage,) = world.usages
    assert (usage.status, usage.attempts) == (503, 3)


async def test_nobody_there(world: World, client: Client) -> None:
    world.add_model("gone", "http://127.0.0.1:9", gateway=settings(retries=QUICK))
    answer = await ask(client, path("gone"))
    assert answer.status == 502
    assert json.loads(answer.body)["error"]["code"] == "UPSTREAM_CONNECT_FAILED"
    assert answer.headers["x-serai-attempts"] == "3"
    await at_rest(world)


async def test_the_provider_says_how_long_to_wait(world: World, client: Client) -> None:
    retries = {"attempts": 1, "backoffMs": 1, "maxBackoffMs": 1000}
    world.model.handler = script(refusing("429 Slow Down", retry_after_ms="150"), plain(ANSWER))
    before = time.monotonic()
    assert (await ask(client, add(world, retries=retries))).status == 200
    assert time.monotonic() - before >= 0.15


async def test_the_deadline_of_the_call_bounds_all(world: World, client: Client) -> None:
    retries = {"attempts": 10, "backoffMs": 60_000, "maxBackoffMs": 60_000}
    world.model.handler = refusing("429 Slow Down", retry_after="5")
    answer = await ask(client, add(world, retries=retries))
    assert answer.status == 429, "a pause over the deadline is not begun"
    assert len(world.model.requests) == 1


async def test_a_timeout_is_tried_again(world: World, client: Client) -> None:
    world.model.handler = script(silent, plain(ANSWER))
    answer = await ask(client, add(world, timeoutMs=300, retries=QUICK))
    assert (answer.status, answer.headers["x-serai-attempts"]) == (200, "2")
    await at_rest(world)
    assert world.model.closed == 1, "the connection that was waited for is given up"


async def test_timeouts_alone(world: World, client: Client) -> None:
    world.model.handler = silent
    answer = await ask(client, add(world, timeoutMs=60))
    assert answer.status == 504
    assert json.loads(answer.body)["error"]["code"] == "UPSTREAM_TIMEOUT"
    assert "0.06 s" in answer.body.decode()
    assert world.usages[0].status == 504


async def test_a_client_sets_the_deadline_of_its_call(world: World, client: Client) -> None:
    world.model.handler = silent
    header = {"X-Serai-Timeout-Ms": "80"}
    answer = await ask(client, path("llm"), headers=header)
    assert answer.status == 504
    answer = await ask(client, add(world, timeoutMs=50, retries=QUICK), headers=header)
    assert (answer.status, answer.headers["x-serai-attempts"]) == (504, "2")
    assert "x-serai-timeout-ms" not in world.model.requests[0].headers


@pytest.mark.parametrize("value", ["0", "1.5", "soon", "-1", "3600001", "", "9" * 5000])
async def test_a_senseless_deadline_is_refused(world: World, client: Client, value: str) -> None:
    answer = await ask(client, path("llm"), headers={"X-Serai-Timeout-Ms": value})
    assert answer.status == 400
    assert b"x-serai-timeout-ms" in answer.body
    assert not world.model.requests


async def test_calls_that_waited_for_one_token_are_told_apart(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = ProviderCredentialsRefused("The token server said no.")

    async def fetch(account: str) -> bytes:
        raise shared

    monkeypatch.setattr(world.gateway.google_tokens, "fetch", fetch)
    api = ProviderApi(service_account="{}")
    marked = await ask(client, add(world, api=api, timeoutMs=500))
    world.add_model("plain", base(world), api=api)
    unmarked = await ask(client, path("plain"))
    assert marked.headers["x-serai-model"] == "tough"
    assert not [name for name in unmarked.headers if name.startswith("x-serai-")]


async def test_nothing_is_tried_again_after_the_first_byte(world: World, client: Client) -> None:
    world.model.handler = script(streaming(EVENTS[0], end=b"", pause=0.02), plain(ANSWER))
    client.send(
        add(world, retries=QUICK), method="POST", body=body(stream=True), headers={"A": "b"}
    )
    text = await client.ended()
    assert text.count(b"HTTP/1.1") == 1
    assert b'"error"' in text
    assert len(world.model.requests) == 1
    await at_rest(world)


async def test_a_client_that_leaves_ends_it(world: World, client: Client) -> None:
    retries = {"attempts": 5, "backoffMs": 1, "maxBackoffMs": 1000}
    world.model.handler = refusing("503 Service Unavailable", retry_after="0.3")
    client.send(add(world, retries=retries), method="POST", body=body())
    await asyncio.sleep(0.1)
    await leave(client)
    await at_rest(world)
    await asyncio.sleep(0.4)
    assert len(world.model.requests) == 1
    assert world.usages[0].status == 499


async def test_long_errors_are_tried_again_too(world: World, client: Client) -> None:
    long = plain(b'{"error": "' + b"x" * 200_000 + b'"}', "500 Oops")
    world.model.handler = script(long, plain(ANSWER))
    answer = await ask(client, add(world, retries=QUICK))
    assert (answer.status, answer.body) == (200, ANSWER)


@pytest.mark.parametrize(
    ("method", "rest", "failure", "times"),
    [
        ("GET", "/v1/models", refusing("500 Oops"), 3),
        ("DELETE", "/v1/files/f", refusing("500 Oops"), 3),
        ("POST", "/v1/batches", refusing("500 Oops"), 1),
        ("POST", "/v1/batches", refusing("429 Slow Down"), 3),
    ],
)
async def test_what_changes_something_at_the_provider_is_sent_once(
    world: World, client: Client, method: str, rest: str, failure, times: int
) -> None:
    world.model.handler = failure
    add(world, retries=QUICK)
    content = b"{}" if method == "POST" else None
    answer = await client.ask(f"/main/models/tough{rest}", method=method, body=content)
    assert answer.status >= 429
    assert len(world.model.requests) == times


async def test_a_form_is_sent_again(world: World, client: Client) -> None:
    form = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nllm\r\n--x--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    world.model.handler = script(refusing("500 Oops"), plain(b'{"text": "hi"}'))
    add(world, retries=QUICK)
    target = "/main/models/tough/v1/audio/transcriptions"
    answer = await client.ask(target, method="POST", body=form, headers=headers)
    assert answer.status == 200
    assert [b"gpt-real" in request.body for request in world.model.requests] == [True, True]


async def test_a_body_too_long_to_hold_streams_and_is_sent_once(
    world: World, client: Client
) -> None:
    world.model.handler = refusing("500 Oops")
    add(world, retries=QUICK)
    target = "/main/models/tough/v1/audio/transcriptions"
    headers = {"Content-Type": "application/octet-stream"}
    answer = await client.ask(target, method="POST", body=b"s" * 150_000, headers=headers)
    assert (answer.status, answer.headers["x-serai-attempts"]) == (500, "1")
    assert [len(request.body) for request in world.model.requests] == [150_000]
    await at_rest(world)


async def test_pipelined_calls_stay_apart(world: World, client: Client) -> None:
    world.model.handler = script(
        refusing("500 Oops"), plain(b'{"n": 1}'), refusing("500 Oops"), plain(b'{"n": 2}')
    )
    url = add(world, retries=QUICK)
    for _ in range(2):
        client.send(url, method="POST", body=body())
    answers = [await client.answer() for _ in range(2)]
    assert [json.loads(answer.body)["n"] for answer in answers] == [1, 2]


async def test_a_client_may_wait_before_it_sends_its_body(world: World, client: Client) -> None:
    world.model.handler = script(refusing("500 Oops"), plain(ANSWER))
    content = body()
    headers = {
        "Expect": "100-continue",
        "Content-Length": str(len(content)),
        "Content-Type": "application/json",
    }
    client.send(add(world, retries=QUICK), method="POST", headers=headers)
    line, _ = await read_head(client.reader)
    assert line == b"HTTP/1.1 100 Continue"
    client.writer.write(content)
    assert (await client.answer()).headers["x-serai-attempts"] == "2"


@pytest.mark.parametrize("key", ["good-key", "slow-key"])
async def test_a_long_body_in_chunks_is_sent_again(world: World, client: Client, key: str) -> None:
    world.model.handler = script(refusing("500 Oops"), plain(ANSWER))
    content = body(messages=[{"content": "x" * 90_000}])
    headers = {"Transfer-Encoding": "chunked"}
    client.send(add(world, retries=QUICK), method="POST", headers=headers, key=key)
    for start in range(0, len(content), 10_000):
        piece = content[start : start + 10_000]
        client.writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
    client.writer.write(b"0\r\n\r\n")
    assert (await client.answer()).status == 200
    sent = [request.body for request in world.model.requests]
    assert len(sent) == 2
    assert sent[0] == sent[1]


async def test_a_body_over_the_limit_is_refused(world: World, client: Client) -> None:
    answer = await ask(client, add(world, retries=QUICK), body(x="x" * 110_000))
    assert answer.status == 413
    assert "x-serai-attempts" not in answer.headers


async def test_an_old_client_gets_a_stream(world: World, client: Client) -> None:
    world.model.handler = script(refusing("500 Oops"), streaming(*EVENTS))
    content = body(stream=True)
    head = (
        f"POST {add(world, retries=QUICK, cache={'ttlSeconds': 9})} HTTP/1.0\r\nHost: x\r\n"
        f"Authorization: Bearer good-key\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    client.writer.write(head.encode() + content)
    raw = await client.ended()
    assert raw.endswith(b"\r\n\r\n" + b"".join(EVENTS))
    other = await world.client()
    other.writer.write(head.encode() + content)
    raw = await other.ended()
    assert b"x-serai-cache: hit" in raw
    assert raw.endswith(b"\r\n\r\n" + b"".join(EVENTS))
