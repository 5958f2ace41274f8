"""A client that leaves ends its provider's work at once: not with the next tick, or the next event.

How soon that is in milliseconds is measured by `make bench-gateway`.
"""

import asyncio

import pytest

from serai.gateway.limits import Limits

from .model_calls import ANSWER, ask, body
from .routed_calls import base, leave, path, settings, silent
from .world import World, plain

EVENT = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'


@pytest.fixture
def limits() -> Limits:
    """Ticks and timeouts that these tests do not wait for."""
    return Limits(tick=60)


async def mid_stream(request, reader, writer) -> None:
    """One event, and then silence."""
    writer.write(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
        b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(EVENT), EVENT)
    )
    await silent(request, reader, writer)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("warm", [False, True], ids=["first", "short way"])
@pytest.mark.parametrize("routed", [False, True], ids=["plain", "routed"])
async def test_the_provider_is_told_at_once(
    world: World, stream: bool, warm: bool, routed: bool
) -> None:
    extra = settings(retries={"attempts": 3}, fallbacks=["llm"]) if routed else settings()
    world.add_model("called", base(world), model="m", gateway=extra)
    client = await world.client()
    if warm:
        world.model.handler = plain(ANSWER)
        assert (await ask(client, path("called"))).status == 200
        world.usages.clear()
        world.model.requests.clear()
    world.model.handler = mid_stream if stream else silent
    client.send(path("called"), method="POST", body=body(stream=stream))
    if stream:
        assert (await client.head()).status == 200
        await client.reader.readuntil(EVENT)
    async with asyncio.timeout(20):
        while not world.model.requests:
            await asyncio.sleep(0.005)
        await leave(client)
        while not (world.model.closed and world.usages):
            await asyncio.sleep(0.005)
    assert world.model.closed == world.model.connections == 1
    assert len(world.model.requests) == 1, "nobody waits for another attempt"
    (usage,) = world.usages
    assert (usage.status, usage.estimated) == ((200, True) if stream else (499, False))
