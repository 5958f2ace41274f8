"""Model calls against real HTTP servers: credentials, bodies, streams and the tokens counted."""

import asyncio
import json
import ssl
import traceback
from pathlib import Path

import msgspec
import pytest

from serai.gateway.limits import Limits
from serai.kernel.errors import RateLimited

from .model_calls import ANSWER, CHAT, USAGE, ask, body
from .world import KEY, Client, World, certificate, plain


@pytest.fixture
def limits() -> Limits:
    return Limits(
        tick=0.02,
        model_body_bytes=100_000,
        model_body_timeout=0.4,
        model_response_timeout=0.4,
        connect_timeout=0.5,
    )


async def test_a_refusal_of_many_calls_keeps_nothing_of_them(world: World, client: Client) -> None:
    class Spent:
        active, problem = True, RateLimited("All tokens are spent.")

        def refusal(self, route: object, principal: object) -> RateLimited:
            return self.problem

    world.gateway.allowance = Spent()
    depths = set()
    for _ in range(3):
        assert (await ask(client)).status == 429
        depths.add(len(traceback.extract_tb(Spent.problem.__traceback__)))
    assert len(depths) == 1


async def test_answer_passes_and_is_counted(world: World, client: Client) -> None:
    world.model.handler = plain(ANSWER)
    answer = await ask(client, headers={"X-Request-Id": "req-1"})
    assert (answer.status, answer.body) == (200, ANSWER)
    assert answer.headers["x-request-id"] == "req-1"
    (usage,) = world.usages
    assert (usage.request_id, usage.status, usage.counted) == ("req-1", 200, True)
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (11, 7, 18)
    assert not usage.streamed
    assert usage.started > 1_600_000_000
    assert 0 <= usage.duration < 5


async def test_only_the_providers_key_leaves(world: World, client: Client) -> None:
    secrets = {
        "X-Blaxel-Authorization": f"Bearer {KEY}",
        "X-Blaxel-Workspace": "main",
        "X-Api-Key": KEY,
        "X-Goog-Api-Key": KEY,
        "Api-Key": KEY,
        "Cookie": f"k={KEY}",
        "X-Forwarded-For": "1.2.3.4",
        "Accept-Encoding": "gzip, br",
        "OpenAI-Beta": "x",
    }
    await ask(client, headers=secrets)
    request = world.model.requests[0]
    assert [value for name, value in request.fields if KEY in value] == []
    assert request.headers["authorization"] == "Bearer sk-provider"
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["host"] == f"127.0.0.1:{world.model_port}"
    assert request.headers["openai-beta"] == "x"
    assert not any(name.startswith(("x-blaxel", "x-forwarded")) for name in request.headers)


async def test_no_key_sends_no_authorization(world: World, client: Client) -> None:
    world.add_model("open", f"http://127.0.0.1:{world.model_port}", key="")
    await ask(client, "/main/models/open/v1/chat/completions")
    assert "authorization" not in world.model.requests[0].headers


async def test_model_is_replaced_and_the_rest_keeps_its_bytes(world: World, client: Client) -> None:
    raw = b'{ "model" : "llm" , "seed":12345678901234567890, "x":[1.50,  "\\u00e9 \xc3\xa9"] }'
    await ask(client, content=raw)
    sent = world.model.requests[0].body
    assert b'"model":"gpt-real"' in sent
    assert b"12345678901234567890" in sent
    assert b'[1.50,  "\\u00e9 \xc3\xa9"]' in sent
    assert sent.count(b"model") == 1


async def test_body_is_untouched_without_a_model_name(world: World, client: Client) -> None:
    world.add_model("open", f"http://127.0.0.1:{world.model_port}")
    raw = b'{ "model" : "own",  "stream" : false }'
    await ask(client, "/main/models/open/v1/chat/completions", content=raw)
    assert world.model.requests[0].body == raw


@pytest.mark.parametrize(
    ("base", "rest", "path"),
    [
        ("", "/v1/chat/completions", "/v1/chat/completions"),
        ("/v1", "/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/", "/v1/embeddings?x=1", "/v1/embeddings?x=1"),
        ("/v1", "/chat/completions", "/v1/chat/completions"),
        ("/openai/v1", "/v1/models", "/openai/v1/models"),
        ("/v1", "/v2/chat", "/v2/chat"),
        ("/v1", "/v1beta/models/m:generateContent", "/v1beta/models/m:generateContent"),
    ],
)
async def test_path_at_the_provider(
    world: World, client: Client, base: str, rest: str, path: str
) -> None:
    world.add_model("based", f"http://127.0.0.1:{world.model_port}{base}")
    assert (await ask(client, f"/main/models/based{rest}")).status == 200
    assert world.model.requests[0].target == path


async def test_get_without_a_body(world: World, client: Client) -> None:
    answer = await client.ask("/main/models/llm/v1/models")
    assert answer.status == 200
    assert "content-length" not in world.model.requests[0].headers


@pytest.mark.parametrize("rest", ["", "/"])
async def test_name_alone_is_no_endpoint(world: World, client: Client, rest: str) -> None:
    answer = await ask(client, f"/main/models/llm{rest}")
    assert answer.status == 404
    assert b"/v1/chat/completions" in answer.body


@pytest.mark.parametrize("rest", ["/v1/../admin", "/v1/%2e%2E/admin", "/v1/.."])
async def test_climbing_path_is_refused(world: World, client: Client, rest: str) -> None:
    assert (await ask(client, f"/main/models/llm{rest}")).status == 400
    assert not world.model.requests


@pytest.mark.parametrize("content", [b"[1]", b"{", b'{"model":}', b"nope"])
async def test_bad_json_is_refused(world: World, client: Client, content: bytes) -> None:
    answer = await ask(client, content=content)
    assert answer.status == 400
    assert b"JSON object" in answer.body
    assert not world.usages


async def test_chunked_request(world: World, client: Client) -> None:
    client.send(CHAT, method="POST", headers={"Transfer-Encoding": "chunked"})
    content = body()
    for start in range(0, len(content), 7):
        piece = content[start : start + 7]
        client.writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
    client.writer.write(b"0\r\n\r\n")
    assert (await client.answer()).status == 200
    assert json.loads(world.model.requests[0].body)["model"] == "gpt-real"


async def test_other_bodies_pass(world: World, client: Client) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    await client.ask(
        "/main/models/llm/v1/audio/transcriptions", method="POST", body=b"--x", headers=headers
    )
    assert world.model.requests[0].body == b"--x"
    assert world.model.requests[0].headers["content-type"] == headers["Content-Type"]


async def test_large_body_is_refused(world: World, client: Client) -> None:
    client.send(CHAT, method="POST", headers={"Content-Length": "200000"})
    answer = await client.answer()
    assert answer.status == 413
    client.writer.write(b"x" * 200000)
    assert (await ask(client)).status == 200
    client.send(CHAT, method="POST", headers={"Transfer-Encoding": "chunked"})
    client.writer.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
    for _ in range(30):
        client.writer.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
    answer = await client.answer()
    assert answer.status == 413
    assert b"100000" in answer.body


async def test_stalled_body_times_out(world: World, client: Client) -> None:
    client.send(CHAT, method="POST", headers={"Content-Length": "100"})
    client.writer.write(b"{")
    assert (await client.answer()).status == 408


def sse(*events: object, tail: bytes = b"data: [DONE]\n\n") -> bytes:
    return b"".join(b"data: %b\n\n" % msgspec.json.encode(event) for event in events) + tail


def chunk(text: str) -> dict[str, object]:
    return {"choices": [{"delta": {"content": text}}], "usage": None}


LAST = {"choices": [], "usage": USAGE}


def streaming(*pieces: bytes, end: bytes = b"0\r\n\r\n"):
    async def handler(request, reader, writer) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        for piece in pieces:
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
            await asyncio.sleep(0.005)
        writer.write(end)
        if not end:
            writer.close()
            raise ConnectionResetError

    return handler


async def test_stream_is_counted_and_the_extra_event_dropped(world: World, client: Client) -> None:
    whole = sse(chunk("a"), chunk("b"), LAST)
    world.model.handler = streaming(whole[:30], whole[30:200], whole[200:])
    answer = await ask(client, content=body(stream=True))
    assert answer.body == sse(chunk("a"), chunk("b"))
    assert json.loads(world.model.requests[0].body)["stream_options"] == {"include_usage": True}
    (usage,) = world.usages
    assert (usage.total_tokens, usage.counted, usage.streamed) == (18, True, True)


async def test_asked_for_usage_stays_in_the_stream(world: World, client: Client) -> None:
    whole = sse(chunk("a"), LAST)
    world.model.handler = streaming(whole)
    options = {"include_usage": True, "other": 1}
    answer = await ask(client, content=body(stream=True, stream_options=options))
    assert answer.body == whole
    assert json.loads(world.model.requests[0].body)["stream_options"] == options
    assert world.usages[0].total_tokens == 18


async def test_other_stream_options_are_kept(world: World, client: Client) -> None:
    world.model.handler = streaming(sse(LAST))
    content = body(stream=True, stream_options={"include_usage": False, "other": 1})
    assert (await ask(client, content=content)).body == b"data: [DONE]\n\n"
    assert json.loads(world.model.requests[0].body)["stream_options"] == {
        "include_usage": True,
        "other": 1,
    }


async def test_event_arrives_before_the_next_is_sent(world: World, client: Client) -> None:
    gate = asyncio.Event()

    async def steps(request, reader, writer) -> None:
        first, second = sse(chunk("a"), tail=b""), sse(chunk("b"), LAST)
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
            b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(first), first)
        )
        await gate.wait()
        writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(second), second))

    world.model.handler = steps
    content = body(stream=True)
    client.send(CHAT, method="POST", body=content)
    await client.head()
    size = int(await client.reader.readline(), 16)
    assert await client.reader.readexactly(size) == sse(chunk("a"), tail=b"")
    gate.set()
    assert b"[DONE]" in await client.reader.readuntil(b"0\r\n\r\n")


async def test_stream_with_a_length_is_reframed(world: World, client: Client) -> None:
    world.model.handler = plain(sse(chunk("a"), LAST), kind="text/event-stream")
    answer = await ask(client, content=body(stream=True))
    assert answer.body == sse(chunk("a"))
    assert world.usages[0].total_tokens == 18


async def test_anthropic_stream_is_counted(world: World, client: Client) -> None:
    events = (
        b'event: message_start\ndata: {"type":"message_start","message":{"usage":'
        b'{"input_tokens":25,"output_tokens":1}}}\n\n'
        b'event: message_delta\ndata: {"type":"message_delta","usage":{"output_tokens":15}}\n\n'
    )
    world.model.handler = streaming(events)
    answer = await ask(client, "/main/models/llm/v1/messages", body(stream=True))
    assert answer.body == events
    usage = world.usages[0]
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (25, 15, 40)


async def test_provider_error_passes(world: World, client: Client) -> None:
    world.model.handler = plain(b'{"error":{"message":"slow down"}}', "429 Too Many Requests")
    answer = await ask(client)
    assert (answer.status, answer.body) == (429, b'{"error":{"message":"slow down"}}')
    assert (world.usages[0].status, world.usages[0].counted) == (429, False)


async def test_provider_is_down(world: World, client: Client) -> None:
    world.add_model("down", "http://127.0.0.1:1")
    answer = await ask(client, "/main/models/down/v1/chat/completions")
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["code"]) == (502, "UPSTREAM_CONNECT_FAILED")
    assert error["retryable"] is True
    assert "x-should-retry" not in answer.headers
    assert (world.usages[0].status, world.usages[0].counted) == (502, False)


@pytest.mark.parametrize("url", ["ftp://x", "nonsense", "http://", "http://h:port"])
async def test_provider_url_is_wrong(world: World, client: Client, url: str) -> None:
    world.add_model("bad", url)
    answer = await ask(client, "/main/models/bad/v1/chat/completions")
    assert answer.status == 503
    assert b"base URL" in answer.body


async def test_tls_to_a_server_without_tls(world: World, client: Client) -> None:
    world.add_model("tls", f"https://127.0.0.1:{world.model_port}")
    answer = await ask(client, "/main/models/tls/v1/chat/completions")
    assert answer.status in (502, 504)


async def test_provider_over_tls(tmp_path: Path, limits: Limits) -> None:
    key, cert = certificate(tmp_path)
    world = World(tmp_path, limits)
    world.tls = ssl.create_default_context(cafile=cert)
    await world.start()
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        server = await asyncio.start_server(world.model.serve, "127.0.0.1", 0, ssl=context)
        world.stack.callback(server.close)
        port = server.sockets[0].getsockname()[1]
        world.model.handler = plain(ANSWER)
        world.add_model("good", f"https://127.0.0.1:{port}")
        world.add_model("bad", f"https://localhost:{port}")
        client = await world.client()
        for _ in range(3):
            assert (await ask(client, "/main/models/good/v1/chat/completions")).body == ANSWER
        assert world.model.connections == 1
        answer = await ask(client, "/main/models/bad/v1/chat/completions")
        assert answer.status == 502
        assert b"TLS" in answer.body
    finally:
        await world.stop()


async def test_provider_is_slow(world: World, client: Client) -> None:
    async def never(request, reader, writer) -> None:
        await reader.read()

    world.model.handler = never
    answer = await ask(client)
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["code"]) == (504, "UPSTREAM_TIMEOUT")
    assert answer.headers["x-should-retry"] == "false"
    assert answer.headers["x-blaxel-source"] == "platform"
    assert world.usages[0].status == 504


async def test_slow_stream_is_not_cut(world: World, client: Client) -> None:
    async def slow(request, reader, writer) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        await asyncio.sleep(0.7)
        writer.write(b"0\r\n\r\n")

    world.model.handler = slow
    assert (await ask(client, content=body(stream=True))).status == 200


async def test_stream_breaks(world: World, client: Client) -> None:
    world.model.handler = streaming(sse(chunk("a"), tail=b""), b"data: {", end=b"")
    client.send(CHAT, method="POST", body=body(stream=True))
    assert (await client.head()).status == 200
    rest = await client.ended()
    assert not rest.endswith(b"0\r\n\r\n")
    events = [line for line in rest.split(b"\r\n") if line.startswith(b"data: ")]
    assert json.loads(events[-1].strip()[6:])["error"]["code"] == "UPSTREAM_ERROR"
    usage = world.usages[0]
    assert (usage.output_tokens, usage.estimated, usage.streamed) == (1, True, True)


async def test_json_breaks(world: World, client: Client) -> None:
    async def half(request, reader, writer) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{"
        )
        writer.close()

    world.model.handler = half
    client.send(CHAT, method="POST", body=body())
    await client.head()
    assert await client.ended() == b"{"
    assert not world.usages[0].counted


async def test_client_leaves(world: World, client: Client) -> None:
    async def long(request, reader, writer) -> None:
        await reader.read()
        raise ConnectionResetError

    world.model.handler = long
    client.send(CHAT, method="POST", body=body())
    while not world.model.requests:
        await asyncio.sleep(0.01)
    client.writer.close()
    while not world.model.closed:
        await asyncio.sleep(0.01)
    assert [usage.status for usage in world.usages] == [499]


async def test_unknown_model(world: World, client: Client) -> None:
    answer = await ask(client, "/main/models/none/v1/chat/completions")
    assert (answer.status, answer.headers["x-blaxel-error-code"]) == (404, "WORKLOAD_NOT_FOUND")
    assert not world.usages
