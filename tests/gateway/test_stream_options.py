"""``stream_options`` for providers that refuse them, such as Mistral and Cohere."""

import json

import pytest

from serai.catalog.built_in import built_in
from serai.catalog.provider_api import ProviderApi

from .model_calls import ask, body
from .world import Client, World

MISTRAL = ProviderApi(asks_usage=False, drops_usage=True)


async def sent(world: World, client: Client, model: str | None, **fields: object) -> bytes:
    """What the provider got of a body with these fields."""
    where = f"http://127.0.0.1:{world.model_port}"
    world.add_model("mistral", where, api=MISTRAL, model=model)
    content = body(**fields)
    client.send("/main/models/mistral/v1/chat/completions", method="POST", body=content)
    assert (await client.head()).status == 200
    return bytes(world.model.requests[0].body)


def test_who_refuses_them() -> None:
    known = built_in()
    assert {name for name, one in known.items() if one.drops_usage} == {"mistral", "cohere"}
    assert known["azure-ai-inference"].integration.headers == {"extra-parameters": "drop"}


@pytest.mark.parametrize("model", [None, "mistral-large-latest"])
async def test_the_question_for_usage_is_taken_out(
    world: World, client: Client, model: str | None
) -> None:
    got = await sent(world, client, model, stream=True, stream_options={"include_usage": True})
    assert "stream_options" not in json.loads(got)
    assert json.loads(got)["stream"] is True


@pytest.mark.parametrize("model", [None, "mistral-large-latest"])
async def test_other_options_stay(world: World, client: Client, model: str | None) -> None:
    options = {"include_usage": True, "other": 1}
    got = await sent(world, client, model, stream=True, stream_options=options)
    assert json.loads(got)["stream_options"] == {"other": 1}


async def test_a_body_without_them_keeps_its_bytes(world: World, client: Client) -> None:
    assert await sent(world, client, None, stream=True) == body(stream=True)


async def test_a_stream_without_a_report_counts_its_events(world: World, client: Client) -> None:
    """As Azure's AI inference streams; through both of the gateway's ways."""
    where = f"http://127.0.0.1:{world.model_port}"
    world.add_model("azure", where, api=ProviderApi(asks_usage=False))
    event = b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % (b"a" * 200)
    text = event * 3 + b"data: [DONE]\n\n"

    async def handler(request, reader, writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n")
        writer.write(b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(text), text))

    world.model.handler = handler
    for _ in range(3):
        answer = await ask(client, "/main/models/azure/v1/chat/completions", body(stream=True))
        assert answer.body == text
    for usage in world.usages:
        assert (usage.output_tokens, usage.estimated, usage.counted) == (4, True, True)
    assert len(world.usages) == 3
