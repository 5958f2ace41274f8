"""The client's side: authentication, pipelining, limits, broken input, CONNECT and shutdown."""

import asyncio
import gc
import json
import ssl
from pathlib import Path

import pytest

from serai.gateway.exchange import Exchange
from serai.gateway.limits import Limits

from .world import KEY, Client, World, certificate, plain

BOX = "/main/sandboxes/box"
CHAT = "/main/models/llm/v1/chat/completions"


@pytest.fixture
def limits() -> Limits:
    return Limits(
        tick=0.02,
        header_timeout=0.3,
        keep_alive=0.6,
        header_bytes=8192,
        header_count=30,
        url_bytes=2048,
        discard_timeout=0.3,
        send_timeout=0.3,
        pipeline_depth=50,
    )


# -- authentication
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": ""}, 401),
        ({"Authorization": "Bearer"}, 401),
        ({"Authorization": "Bearer replaced"}, 401),
        ({"Authorization": f"Basic {KEY}"}, 401),
        ({"Authorization": "Bearer unknown"}, 401),
        ({"Authorization": f"bEaReR {KEY}"}, 200),
        ({"X-Blaxel-Authorization": f"Bearer {KEY}", "Authorization": "Bearer unknown"}, 200),
        ({"X-Blaxel-Authorization": "Bearer unknown", "Authorization": f"Bearer {KEY}"}, 401),
        ({"X-Blaxel-Authorization": "", "Authorization": f"Bearer {KEY}"}, 200),
        ({"X-Blaxel-Authorization": "Bearer replaced", "Authorization": f"Bearer {KEY}"}, 200),
        ({"Authorization": "Bearer slow-key"}, 200),
        ({"Authorization": "Bearer other-key"}, 403),
        ({"Authorization": "Bearer \xe9"}, 401),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_credentials(
    world: World, client: Client, headers: dict[str, str], status: int, method: str
) -> None:
    content = b"{}" if method == "POST" else None
    for target in (f"{BOX}/x", CHAT):
        answer = await client.ask(target, key=None, headers=headers, method=method, body=content)
        assert answer.status == status
        if status != 200:
            error = json.loads(answer.body)["error"]
            assert error["status"] == status
            assert error["origin"] == "platform"
            assert error["request_id"] == answer.headers["x-request-id"]
            assert answer.headers["x-blaxel-source"] == "platform"
            assert answer.headers["x-should-retry"] == "false"
            assert answer.headers["x-blaxel-error-code"] == error["code"]
            assert "www-authenticate" in answer.headers or status == 403


async def test_other_workspaces_and_missing_ones_look_alike(world: World, client: Client) -> None:
    bodies = set()
    for workspace in ("other", "missing"):
        answer = await client.ask(f"/{workspace}/sandboxes/box/x")
        assert answer.status == 403
        error = json.loads(answer.body)["error"]
        bodies.add(error["message"].replace(workspace, "W"))
    assert len(bodies) == 1


async def test_failing_authenticator_is_a_gateway_error(world: World, client: Client) -> None:
    async def explode(token: str) -> None:
        raise RuntimeError("secret detail")

    world.keys.verify = explode
    answer = await client.ask(f"{BOX}/x", key="unknown")
    assert answer.status == 500
    assert b"secret detail" not in answer.body


@pytest.mark.parametrize("kind", ["agents", "functions", "jobs"])
async def test_kinds_that_are_not_hosted(world: World, client: Client, kind: str) -> None:
    answer = await client.ask(f"/main/{kind}/thing/x", method="POST", body=b"{}")
    assert answer.status == 404
    assert b"No deployed" in answer.body
    assert (await client.ask(f"/other/{kind}/thing")).status == 403
    assert (await client.ask(f"/main/{kind}/thing", key=None)).status == 401


async def test_request_id_is_made_or_kept(world: World, client: Client) -> None:
    made = {(await client.ask(f"{BOX}/x")).headers["x-request-id"] for _ in range(3)}
    assert len(made) == 3
    assert {request.headers["x-request-id"] for request in world.api.requests} == made
    for bad in ("a" * 129, "a b", 'x"y', ""):
        answer = await client.ask(f"{BOX}/x", headers={"X-Request-Id": bad})
        assert answer.headers["x-request-id"] != bad
    answer = await client.ask(f"{BOX}/x", headers={"X-Request-Id": "a.b:c_d-1"})
    assert answer.headers["x-request-id"] == "a.b:c_d-1"


# -- what goes where
@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/health",
        "/v0/sandboxes/box",
        "/api/sandboxes/box",
        "/docs/sandboxes/box/x",
        "/run/v0/sandboxes/box",
        "/main",
        "/main/sandboxes",
        "/main/sandboxes/",
        "/main/others/box",
        "//sandboxes/box",
        "/main//sandboxes/box",
        "/main%2Fsandboxes/box/x",
    ],
)
async def test_the_rest_goes_to_the_app(world: World, client: Client, target: str) -> None:
    answer = await client.ask(target)
    assert answer.body.decode() == f"GET {target} 0"


# -- pipelining
async def test_answers_keep_the_order_of_requests(world: World, client: Client) -> None:
    async def late(request, reader, writer) -> None:
        await asyncio.sleep(0.02 if request.target.endswith("0") else 0)
        await plain(request.target.encode() + b" " + request.body)(request, reader, writer)

    world.api.handler = late
    expected = []
    for number in range(20):
        content = b"b%d" % number
        kind = number % 4
        if kind == 0:
            client.send(f"{BOX}/{number}", method="POST", body=content)
            expected.append(b"/%d %b" % (number, content))
        elif kind == 1:
            client.send(f"/v0/{number}", method="POST", body=content)
            expected.append(b"POST /v0/%d %d" % (number, len(content)))
        elif kind == 2:
            client.send(f"{BOX}/{number}", key="slow-key", method="POST", body=content)
            expected.append(b"/%d %b" % (number, content))
        else:
            client.send(f"{BOX}/{number}", key=None, method="POST", body=content)
            expected.append(b"AUTHENTICATION_REQUIRED")
    for want in expected:
        answer = await client.answer()
        assert want in answer.body


async def test_pipelined_in_every_cut(world: World, client: Client) -> None:
    def request(target: str, content: str) -> bytes:
        return (
            f"POST {target} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {KEY}\r\n"
            f"Content-Length: {len(content)}\r\n\r\n{content}"
        ).encode()

    data = request(f"{BOX}/1", "a") + request("/v0/2", "bb") + request(CHAT, '{"a":1}')
    for cut in range(1, len(data), 9):
        client.writer.write(data[:cut])
        await asyncio.sleep(0)
        client.writer.write(data[cut:])
        answers = [await client.answer() for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 200]
        assert answers[1].body == b"POST /v0/2 2"


async def test_nothing_is_handled_after_connection_close(world: World, client: Client) -> None:
    client.send(f"{BOX}/1", headers={"Connection": "close"})
    client.send(f"{BOX}/2")
    assert (await client.answer()).headers["connection"] == "close"
    assert await client.ended() == b""
    assert len(world.api.requests) == 1


async def test_error_after_a_good_request_comes_second(world: World, client: Client) -> None:
    async def late(request, reader, writer) -> None:
        await asyncio.sleep(0.05)
        await plain(b"first")(request, reader, writer)

    world.api.handler = late
    client.send(f"{BOX}/1")
    client.writer.write(b"NONSENSE\r\n\r\n")
    assert (await client.answer()).body == b"first"
    assert (await client.answer()).status == 400
    assert await client.ended() == b""


async def test_refused_last_request_in_line_closes(world: World, client: Client) -> None:
    client.send(f"{BOX}/1", key="slow-key")
    client.send(f"{BOX}/2", key=None, headers={"Connection": "close"})
    assert (await client.answer()).status == 200
    assert (await client.answer()).status == 401
    assert await asyncio.wait_for(client.ended(), 0.3) == b""


async def test_requests_leave_no_cycles(world: World, client: Client) -> None:
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            await client.ask(f"{BOX}/x")
            await client.ask(CHAT, method="POST", body=b"{}")
        left = [thing for thing in gc.get_objects() if isinstance(thing, Exchange)]
        assert len(left) <= 2
    finally:
        gc.enable()


async def test_endless_pipelining_is_bounded(world: World, client: Client) -> None:
    async def never(request, reader, writer) -> None:
        await reader.read()

    world.api.handler = never
    line = f"GET {BOX}/x HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode()
    client.writer.write(line * 20000)
    while not world.api.requests:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
    assert len(world.api.requests) == 1


# -- broken and hostile input
HEAD = f"POST {BOX}/x HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {KEY}\r\n"


@pytest.mark.parametrize(
    "request_text",
    [
        HEAD + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        HEAD + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        HEAD + "Content-Length: -1\r\n\r\n",
        HEAD + "Content-Length: 1x\r\n\r\n",
        HEAD + "Transfer-Encoding: gzip\r\n\r\n",
        HEAD + "Transfer-Encoding: chunked, identity\r\n\r\n",
        HEAD + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        HEAD + "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        HEAD + "Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
        HEAD + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        HEAD + "Bad Header: 1\r\n\r\n",
        HEAD + "X: a\x00b\r\n\r\n",
        HEAD + "Host: second\r\n\r\n",
        HEAD + "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n\r\nabc",
        f"GET {BOX}/x HTTP/1.1\r\nAuthorization: Bearer {KEY}\r\n\r\n",
        f"GET {BOX}/x y HTTP/1.1\r\nHost: h\r\n\r\n",
        "\x16\x03\x01\x02\x00",
    ],
)
async def test_bad_request_is_refused(world: World, client: Client, request_text: str) -> None:
    client.writer.write(request_text.encode("latin-1"))
    smuggled = f"GET {BOX}/smuggled HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {KEY}\r\n\r\n"
    client.writer.write(smuggled.encode())
    answer = await client.answer()
    assert answer.status == 400, answer.body
    assert await client.ended() == b""
    assert "/smuggled" not in [request.target for request in world.api.requests]


async def test_bad_chunk_closes_the_upstream(world: World, client: Client) -> None:
    client.writer.write((HEAD + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").encode())
    while not world.api.requests:
        await asyncio.sleep(0.01)
    client.writer.write(b"zz\r\n")
    assert (await client.answer()).status == 400
    assert await client.ended() == b""
    while not world.api.closed:
        await asyncio.sleep(0.01)


async def test_limits(world: World, client: Client) -> None:
    assert (await client.ask(f"{BOX}/{'x' * 3000}")).status == 414
    many = await world.client()
    assert (await many.ask(f"{BOX}/x", headers={f"h{n}": "1" for n in range(40)})).status == 431
    large = await world.client()
    assert (await large.ask(f"{BOX}/x", headers={"big": "x" * 9000})).status == 431
    endless = await world.client()
    endless.writer.write(f"GET {BOX}/x HTTP/1.1\r\nbig: ".encode() + b"x" * 10000)
    await asyncio.sleep(0.05)
    endless.writer.write(b"x" * 10000)
    assert (await endless.answer()).status == 431
    assert await endless.ended() == b""


async def test_slow_headers_time_out(world: World, client: Client) -> None:
    client.writer.write(b"GET / HT")
    assert (await client.answer()).status == 408
    assert await client.ended() == b""


async def test_silent_connection_is_closed(world: World, client: Client) -> None:
    assert await client.ended() == b""


async def test_idle_connection_is_closed(world: World, client: Client) -> None:
    assert (await client.ask(f"{BOX}/x")).status == 200
    assert await client.ended() == b""


async def test_long_request_is_not_idle(world: World, client: Client) -> None:
    async def late(request, reader, writer) -> None:
        await asyncio.sleep(1.0)
        await plain(b"late")(request, reader, writer)

    world.api.handler = late
    assert (await client.ask(f"{BOX}/x")).body == b"late"


async def test_client_that_never_reads_is_cut_off(world: World, client: Client) -> None:
    async def flood(request, reader, writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
        while True:
            writer.write(b"y" * 65536)
            await writer.drain()

    world.api.handler = flood
    client.writer.transport.pause_reading()
    client.send(f"{BOX}/x")
    while not world.api.closed:
        await asyncio.sleep(0.02)


async def test_refused_upload_that_goes_on_is_cut(world: World, client: Client) -> None:
    client.send(f"{BOX}/x", method="PUT", key=None, headers={"Content-Length": "999"})
    assert (await client.answer()).status == 401
    client.writer.write(b"x")
    assert await client.ended() == b""


# -- CONNECT
class Connector:
    """Ends TLS with a local certificate, then lets a fresh protocol serve the inside."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self.targets: list[tuple[str, dict[bytes, bytes]]] = []

    def take_over(self, transport, target, headers, make_protocol) -> None:
        self.targets.append((target, dict(headers)))
        transport.write(b"HTTP/1.1 200 Connection Established\r\n\r\n")
        self.task = asyncio.create_task(self._serve(transport, make_protocol()))

    async def _serve(self, transport, protocol) -> None:
        loop = asyncio.get_running_loop()
        inner = await loop.start_tls(transport, protocol, self.context, server_side=True)
        protocol.connection_made(inner)


async def test_connect_hands_over_and_serves_inside_tls(tmp_path: Path, limits: Limits) -> None:
    key, cert = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    world = World(tmp_path, limits)
    world.connect = connector = Connector(context)
    await world.start()
    try:
        client = await world.client()
        client.writer.write(
            b"CONNECT run.test:443 HTTP/1.1\r\nHost: run.test:443\r\nX-A: 1\r\n\r\n"
        )
        assert (await client.head()).status == 200
        assert connector.targets[0][0] == "run.test:443"
        assert connector.targets[0][1][b"x-a"] == b"1"
        trust = ssl.create_default_context(cafile=cert)
        await client.writer.start_tls(trust, server_hostname="run.test")
        assert (await client.ask(f"{BOX}/x")).status == 200
        assert world.api.requests[0].headers["x-forwarded-proto"] == "https"
        assert (await client.ask("/v0/y", method="POST", body=b"123")).body == b"POST /v0/y 3"
        early = await world.client()
        early.writer.write(b"CONNECT run.test:443 HTTP/1.1\r\nHost: run.test:443\r\n\r\n\x16\x03")
        assert (await early.answer()).status == 400
        behind = await world.client()
        behind.send(f"{BOX}/x")
        behind.writer.write(b"CONNECT run.test:443 HTTP/1.1\r\nHost: run.test:443\r\n\r\n")
        assert (await behind.answer()).body == b'{"ok":true}'
        assert (await behind.head()).status == 200
    finally:
        await world.stop()


async def test_connect_without_a_connector(world: World, client: Client) -> None:
    client.writer.write(b"CONNECT run.test:443 HTTP/1.1\r\nHost: run.test:443\r\n\r\n")
    answer = await client.answer()
    assert (answer.status, answer.headers["connection"]) == (405, "close")


async def test_gateway_over_a_tls_listener(tmp_path: Path, limits: Limits) -> None:
    key, cert = certificate(tmp_path)
    world = World(tmp_path, limits)
    await world.start(ssl_keyfile=key, ssl_certfile=cert)
    try:
        trust = ssl.create_default_context(cafile=cert)
        streams = await asyncio.open_connection(
            "127.0.0.1", world.port, ssl=trust, server_hostname="run.test"
        )
        client = Client(*streams)
        content = b"x" * 2_000_000
        answer = await client.ask(f"{BOX}/x", method="POST", body=content)
        assert answer.status == 200
        assert len(world.api.requests[0].body) == len(content)
        client.writer.close()
    finally:
        await world.stop()


# -- shutdown
async def test_shutdown_finishes_the_request_in_flight(tmp_path: Path, limits: Limits) -> None:
    world = World(tmp_path, limits)
    await world.start(timeout_graceful_shutdown=5)
    gate = asyncio.Event()

    async def late(request, reader, writer) -> None:
        await gate.wait()
        await plain(b"finished")(request, reader, writer)

    world.api.handler = late
    busy, idle = await world.client(), await world.client()
    assert (await idle.ask("/v0/x")).status == 200
    busy.send(f"{BOX}/x")
    while not world.api.requests:
        await asyncio.sleep(0.01)
    world.server.should_exit = True
    assert await idle.ended() == b""
    gate.set()
    answer = await busy.answer()
    assert (answer.body, answer.headers["connection"]) == (b"finished", "close")
    assert await busy.ended() == b""
    await world.serving
    await world.stop()


async def test_shutdown_ends_streams_at_the_deadline(tmp_path: Path, limits: Limits) -> None:
    world = World(tmp_path, limits)
    await world.start(timeout_graceful_shutdown=1)

    async def forever(request, reader, writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n")
        await reader.read()

    world.api.handler = forever
    client = await world.client()
    client.send(f"{BOX}/x")
    await client.head()
    world.server.should_exit = True
    await world.serving
    assert await client.ended() == b"1\r\na\r\n"
    await world.stop()
