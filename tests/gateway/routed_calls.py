"""Scripted providers for models with extra settings, and what is asked of them."""

import asyncio
import json
from collections.abc import Iterable

import msgspec

from serai.gateway.routes import ModelRoute
from serai.wire.model_gateway import ModelGateway

from .model_calls import ANSWER
from .world import Client, Handler, Received, Upstream, World, plain

ERROR = json.dumps({"error": {"message": "not now"}}).encode()
EVENTS = [b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n', b"data: [DONE]\n\n"]


async def provider(world: World, handler: Handler | None = None) -> tuple[Upstream, str]:
    """One more provider, and its base URL."""
    upstream = Upstream()
    upstream.handler = handler or plain(ANSWER)
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    world.stack.callback(server.close)
    return upstream, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


def base(world: World) -> str:
    """The base URL of the world's first provider."""
    return f"http://127.0.0.1:{world.model_port}/v1"


def settings(**fields: object) -> ModelGateway:
    """``spec.gateway`` from its fields on the wire."""
    return msgspec.convert(fields, ModelGateway)


def spread(world: World, name: str, urls: Iterable[str], *, weights=(), **fields: object) -> None:
    """A model with several connections: c0, c1 …"""
    world.add_model(name, "http://nowhere.test", gateway=settings(**fields), model="gpt-real")
    route = world.routes.models["main", name]
    weights = list(weights)
    places = tuple(
        msgspec.structs.replace(
            route,
            base_url=url,
            api_key=f"sk-{number}-of-its-own",
            place=f"id-{name}/c{number}",
            weight=weights[number] if weights else 1,
        )
        for number, url in enumerate(urls)
    )
    world.routes.models["main", name] = msgspec.structs.replace(
        places[0], place=f"id-{name}", places=places
    )


def script(*handlers: Handler) -> Handler:
    """One handler after the other; the last one for ever."""
    left = list(handlers)

    async def handler(
        request: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(request, reader, writer)

    return handler


def refusing(status: str, **fields: str) -> Handler:
    """Answers with an error of this status and these header fields."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())

    async def handler(
        request: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{lines}"
        writer.write(f"{head}content-length: {len(ERROR)}\r\n\r\n".encode() + ERROR)

    return handler


async def hanging_up(
    request: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Takes the request and closes the connection."""
    writer.transport.abort()
    raise ConnectionResetError


async def silent(
    request: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Takes the request and says nothing until the other side leaves."""
    await reader.read()
    raise ConnectionResetError


def streaming(*events: bytes, end: bytes = b"0\r\n\r\n", pause: float = 0.0) -> Handler:
    """An event stream; with another ``end`` it breaks."""

    async def handler(
        request: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        for event in events:
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            await writer.drain()
            await asyncio.sleep(pause)
        if not end:
            raise ConnectionResetError
        writer.write(end)

    return handler


def path(name: str) -> str:
    """Where a model's chat is."""
    return f"/main/models/{name}/v1/chat/completions"


def route_of(world: World, name: str) -> ModelRoute:
    """A model's route."""
    return world.routes.models["main", name]


async def at_rest(world: World) -> None:
    """Wait until no attempt is under way."""
    for _ in range(200):
        if not world.gateway.health.working():
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"{world.gateway.health.working()} attempts are still under way")


async def leave(client: Client) -> None:
    """Close the client's connection."""
    client.writer.transport.abort()
