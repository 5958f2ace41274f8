"""The short way of a streamed answer gives clients and the meter what the long way gives them."""

import asyncio
import contextlib
import itertools
import json
import re
from typing import Any, NamedTuple

import httptools
import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from uvicorn.server import ServerState

from serai.gateway.gateway import Gateway
from serai.gateway.limits import Limits
from serai.gateway.models.heads import Heads
from serai.gateway.models.relay import Relay, Watcher
from serai.gateway.protocol import gateway_protocol
from serai.gateway.routes import ModelRoute, RouteTable
from serai.gateway.upstream import Address, Upstream
from serai.gateway.usage import ModelUsage

from .model_calls import ANSWER, CHAT, USAGE, ask, body
from .world import KEY, Client, Keys, World, plain

HEAD = (
    b"HTTP/1.1 200 OK\r\nserver: x\r\ncontent-type: text/event-stream\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
LAST = b"0\r\n\r\n"
DONE = b"data: [DONE]\n\n"


def event(**fields: object) -> bytes:
    return b"data: " + json.dumps(fields, separators=(",", ":")).encode() + b"\n\n"


TEXT = event(choices=[{"delta": {"content": "a"}}])
NULL = event(choices=[{"delta": {"content": "b"}}], usage=None)
TOLD = event(choices=[], usage=USAGE)
EVENTS = st.sampled_from(
    [
        *(TEXT, NULL, TOLD, DONE, b": ping\n\n", b"event: x\r\ndata: {}\r\n\r\n"),
        event(choices=[{"delta": {"content": '"usage":{'}}]),
        event(choices=[{"delta": {"content": "y" * 700}}]),
        event(type="message_start", message={"usage": {"input_tokens": 9, "output_tokens": 1}}),
        event(type="message_delta", usage={"output_tokens": 5}),
        b'data: {"choices":[],"usage": {"prompt_tokens": 1}}\n\n',
    ]
)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Pipe:
    """A transport that remembers what was written."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = self.paused = False

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("1.2.3.4", 5), "sockname": ("1.2.3.4", 6)}.get(name, default)


class Unread(Heads):
    """Leaves every head to the parser."""

    def find(self, data: bytes) -> None:
        return None


class Outcome(NamedTuple):
    """What a call came to."""

    fields: set[tuple[bytes, bytes]]
    text: bytes
    complete: bool
    counts: list[tuple[object, ...]]
    client_closed: bool
    upstream_kept: bool
    sent: bytes


class Side:
    """One gateway between two pipes, on the short way or kept from it."""

    def __init__(self, *, short: bool) -> None:
        self.usages: list[ModelUsage] = []
        self.client, self.provider = Pipe(), Pipe()
        routes = RouteTable()
        routes.models["main", "llm"] = ModelRoute(
            account_id="a",
            workspace="main",
            name="llm",
            resource_id="r",
            provider="openai",
            base_url="http://127.0.0.1:9/v1",
            api_key="sk",
            model="own",
        )
        self.gateway = Gateway(
            routes,
            Keys(),
            on_model_usage=lambda route, caller, usage: self.usages.append(usage),
            on_sandbox_activity=lambda route, change: None,
        )
        if not short:
            self.gateway.heads = Unread(self.gateway)
        kind = gateway_protocol(self.gateway)
        config = uvicorn.Config(nothing, http=kind, lifespan="off", ws="none", log_config=None)
        config.load()
        self.connection: Any = kind(config, ServerState(), {}, asyncio.get_running_loop())  # type: ignore[call-arg]
        self.connection.connection_made(self.client)
        self.upstream = Upstream(Address("", "127.0.0.1", 9, False), self.gateway.pool)
        self.upstream.connection_made(self.provider)  # type: ignore[arg-type]
        self.gateway.pool.give_back(self.upstream)

    def ask(self, **fields: object) -> None:
        content = body(stream=True, **fields)
        head = f"POST {CHAT} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {KEY}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        self.connection.data_received(head.encode() + content)

    def outcome(self) -> Outcome:
        head = self.client.written.partition(b"\r\n\r\n")[0]
        fields = {tuple(line.split(b": ", 1)) for line in head.split(b"\r\n")[1:]}
        text, complete = unchunked(self.client.written)
        ours = (b"x-request-id", b"server-timing")
        _, _, sent = self.provider.written.partition(b"\r\n\r\n")
        return Outcome(
            {(name, b"" if name in ours else value) for name, value in fields},  # type: ignore[misc]
            re.sub(rb"[0-9a-f]{12}-[0-9a-f]+", b"ID", text),
            complete,
            [counts(usage) for usage in self.usages],
            self.client.closed,
            not self.provider.closed,
            sent,
        )

    def end(self) -> None:
        self.gateway.close()


async def nothing(scope: Any, receive: Any, send: Any) -> None: ...


def counts(usage: ModelUsage) -> tuple[object, ...]:
    return (
        usage.status,
        usage.input_tokens,
        usage.output_tokens,
        usage.total_tokens,
        usage.counted,
        usage.estimated,
        usage.streamed,
        usage.first_byte > 0,
    )


class _Reading:
    def __init__(self) -> None:
        self.text = b""
        self.complete = 0

    def on_body(self, data: bytes) -> None:
        self.text += data

    def on_message_complete(self) -> None:
        self.complete += 1


def unchunked(data: bytes) -> tuple[bytes, bool]:
    """What a client makes of an answer; more than one is an error."""
    reading = _Reading()
    httptools.HttpResponseParser(reading).feed_data(data)
    assert reading.complete < 2
    return reading.text, reading.complete == 1


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges) if a < b]


async def both(
    reads: list[bytes], *, breaks: bool, leaves: bool, **fields: object
) -> list[Outcome]:
    outcomes = []
    for short in (True, False):
        side = Side(short=short)
        side.ask(**fields)
        for data in reads:
            if not side.provider.closed:
                side.upstream.data_received(data)
        if leaves:
            side.client.closed = True
            side.connection.connection_lost(None)
        if breaks:
            side.upstream.connection_lost(None)
        outcomes.append(side.outcome())
        side.end()
    return outcomes


@settings(max_examples=300, deadline=None)
@given(
    events=st.lists(EVENTS, max_size=8),
    chunk_cuts=st.lists(st.integers(0, 5000), max_size=2),
    read_cuts=st.lists(st.integers(0, 9000), max_size=3),
    by_chunk=st.booleans(),
    joined=st.integers(0, 3),
    asks=st.booleans(),
    end=st.sampled_from(
        [
            LAST,
            LAST,
            LAST,
            b"",
            b"0\r\nx: y\r\n\r\n",
            LAST + HEAD + LAST,
            b"zz\r\n",
            b"0;a=b\r\n\r\n",
        ]
    ),
    breaks=st.booleans(),
    leaves=st.booleans(),
)
def test_both_ways_pass_and_count_the_same(
    events: list[bytes],
    chunk_cuts: list[int],
    read_cuts: list[int],
    by_chunk: bool,
    joined: int,
    asks: bool,
    end: bytes,
    breaks: bool,
    leaves: bool,
) -> None:
    pieces = [part for one in events for part in cut(one, chunk_cuts)] if chunk_cuts else events
    chunks = [chunk(piece) for piece in pieces]
    if by_chunk:
        reads = [HEAD + b"".join(chunks[:joined]), *chunks[joined:]]
        reads[-1] += end
    else:
        reads = cut(HEAD + b"".join(chunks) + end, read_cuts)
    options = {"stream_options": {"include_usage": True}} if asks else {}
    both_ways = both([read for read in reads if read], breaks=breaks, leaves=leaves, **options)
    short, long = asyncio.run(both_ways)
    assert short == long


class Taken:
    """How many streams went the short way to their end, and how many were turned."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = self.turned = 0
        begin, unfold = Relay.begin, Relay.unfold

        def begins(relay: Relay, out: list[bytes], data: bytes) -> bool:
            done = begin(relay, out, data)
            self.begun += done
            return done

        def turns(relay: Relay) -> Any:
            self.turned += 1
            return unfold(relay)

        monkeypatch.setattr(Relay, "begin", begins)
        monkeypatch.setattr(Relay, "unfold", turns)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Taken:
    return Taken(monkeypatch)


async def test_a_plain_stream_passes_as_it_came(taken: Taken) -> None:
    side = Side(short=True)
    side.ask(stream_options={"include_usage": True})
    before = len(side.client.written)
    side.upstream.data_received(HEAD)
    assert side.client.written[before:].endswith(b"\r\n\r\n")
    reads = [chunk(TEXT), chunk(TEXT) + chunk(NULL), chunk(TOLD), chunk(DONE) + LAST]
    for read in reads:
        side.upstream.data_received(read)
        assert side.client.written.endswith(read)
    assert (taken.begun, taken.turned) == (1, 0)
    assert counts(side.usages[0])[1:5] == (11, 7, 18, True)
    side.ask()  # both connections serve the next call
    assert side.gateway.pool.take(side.upstream.address, repeatable=True) is None
    side.end()


@pytest.mark.parametrize(
    "read",
    [
        *(b"5\r\nab", b"zz\r\n\n\n\r\n", b"+2\r\n\n\n\r\n", b"0\r\nx: y\r\n\r\n", LAST + b"HTTP"),
        chunk(b"data: x\n"),
        chunk(TEXT)[:-2],
        b"2\n\n\n\n",
    ],
)
def test_what_does_not_end_with_a_chunk_and_an_event_is_left_to_the_parser(read: bytes) -> None:
    watcher = Watcher()
    assert watcher.begin(HEAD)
    assert not (watcher.read(read) and watcher.is_whole(read))


def test_a_chunk_is_not_taken_for_whole_by_what_its_text_looks_like() -> None:
    for text in (chunk(TEXT), chunk(TEXT) + LAST, b"\r\n" * 40, b"a\r\n" + chunk(b"\n\n")):
        watcher = Watcher()
        watcher.begin(HEAD)
        read = b"%x\r\n" % (len(text) + 9) + text
        assert watcher.read(read)
        assert not watcher.is_whole(read)


@pytest.fixture
def limits() -> Limits:
    return Limits(tick=0.05, upstream_idle_unsafe=30)


def stream_of(world: World, *reads: bytes, gap: float = 0.02) -> None:
    async def handler(request, reader, writer) -> None:
        for read in (HEAD, *reads):
            writer.write(read)
            await writer.drain()
            await asyncio.sleep(gap)

    world.model.handler = handler


@pytest.fixture
async def warm(world: World, client: Client) -> Client:
    """A client after its first call: a connection to the provider waits for the next."""
    world.model.handler = plain(ANSWER)
    await ask(client)
    world.usages.clear()
    world.model.requests.clear()
    return client


async def test_a_long_stream_stays_on_the_short_way(
    world: World, warm: Client, taken: Taken
) -> None:
    stream_of(world, *[chunk(TEXT)] * 12, chunk(TOLD), chunk(DONE) + LAST)
    answer = await ask(warm, content=body(stream=True))
    assert answer.body == TEXT * 12 + DONE
    assert (taken.begun, taken.turned) == (1, 0)
    assert world.usages[0].total_tokens == 18
    world.model.handler = plain(ANSWER)
    assert (await ask(warm)).body == ANSWER
    assert world.model.connections == 1


async def test_a_revoked_key_ends_a_stream(world: World, warm: Client, taken: Taken) -> None:
    stream_of(world, *[chunk(TEXT)] * 100)
    warm.send(CHAT, method="POST", body=body(stream=True))
    assert (await warm.head()).status == 200
    del world.keys.known[KEY]
    with contextlib.suppress(ConnectionResetError):
        async with asyncio.timeout(5):
            assert not (await warm.ended()).endswith(LAST)
    assert (taken.begun, taken.turned) == (1, 1)
    assert world.usages[0].estimated


async def test_a_client_that_leaves_ends_the_provider_s_work(
    world: World, warm: Client, taken: Taken
) -> None:
    stream_of(world, *[chunk(TEXT)] * 200)
    warm.send(CHAT, method="POST", body=body(stream=True))
    await warm.head()
    await warm.reader.readuntil(b"\n\n")
    warm.writer.close()
    async with asyncio.timeout(5):
        while not world.usages or not world.model.closed:
            await asyncio.sleep(0.01)
    usage = world.usages[0]
    assert (taken.begun, taken.turned) == (1, 1)
    assert (usage.estimated, usage.streamed) == (True, True)
    assert usage.output_tokens >= 1


async def test_a_stream_that_breaks_off_ends_with_an_error_event(
    world: World, warm: Client, taken: Taken
) -> None:
    async def breaks(request, reader, writer) -> None:
        writer.write(HEAD + chunk(TEXT))
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.transport.abort()

    world.model.handler = breaks
    warm.send(CHAT, method="POST", body=body(stream=True))
    await warm.head()
    rest = await warm.ended()
    assert TEXT in rest
    assert b"UPSTREAM_ERROR" in rest
    assert (taken.begun, taken.turned) == (1, 1)
    assert world.usages[0].estimated


async def test_a_client_that_does_not_read_holds_the_provider_back(
    world: World, warm: Client
) -> None:
    text = event(choices=[{"delta": {"content": "z" * 30_000}}])
    sent = 0

    async def endless(request, reader, writer) -> None:
        nonlocal sent
        writer.write(HEAD)
        while sent < 2000:
            writer.write(chunk(text))
            await writer.drain()
            sent += 1
        writer.write(LAST)

    world.model.handler = endless
    warm.send(CHAT, method="POST", body=body(stream=True))
    await warm.head()
    held = -1
    async with asyncio.timeout(20):
        while held != sent:
            held = sent
            await asyncio.sleep(0.3)
    assert sent < 2000
    while len(await warm.reader.read(2**20)) and sent < 2000:
        pass
    assert sent == 2000


async def test_a_second_request_waits_for_the_end_of_the_stream(
    world: World, warm: Client, taken: Taken
) -> None:
    stream_of(world, *[chunk(TEXT)] * 5, chunk(DONE) + LAST)
    warm.send(CHAT, method="POST", body=body(stream=True))
    first = await warm.head()
    warm.send(CHAT, method="POST", body=body(stream=True, n=2))
    assert first.status == 200
    whole = await warm.reader.readuntil(LAST)
    assert whole.count(TEXT) == 5
    second = await warm.answer()
    assert second.body == TEXT * 5 + DONE
    assert taken.begun >= 1
