"""Providers that fail, lie, leak or never end: what the client sees, and what is counted."""

import asyncio
import gzip
import json
import resource
import time

import pytest

from serai.catalog.provider_api import ProviderApi
from serai.gateway.limits import Limits

from .model_calls import ANSWER, CHAT, ask, body
from .world import KEY, Client, Handler, Upstream, World, plain

SECRET = "sk-provider"


@pytest.fixture
def limits() -> Limits:
    return Limits(tick=0.02, model_body_timeout=0.4, model_response_timeout=1.5)


def sends(head: str, *pieces: bytes, close: bool = False) -> Handler:
    """Answers with this head and these pieces, each written on its own."""

    async def handler(request, reader, writer) -> None:
        writer.write(f"HTTP/1.1 {head}\r\n\r\n".encode())
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.002)
        if close:
            writer.close()
            raise ConnectionResetError

    return handler


def chunks(*pieces: bytes) -> list[bytes]:
    return [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]


# -- models that cannot be called
async def test_a_disabled_model(world: World, client: Client) -> None:
    world.add_model("off", "", disabled=True)
    answer = await ask(client, "/main/models/off/v1/chat/completions")
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["code"], error["origin"]) == (403, "MODEL_DISABLED", "platform")
    assert "spec.enabled" in error["message"]


async def test_a_model_without_its_connection(world: World, client: Client) -> None:
    world.add_model("lost", "", unusable="it names the connection 'x', which does not exist")
    answer = await ask(client, "/main/models/lost/v1/chat/completions")
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["code"]) == (503, "MODEL_NOT_USABLE")
    assert "connection 'x'" in error["message"]
    assert answer.headers["x-should-retry"] == "false"
    assert not world.usages


# -- the provider's own errors
async def test_a_providers_error_is_marked_as_its_own(world: World, client: Client) -> None:
    told = b'{"error":{"message":"slow down"}}'
    world.model.handler = plain(told, "429 Too Many Requests")
    answer = await ask(client)
    assert (answer.status, answer.body) == (429, told)
    assert answer.headers["x-blaxel-source"] == "provider"


@pytest.mark.parametrize("key", [SECRET, "AIza" + "k" * 35])
@pytest.mark.parametrize("size", [0, 200_000])
@pytest.mark.parametrize("coding", ["", "gzip"])
async def test_an_echoed_key_stays_here(
    world: World, client: Client, key: str, size: int, coding: str
) -> None:
    world.add_model("leaky", f"http://127.0.0.1:{world.model_port}", key=key)
    told = json.dumps({"error": f"{'x' * size} bad key {key} and {key}", "more": "y" * 20}).encode()
    sent = gzip.compress(told) if coding else told
    head = "401 Unauthorized\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n"
    head += f"x-tried: Bearer {key}" + (f"\r\ncontent-encoding: {coding}" if coding else "")
    cut = sent.find(key.encode()) + 4
    pieces = [piece for piece in (sent[:cut], sent[cut : cut + 2], sent[cut + 2 :]) if piece]
    world.model.handler = sends(head, *chunks(*pieces), b"0\r\n\r\n")
    answer = await ask(client, "/main/models/leaky/v1/chat/completions")
    assert answer.status == 401
    assert answer.headers["x-tried"] == "Bearer [redacted]"
    assert answer.body == told.replace(key.encode(), b"[redacted]")
    assert "content-encoding" not in answer.headers


async def test_a_placeholder_key_mangles_no_words(world: World, client: Client) -> None:
    world.add_model("local", f"http://127.0.0.1:{world.model_port}", key="none")
    world.model.handler = plain(b'{"error":"none found"}', "404 Not Found")
    answer = await ask(client, "/main/models/local/v1/chat/completions")
    assert answer.body == b'{"error":"none found"}'


HTML = b"<html><head><style>p{}</style></head><body><h1>Bad  gateway</h1> sk-provider</body></html>"


@pytest.mark.parametrize(
    ("status", "kind", "content", "told"),
    [
        ("502 Bad Gateway", "text/html; charset=utf-8", HTML, "Bad gateway [redacted]"),
        ("200 OK", "text/html", HTML, "text/html"),
        ("500 Oops", "application/json", b'{"error": ', '{"error":'),
        ("400 Bad", "application/json\r\ncontent-encoding: br", b"sk-provider", "400"),
        ("400 Bad", "application/json\r\ncontent-encoding: gzip", b"sk-provider", "400"),
        ("200 OK", "application/json", b'{"choices": [', '{"choices": ['),
        ("200 OK", "application/json", b"\xff\xfe", "cannot be read"),
        ("200 OK", "application/json", b'{"echo": "sk-provider', '{"echo": "[redacted]'),
    ],
)
async def test_unreadable_answers(
    world: World, client: Client, status: str, kind: str, content: bytes, told: str
) -> None:
    world.model.handler = plain(content, status, kind)
    answer = await ask(client)
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["code"]) == (502, "PROVIDER_ANSWER_UNREADABLE")
    assert (error["origin"], error["provider_status"]) == ("provider", int(status[:3]))
    assert told in error["message"]
    assert SECRET not in answer.body.decode()
    world.model.handler = plain(ANSWER)
    assert (await ask(client)).body == ANSWER


@pytest.mark.parametrize(
    ("kind", "content"),
    [("text/html", HTML), ("application/x-jsonl", b"{}\n{}\n"), ("application/json", b"{")],
)
async def test_a_file_may_be_anything(
    world: World, client: Client, kind: str, content: bytes
) -> None:
    world.model.handler = plain(content, kind=kind)
    assert (await client.ask("/main/models/llm/v1/files/f1/content")).body == content


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br"])
async def test_a_compressed_answer(world: World, client: Client, coding: str) -> None:
    packed = gzip.compress(ANSWER)
    head = f"200 OK\r\ncontent-type: application/json\r\ncontent-encoding: {coding}\r\n"
    world.model.handler = sends(f"{head}content-length: {len(packed)}", packed[:9], packed[9:])
    answer = await ask(client)
    assert (answer.body, answer.headers["content-encoding"]) == (packed, coding)
    assert world.usages[0].total_tokens == (0 if coding == "br" else 18)


async def test_a_bomb_is_not_unpacked(world: World, client: Client) -> None:
    packed = gzip.compress(b" " * 300_000_000, 1)
    world.model.handler = sends(
        "200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\n"
        f"content-length: {len(packed)}",
        packed,
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (await ask(client)).body == packed
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000
    assert not world.usages[0].counted


@pytest.mark.parametrize(
    "handler",
    [
        sends("200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\nx: ", close=True),
        sends("nonsense"),
        sends("401 No\r\ncontent-type: application/json\r\ncontent-length: 9", b"{", close=True),
    ],
)
async def test_a_provider_that_breaks(world: World, client: Client, handler: Handler) -> None:
    async def reset(request, reader, writer) -> None:
        writer.transport.abort()
        raise ConnectionResetError

    world.model.handler = reset
    answer = await ask(client)
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["code"], error["origin"]) == (502, "UPSTREAM_ERROR", "provider")
    world.model.handler = handler
    client.send(CHAT, method="POST", body=body())
    assert (await client.head()).status in (200, 502)


# -- streams
EVENT = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
SSE = "200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked"


@pytest.mark.parametrize(
    ("family", "kind", "told"),
    [
        ("openai", "text/event-stream", ["error", "code"]),
        ("anthropic", "text/event-stream", ["error", "type"]),
        ("google", "text/event-stream", ["error", "status"]),
        ("cohere", "text/event-stream", ["delta", "error"]),
        ("openai", "application/x-ndjson", ["error", "code"]),
    ],
)
async def test_a_break_is_told_in_the_providers_style(
    world: World, client: Client, family: str, kind: str, told: list[str]
) -> None:
    api = ProviderApi(family=family, asks_usage=False)
    world.add_model("cut", f"http://127.0.0.1:{world.model_port}", api=api)
    lines = "ndjson" in kind
    first = b'{"a":1}\n' if lines else EVENT
    head = SSE.replace("text/event-stream", kind)
    world.model.handler = sends(head, *chunks(first, first), close=True)
    client.send("/main/models/cut/v1/messages", method="POST", body=body(stream=True))
    await client.head()
    rest = await client.ended()
    assert not rest.endswith(b"0\r\n\r\n")
    last = [line for line in rest.split(b"\n") if line.startswith((b"data: {", b"{"))][-1]
    found = json.loads(last.removeprefix(b"data: "))
    for key in told:
        found = found[key]
    if family == "anthropic":
        assert b"event: error\n" in rest
    usage = world.usages[0]
    assert (usage.output_tokens, usage.counted, usage.estimated) == (2, True, True)


async def test_half_an_event_does_not_swallow_the_error(world: World, client: Client) -> None:
    api = ProviderApi(asks_usage=False)
    world.add_model("cut", f"http://127.0.0.1:{world.model_port}", api=api)
    world.model.handler = sends(SSE, *chunks(EVENT, b'data: {"cho'), close=True)
    client.send("/main/models/cut/v1/chat/completions", method="POST", body=body(stream=True))
    await client.head()
    assert b'data: {"cho\r\n' in (rest := await client.ended())
    assert b'\n\ndata: {"error"' in rest


async def test_a_leaving_client_stops_the_provider(world: World, client: Client) -> None:
    gone = asyncio.Event()

    async def endless(request, reader, writer) -> None:
        writer.write(f"HTTP/1.1 {SSE}\r\n\r\n".encode())
        try:
            while True:
                writer.write(b"%x\r\n%b\r\n" % (len(EVENT), EVENT))
                await writer.drain()
                await asyncio.sleep(0.001)
                if reader.at_eof() or writer.is_closing():
                    raise ConnectionResetError
        finally:
            gone.set()

    world.model.handler = endless
    client.send(CHAT, method="POST", body=body(stream=True))
    await client.head()
    await client.reader.readuntil(b"\n\n")
    left = time.perf_counter()
    client.writer.transport.abort()
    await gone.wait()
    assert time.perf_counter() - left < 1
    await asyncio.sleep(0.05)
    usage = world.usages[0]
    assert (usage.status, usage.estimated) == (200, True)
    assert usage.output_tokens >= 1


async def test_every_chunk_passes_as_it_came(world: World, client: Client) -> None:
    api = ProviderApi(asks_usage=False)
    world.add_model("raw", f"http://127.0.0.1:{world.model_port}", api=api)
    gate = asyncio.Event()
    pieces = [b"d", b"ata: {", b'"a":1}\n', b"\ndata: x\n\n"]

    async def steps(request, reader, writer) -> None:
        writer.write(f"HTTP/1.1 {SSE}\r\n\r\n".encode())
        for piece in chunks(*pieces):
            writer.write(piece)
            await gate.wait()
            gate.clear()
        writer.write(b"0\r\n\r\n")

    world.model.handler = steps
    client.send("/main/models/raw/v1/chat/completions", method="POST", body=body(stream=True))
    await client.head()
    for piece in pieces:
        size = int(await client.reader.readline(), 16)
        assert await client.reader.readexactly(size) == piece
        await client.reader.readline()
        gate.set()
    assert await client.reader.readexactly(5) == b"0\r\n\r\n"


async def test_an_endless_event_costs_little(world: World, client: Client) -> None:
    piece = b"data: " + b"x" * 58 + b"\n"

    async def long(request, reader, writer) -> None:
        writer.write(f"HTTP/1.1 {SSE}\r\n\r\n".encode())
        for _ in range(40_000):
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        await writer.drain()
        writer.write(b"0\r\n\r\n")

    world.model.handler = long
    answer = await ask(client, content=body(stream=True))
    assert len(answer.body) == 40_000 * len(piece)


# -- bodies
async def test_a_large_upload_streams(world: World, client: Client) -> None:
    size, piece = 256 << 20, b"x" * 65536
    taken = 0

    async def take(request, reader, writer) -> None:
        nonlocal taken
        while taken < size:
            taken += len(await reader.read(1 << 18))
        await plain(ANSWER)(request, reader, writer)

    world.model.read_body = False
    world.model.handler = take
    headers = {"Content-Type": "multipart/form-data; boundary=x", "Content-Length": str(size)}
    client.send("/main/models/llm/v1/audio/transcriptions", method="POST", headers=headers)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(size // len(piece)):
        client.writer.write(piece)
        await client.writer.drain()
    assert (await client.answer()).body == ANSWER
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000
    assert world.usages[0].total_tokens == 18


@pytest.mark.parametrize("key", [KEY, "slow-key"])
@pytest.mark.parametrize("kind", ["audio/wav", "application/json"])
async def test_chunked_uploads_arrive_whole(
    world: World, client: Client, key: str, kind: str
) -> None:
    world.add_model("any", f"http://127.0.0.1:{world.model_port}", model="real")
    content = b'{"model":"x","input":"' + b"y" * 200_000 + b'"}'
    headers = {"Content-Type": kind, "Transfer-Encoding": "chunked"}
    client.send("/main/models/any/v1/audio/speech", method="POST", key=key, headers=headers)
    for start in range(0, len(content), 40_000):
        client.writer.write(chunks(content[start : start + 40_000])[0])
        await asyncio.sleep(0.003)
    client.writer.write(b"0\r\n\r\n")
    assert (await client.answer()).status == 200
    sent = world.model.requests[0].body
    assert sent == (content if "wav" in kind else content.replace(b'"x"', b'"real"'))


async def test_a_stalled_upload_times_out(world: World, client: Client) -> None:
    headers = {"Content-Type": "audio/wav", "Content-Length": "100"}
    client.send("/main/models/llm/v1/audio/x", method="POST", headers=headers)
    client.writer.write(b"x")
    assert (await client.answer()).status == 408


async def test_a_batch_gets_no_model(world: World, client: Client) -> None:
    content = b'{"input_file_id":"f1"}'
    await ask(client, "/main/models/llm/v1/batches", content)
    assert world.model.requests[0].body == content


@pytest.mark.parametrize(
    "framing",
    [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
        "Content-Length: 4\nX-Smuggled: 1\r\n\r\nabcd",
        "Transfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n",
        "Content-Length: +4\r\n\r\nabcd",
    ],
)
@pytest.mark.parametrize("kind", ["application/json", "audio/wav"])
async def test_smuggling_is_refused(world: World, client: Client, framing: str, kind: str) -> None:
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
    client.writer.write(f"{head}Content-Type: {kind}\r\n{framing}".encode())
    answer = await client.answer()
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["origin"]) == (400, "platform")
    assert await client.ended() == b""
    assert all(not request.body for request in world.model.requests)


# -- credentials in the query
async def test_a_google_clients_key_leaves_the_query(world: World, client: Client) -> None:
    api = ProviderApi(family="google", auth="x-goog-api-key", asks_usage=False)
    base = f"http://127.0.0.1:{world.model_port}"
    world.add_model("gem", base, model="gemini-x", api=api)
    world.model.handler = plain(
        b'[{"candidates":[]},\r\n{"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":4,'
        b'"thoughtsTokenCount":2,"totalTokenCount":9}}]'
    )
    target = f"/main/models/gem/v1beta/models/other:streamGenerateContent?key={KEY}&a=b"
    await ask(client, target, b'{"contents":[]}')
    request: Upstream = world.model.requests[0]
    assert request.target == "/v1beta/models/gemini-x:streamGenerateContent?a=b"
    assert request.headers["x-goog-api-key"] == SECRET
    assert "authorization" not in request.headers
    usage = world.usages[0]
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (3, 6, 9)
