"""The short way of a model call does what the long way does, and knows when it must not try."""

import asyncio
import json
import re

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serai.gateway.familiar import CHUNKED, LENGTH, ODD, Familiar, of_answer
from serai.gateway.forwarding import DROPPED_FOR_MODEL, copy_answer, copy_request
from serai.gateway.gateway import Gateway
from serai.gateway.limits import Limits
from serai.gateway.models.express import Express
from serai.gateway.models.heads import Heads
from serai.gateway.routes import RouteTable
from serai.gateway.upstream import Answer
from serai.kernel.errors import BadRequest
from serai.observed import attempted, described
from serai.telemetry.tracing import Finished, Tracer

from .model_calls import ANSWER, CHAT, ask, body
from .world import KEY, Client, Keys, World, plain

NAMES = [
    *("Accept", "accept-encoding", "Connection", "content-type", "Content-Length", "Cookie"),
    *("Expect", "Host", "TE", "traceparent", "Transfer-Encoding", "Upgrade", "user-agent"),
    *("X-Api-Key", "X-Blaxel-Authorization", "X-Forwarded-For", "X-Request-Id", "authorization"),
    *("Content-Encoding", "Set-Cookie", "Bad Name", "", "x\ty", "Keep-Alive", "Trailer"),
]
VALUES = [
    *("application/json", "application/json; charset=utf-8", "text/html", "Bearer good-key", "7"),
    *("Bearer replaced", "bearer other", "Basic x", "keep-alive", "close", "chunked", "+7", "7, 7"),
    *("", "a b", "\x00", "h\xf6", "Upgrade", "100-continue", "gzip", "0x7", "a\rb", "a\nb"),
]
LINES = st.lists(
    st.builds(
        lambda name, gap, value, end: f"{name}:{gap}{value}{end}",
        st.sampled_from(NAMES),
        st.sampled_from(["", " ", "\t ", "  "]),
        st.sampled_from(VALUES) | st.text(st.characters(max_codepoint=255), max_size=8),
        st.sampled_from(["", " ", "\t"]),
    ),
    max_size=6,
)


class Parsed:
    """What the HTTP parser makes of a message's head."""

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value))


def a_gateway() -> Gateway:
    return Gateway(
        RouteTable(),
        Keys(),
        on_model_usage=lambda *_: None,
        on_sandbox_activity=lambda _: None,
    )


@given(LINES)
def test_a_head_is_read_as_the_parser_and_the_long_way_read_it(lines: list[str]) -> None:
    given_lines = ["Host: h", "Authorization: Bearer good-key", "Content-Length: 7", *lines]
    raw = "\r\n".join([f"POST {CHAT} HTTP/1.1", *given_lines]).encode("latin-1")
    found = Heads(a_gateway()).find(raw)
    if found is None:
        return
    head, length = found
    parsed = Parsed()
    parser = httptools.HttpRequestParser(parsed)
    parser.feed_data(raw + b"\r\n\r\n" + b"x" * length)
    assert parser.should_keep_alive()
    assert not parser.should_upgrade()
    copied = copy_request(parsed.fields, DROPPED_FOR_MODEL)
    assert head.passed == b"".join(copied.lines)
    assert (copied.chunked, copied.length) == (False, b"%d" % length)
    assert not {b"expect", b"x-request-id"} & {name for name, _ in parsed.fields}
    assert head.token == "good-key" == KEY


@given(LINES)
@example(["Transfer-Encoding: chunked"])
@example(["Content-Length: 7", "content-type: application/json"])
def test_lines_of_an_answer_pass_as_on_the_long_way(lines: list[str]) -> None:
    familiar = Familiar(of_answer)
    raw = [line.encode("latin-1") for line in lines]
    judged = [familiar[line] for line in raw]
    marks = [mark for mark, _, _ in judged if mark]
    if ODD in marks or len(set(marks)) < len(marks) or {LENGTH, CHUNKED} <= set(marks):
        return  # such an answer goes the long way as a whole
    parsed = Parsed()
    framed = [] if {LENGTH, CHUNKED} & set(marks) else [b"content-length: 0"]
    head = b"\r\n".join([b"HTTP/1.1 200 OK", *raw, *framed])
    httptools.HttpResponseParser(parsed).feed_data(head + b"\r\n\r\n")
    out: list[bytes] = []
    copy_answer(Answer(200, parsed.fields, dict(parsed.fields), 0, False), out)
    passed = [kept for _, kept, _ in judged]
    assert b"".join(passed) == b"".join(out[1:])


@pytest.fixture
def limits() -> Limits:
    """A tick that no answer of these tests waits for."""
    return Limits(tick=20)


class Ways:
    """Which way the calls of a test went: True for each that was answered on the short one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.taken: list[bool] = []
        whole = Express.whole

        def spy(call: Express, data: bytes) -> bool:
            self.taken.append(whole(call, data))
            return self.taken[-1]

        monkeypatch.setattr(Express, "whole", spy)


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> Ways:
    return Ways(monkeypatch)


@pytest.fixture
async def warm(world: World, client: Client) -> Client:
    """A client after its first call: a connection to the provider waits for the next."""
    world.model.handler = plain(ANSWER)
    await ask(client)
    world.usages.clear()
    world.model.requests.clear()
    return client


async def test_both_ways_send_and_answer_the_same(world: World, warm: Client, ways: Ways) -> None:
    seen = []
    for log_every in (False, True):
        world.gateway.log_every = log_every
        answer = await ask(warm, headers={"OpenAI-Beta": "x", "Cookie": "a=b"})
        request, usage = world.model.requests.pop(), world.usages.pop()
        fields = [field for field in request.fields if field[0] != "x-request-id"]
        varies = {"x-request-id", "server-timing"}
        kept = [field for field in answer.fields if field[0] not in varies]
        assert request.headers["x-request-id"] == answer.headers["x-request-id"] == usage.request_id
        counts = usage.input_tokens, usage.output_tokens, usage.total_tokens, usage.counted
        seen.append((fields, request.body, kept, answer.body, answer.status, counts))
    assert seen[0] == seen[1]
    assert ways.taken == [True]


class Spans:
    """Takes what a tracer has recorded."""

    def __init__(self) -> None:
        self.taken: list[Finished] = []

    def add(self, finished: Finished) -> None:
        self.taken.append(finished)


@pytest.mark.parametrize("ratio", [0.0, 1.0])
async def test_a_trace_that_begins_here_takes_the_short_way(
    world: World, warm: Client, ways: Ways, ratio: float
) -> None:
    spans = Spans()
    world.gateway.tracer = Tracer(spans, ratio, described, attempted)
    answer = await ask(warm)
    assert (answer.status, ways.taken) == (200, [True])
    given = world.model.requests.pop().headers.get("traceparent")
    assert [one.span.header().decode() for one in spans.taken] == ([given] if ratio else [])
    parent = f"00-{'1' * 32}-{'2' * 16}-01"
    await ask(warm, headers={"TraceParent": parent})
    assert ways.taken == [True], "a client's own trace is read by the long way"
    assert spans.taken[-1].span.parent_id == "2" * 16
    world.model.handler = plain(b"{}", "500 Oops")
    await ask(warm)
    assert ways.taken == [True, False]
    assert len(spans.taken) == (3 if ratio else 1)
    if ratio:
        assert spans.taken[-1].about.attributes["http.response.status_code"] == 500
        given = world.model.requests.pop().headers["traceparent"]
        assert given == spans.taken[-1].span.header().decode()


@pytest.mark.parametrize(
    ("content", "status", "kind"),
    [
        (b'{"error":{"message":"slow down"}}', "429 Too Many Requests", "application/json"),
        (b"data: {}\n\ndata: [DONE]\n\n", "200 OK", "text/event-stream"),
        (b"{broken", "200 OK", "application/json"),
        (b"<html>", "200 OK", "text/html"),
        (b"", "204 No Content", "application/json"),
        (b'[{"usage":{"prompt_tokens":3,"completion_tokens":4}}]', "200 OK", "application/json"),
    ],
)
async def test_what_is_no_plain_answer_goes_the_long_way(
    world: World, warm: Client, ways: Ways, content: bytes, status: str, kind: str
) -> None:
    world.model.handler = plain(content, status, kind)
    answers = []
    for log_every in (False, True):
        world.gateway.log_every = log_every
        answer = await ask(warm)
        text = re.sub(rb"[0-9a-f]{12}-[0-9a-f]+", b"ID", answer.body)
        text = re.sub(rb'"timestamp":"[^"]*"', b"", text)
        answers.append((answer.status, text, world.usages.pop().counted))
    assert answers[0] == answers[1]
    assert ways.taken == [False]


async def test_an_answer_with_both_lengths_is_refused_on_either_way(
    world: World, warm: Client, ways: Ways
) -> None:
    async def both(request, reader, writer) -> None:
        fields = "content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"
        head = f"HTTP/1.1 200 OK\r\n{fields}content-length: 5\r\n\r\n"
        writer.write(head.encode() + b"8\r\ndata: a\n\r\n0\r\n\r\n")

    world.model.handler = both
    for log_every in (False, True):
        world.gateway.log_every = log_every
        assert (await ask(warm)).status == 502
    assert ways.taken == [False]


async def test_an_answer_in_pieces_and_a_slow_one_arrive_whole(
    world: World, warm: Client, ways: Ways
) -> None:
    async def in_pieces(request, reader, writer) -> None:
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(ANSWER)}"
        for piece in (head.encode() + b"\r\n\r", b"\n" + ANSWER[:5], ANSWER[5:]):
            writer.write(piece)
            await asyncio.sleep(0.05)

    world.model.handler = in_pieces
    answer = await ask(warm)
    assert (answer.status, answer.body) == (200, ANSWER)
    assert world.usages[0].counted
    world.model.handler = plain(ANSWER)
    assert [(await ask(warm)).body for _ in range(2)] == [ANSWER] * 2
    assert (ways.taken[0], ways.taken[-1]) == (False, True)


async def test_a_head_that_was_just_seen_is_judged_with_each_body(
    world: World, warm: Client, ways: Ways
) -> None:
    """Both connections remember the last head: bodies of other lengths, other keys, other ends."""
    answers = [await ask(warm, content=body(n=number)) for number in (1, 2, 33, 4)]
    assert [answer.body for answer in answers] == [ANSWER] * 4
    sent = [json.loads(request.body)["n"] for request in world.model.requests]
    assert sent == [1, 2, 33, 4]
    assert ways.taken == [True] * 4
    assert (await ask(warm, key="good-kex")).status == 401
    longer = ANSWER.replace(b"c1", b"c2") + b"  "

    async def cut(request, reader, writer) -> None:
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(ANSWER)}"
        writer.write(head.encode() + b"\r\n\r\n" + ANSWER[:9])
        await asyncio.sleep(0.05)
        writer.write(ANSWER[9:])

    for handler, told in ((cut, ANSWER), (plain(longer), longer), (plain(ANSWER), ANSWER)):
        world.model.handler = handler
        assert (await ask(warm)).body == told
    assert ways.taken[-3:] == [False, True, True]


async def test_calls_in_one_read_are_answered_in_order(world: World, warm: Client) -> None:
    contents = [body(n=number) for number in range(3)]
    for content in contents:
        warm.send(CHAT, method="POST", body=content)
    answers = [await warm.answer() for _ in contents]
    assert [answer.body for answer in answers] == [ANSWER] * 3
    sent = [json.loads(request.body)["n"] for request in world.model.requests]
    assert sent == [0, 1, 2]


async def test_a_head_or_body_in_two_reads_is_put_together(world: World, warm: Client) -> None:
    content = body(n=1)
    head = f"POST {CHAT} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {KEY}\r\n"
    raw = (head + f"Content-Length: {len(content)}\r\n\r\n").encode() + content
    for cut in (10, len(head), len(raw) - 5):
        warm.writer.write(raw[:cut])
        await asyncio.sleep(0.03)
        warm.writer.write(raw[cut:])
        assert (await warm.answer()).body == ANSWER
    assert len(world.usages) == 3


async def test_a_revoked_key_is_refused_at_once(world: World, warm: Client, ways: Ways) -> None:
    assert (await ask(warm)).status == 200
    del world.keys.known[KEY]
    assert (await ask(warm)).status == 401
    assert ways.taken == [True]


async def test_a_client_that_leaves_ends_the_call(world: World, warm: Client) -> None:
    async def never(request, reader, writer) -> None:
        await asyncio.sleep(30)

    world.model.handler = never
    before = world.model.closed
    warm.send(CHAT, method="POST", body=body())
    while not world.model.requests:
        await asyncio.sleep(0.01)
    warm.writer.close()
    async with asyncio.timeout(5):
        while not world.usages:
            await asyncio.sleep(0.01)
    assert world.usages[0].status == 499
    assert before == world.model.closed == 0


async def test_a_provider_that_breaks_off_is_told(world: World, warm: Client) -> None:
    async def breaks(request, reader, writer) -> None:
        writer.transport.abort()

    world.model.handler = breaks
    answer = await ask(warm)
    assert answer.status == 502
    assert world.usages[0].status == 502


def test_more_than_one_length_is_left_to_the_parser() -> None:
    head = f"POST {CHAT} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer k\r\n".encode()
    heads = Heads(a_gateway())
    known = heads.find(head + b"Content-Length: 2")
    assert known is not None
    assert heads.find(head + b"content-length: 31") == (known[0], 31)
    for line in (
        b"Content-Length: 2\r\nContent-Length: 2",
        b"Content-Length: 2\r\ncontent-length: 3",
        b"Content-Length: 2\r\nTransfer-Encoding: chunked",
        b"X-Content-Length: 2\r\nContent-Length: 2",
        b"Content-Length: 02",
        b"Content-Length: +2",
        b"Content-Length: 2 ",
        b"Content-Length: 1234567890",
        b"Content-Length: ",
        b"Accept: a",
    ):
        assert heads.find(head + line) is None, line
    with pytest.raises(BadRequest):
        copy_request([(b"host", b"a"), (b"host", b"b")], DROPPED_FOR_MODEL)
    assert heads.find(head + b"Content-Length: 2\r\nHost: i") is None


TICKING = Limits(tick=0.02, model_response_timeout=0.4)


@pytest.mark.parametrize("limits", [TICKING])
async def test_a_call_that_takes_its_time_stays_on_the_short_way(
    world: World, limits: Limits, warm: Client, ways: Ways
) -> None:
    async def later(request, reader, writer) -> None:
        await asyncio.sleep(0.2)
        await plain(ANSWER)(request, reader, writer)

    world.model.handler = later
    assert (await ask(warm)).body == ANSWER
    assert ways.taken == [True]


@pytest.mark.parametrize("limits", [TICKING])
async def test_an_answer_that_never_comes_is_told(
    world: World, limits: Limits, warm: Client
) -> None:
    async def never(request, reader, writer) -> None:
        await asyncio.sleep(30)

    world.model.handler = never
    assert (await ask(warm)).status == 504
    assert world.usages[0].status == 504


@pytest.mark.parametrize("limits", [Limits(upstream_idle_unsafe=0.2, upstream_idle_count=2)])
async def test_connections_that_are_too_old_make_room_for_new_ones(
    world: World, limits: Limits
) -> None:
    world.model.handler = plain(ANSWER)
    clients = [await world.client() for _ in range(2)]
    await asyncio.gather(*[ask(client) for client in clients])
    assert world.model.connections == 2
    await asyncio.sleep(0.3)
    for _ in range(5):
        await asyncio.gather(*[ask(client) for client in clients])
    assert world.model.connections == 4
