"""Requests to the sandbox API and to ports inside, over real Unix sockets."""

import asyncio
import hashlib
import resource

import msgspec
import pytest

from serai import __version__
from serai.gateway.routes import SandboxRoute
from serai.identity.keys import new_key
from serai.identity.principal import Principal

from .world import KEY, Client, World, plain, principal, read_head

BOX = "/main/sandboxes/box"


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("", "/"),
        ("/", "/"),
        ("/process", "/process"),
        ("//tmp/x", "//tmp/x"),
        ("/filesystem/%2Ftmp%2Fa%20b", "/filesystem/%2Ftmp%2Fa%20b"),
        ("/filesystem//tmp//y/", "/filesystem//tmp//y/"),
        ("/a?x=1&y=%2F", "/a?x=1&y=%2F"),
        ("/a?", "/a?"),
        ("/port", "/port"),
    ],
)
async def test_path_reaches_the_api_unchanged(
    world: World, client: Client, path: str, inside: str
) -> None:
    for prefix in ("", "/run"):
        answer = await client.ask(prefix + BOX + path)
        assert (answer.status, answer.body) == (200, b'{"ok":true}')
        assert world.api.requests[-1].target == inside


async def test_absolute_form_is_understood(world: World, client: Client) -> None:
    answer = await client.ask(f"http://run.example{BOX}/process")
    assert answer.status == 200
    assert world.api.requests[-1].target == "/process"


async def test_api_connection_is_kept(world: World, client: Client) -> None:
    for _ in range(5):
        assert (await client.ask(f"{BOX}/process")).status == 200
    assert world.api.connections == 1


async def test_headers_of_the_platform_are_stripped(world: World, client: Client) -> None:
    await client.ask(
        f"{BOX}/process",
        key=None,
        headers={
            "X-Blaxel-Authorization": f"Bearer {KEY}",
            "X-Blaxel-Workspace": "main",
            "X-Blaxel-Subject-Id": "forged",
            "Authorization": "Bearer replaced",
            "Proxy-Authorization": "Basic x",
            "Connection": "keep-alive, x-hop",
            "X-Hop": "1",
            "TE": "trailers",
            "X-Own": "kept",
            "X-Request-Id": "abc-1",
            "X-Forwarded-For": "6.6.6.6",
        },
    )
    headers = world.api.requests[0].headers
    assert headers["x-own"] == "kept"
    assert headers["host"] == "gateway.test"
    assert headers["x-request-id"] == "abc-1"
    assert headers["x-forwarded-for"] == "6.6.6.6, 127.0.0.1"
    assert headers["x-forwarded-proto"] == "http"
    assert not {"x-hop", "te", "authorization", "proxy-authorization"} & headers.keys()
    assert not any(name.startswith("x-blaxel") for name in headers)


@pytest.mark.parametrize(
    ("own", "arrives"),
    [
        ("Basic dXNlcg==", True),
        ("Bearer mine", True),
        (f"Bearer {KEY}", False),
        (f"Bearer {new_key()}", False),
        ("", False),
    ],
)
async def test_port_gets_the_users_own_authorization(
    world: World, client: Client, own: str, arrives: bool
) -> None:
    headers = {"X-Blaxel-Authorization": f"Bearer {KEY}", "Authorization": own}
    answer = await client.ask(f"{BOX}/port/3000/app?q=1", key=None, headers=headers)
    assert answer.status == 200
    request = world.app_port.requests[0]
    assert world.asked_port == 3000
    assert request.target == "/app?q=1"
    assert request.headers.get("authorization") == (own if arrives else None)
    assert request.headers["x-forwarded-prefix"] == f"{BOX}/port/3000"


async def test_port_path_defaults_to_the_root(world: World, client: Client) -> None:
    await client.ask(f"{BOX}/port/3000")
    await client.ask(f"{BOX}/port/3000//x%2F")
    assert [request.target for request in world.app_port.requests] == ["/", "//x%2F"]


@pytest.mark.parametrize("port", ["0", "65536", "http", "-1", ""])
async def test_wrong_port_is_named(world: World, client: Client, port: str) -> None:
    answer = await client.ask(f"{BOX}/port/{port}/x")
    assert answer.status == 400
    assert b"1 to 65535" in answer.body


async def test_nothing_on_the_port(world: World, client: Client) -> None:
    world.port_greeting = b"error connection refused\n"
    answer = await client.ask(f"{BOX}/port/3000/x")
    assert answer.status == 502
    assert b"port 3000" in answer.body
    assert b"connection refused" in answer.body
    assert answer.headers["x-blaxel-error-code"] == "UPSTREAM_CONNECT_FAILED"


async def test_dead_sandbox_tells_no_path_of_the_host(world: World, client: Client) -> None:
    world.add_sandbox("dead", str(world.directory / "none.sock"), "x")
    answer = await client.ask("/main/sandboxes/dead/process")
    assert answer.status == 502
    assert str(world.directory).encode() not in answer.body


async def test_sandbox_found_on_the_slow_path(world: World, client: Client) -> None:
    box = world.routes.sandboxes.pop(("main", "box"))
    assert (await client.ask(f"{BOX}/x")).status == 404
    world.late["box"] = box
    answer = await client.ask(f"{BOX}/x", method="POST", body=b"12345")
    assert answer.status == 200
    assert world.api.requests[0].body == b"12345"


async def test_a_sleeping_sandbox_is_asked_for_first(world: World, client: Client) -> None:
    box = world.routes.sandboxes["main", "box"]
    world.routes.sandboxes["main", "box"] = msgspec.structs.replace(box, asleep=True)
    assert (await client.ask(f"{BOX}/x")).status == 404
    assert not world.api.requests
    world.late["box"] = box
    assert (await client.ask(f"{BOX}/x", method="POST", body=b"12345")).status == 200
    assert world.open == 0


async def test_activity_is_marked_at_start_and_end(world: World, client: Client) -> None:
    await client.ask(f"{BOX}/x")
    assert world.activity == ["box", "box"]
    assert world.open == 0


async def test_chunked_body_both_ways(world: World, client: Client) -> None:
    async def echo(request, reader, writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for byte in request.body:
            writer.write(b"1\r\n%c\r\n" % byte)
        writer.write(b"0\r\n\r\n")

    world.api.handler = echo
    client.send(f"{BOX}/x", method="PUT", headers={"Transfer-Encoding": "chunked"})
    for piece in (b"hel", b"lo ", b"you"):
        client.writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        await asyncio.sleep(0.01)
    client.writer.write(b"0\r\nx-trailer: 1\r\n\r\n")
    answer = await client.answer()
    assert answer.body == b"hello you"
    assert world.api.requests[0].body == b"hello you"
    assert (await client.ask(f"{BOX}/y", method="POST", body=b"z")).body == b"z"


async def test_stream_arrives_piece_by_piece(world: World, client: Client) -> None:
    gate = asyncio.Event()

    async def two_steps(request, reader, writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\none\n\r\n")
        await gate.wait()
        writer.write(b"4\r\ntwo\n\r\n0\r\n\r\n")

    world.api.handler = two_steps
    client.send(f"{BOX}/process/1/logs/stream")
    assert (await client.head()).status == 200
    assert await client.reader.readuntil(b"one\n\r\n") == b"4\r\none\n\r\n"
    gate.set()
    assert await client.reader.readuntil(b"0\r\n\r\n") == b"4\r\ntwo\n\r\n0\r\n\r\n"


async def test_answer_until_close_becomes_chunked(world: World, client: Client) -> None:
    async def close(request, reader, writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        writer.close()

    world.api.handler = close
    assert (await client.ask(f"{BOX}/x")).body == b"all of it"
    world.api.handler = plain(b"next")
    assert (await client.ask(f"{BOX}/x")).body == b"next"


async def test_head_204_and_304_have_no_body(world: World, client: Client) -> None:
    answer = await client.ask(f"{BOX}/x", method="HEAD")
    assert (answer.status, answer.headers["content-length"]) == (200, "11")
    for status in ("204 No Content", "304 Not Modified"):

        async def bare(request, reader, writer, status=status) -> None:
            writer.write(f"HTTP/1.1 {status}\r\netag: x\r\n\r\n".encode())

        world.api.handler = bare
        answer = await client.ask(f"{BOX}/x")
        assert (f"{answer.status}", answer.headers["etag"]) == (status[:3], "x")
        assert "transfer-encoding" not in answer.headers
    world.api.handler = plain(b"after")
    assert (await client.ask(f"{BOX}/x")).body == b"after"
    assert world.api.connections == 1


async def test_interim_answers_pass(world: World, client: Client) -> None:
    async def hints(request, reader, writer) -> None:
        writer.write(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n")
        await plain(b"done")(request, reader, writer)

    world.api.handler = hints
    client.send(f"{BOX}/x")
    early = await client.head()
    assert (early.status, early.headers["link"]) == (103, "</a>")
    assert (await client.answer()).body == b"done"


async def test_expect_continue(world: World, client: Client) -> None:
    headers = {"Expect": "100-continue", "Content-Length": "3"}
    client.send(f"{BOX}/x", method="PUT", headers=headers)
    assert (await client.head()).status == 100
    client.writer.write(b"abc")
    assert (await client.answer()).status == 200
    assert "expect" not in world.api.requests[0].headers


async def test_expect_is_refused_before_the_body(world: World, client: Client) -> None:
    headers = {"Expect": "100-continue", "Content-Length": "3"}
    client.send(f"{BOX}/x", method="PUT", headers=headers, key="bad")
    answer = await client.answer()
    assert (answer.status, answer.headers["connection"]) == (401, "close")
    assert await client.ended() == b""


async def test_large_upload_is_streamed(world: World, client: Client) -> None:
    size, piece = 200 * 1024 * 1024, b"x" * (1024 * 1024)
    digest = hashlib.sha256()

    async def count(request, reader, writer) -> None:
        left = size
        while left:
            data = await reader.read(min(left, 262144))
            digest.update(data)
            left -= len(data)
        await plain(b"{}")(request, reader, writer)

    world.api.read_body = False
    world.api.handler = count
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    client.send(f"{BOX}/x", method="PUT", headers={"Content-Length": str(size)})
    for _ in range(size // len(piece)):
        client.writer.write(piece)
        await client.writer.drain()
    assert (await client.answer()).status == 200
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 40 * 1024, f"{grown} KiB"
    expected = hashlib.sha256()
    for _ in range(size // len(piece)):
        expected.update(piece)
    assert digest.digest() == expected.digest()


async def test_slow_reader_holds_the_upstream_back(world: World, client: Client) -> None:
    total = 64 * 1024 * 1024
    written = 0

    async def flood(request, reader, writer) -> None:
        nonlocal written
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {total}\r\n\r\n".encode())
        while written < total:
            writer.write(b"y" * 65536)
            written += 65536
            await writer.drain()

    world.api.handler = flood
    client.writer.transport.pause_reading()
    client.send(f"{BOX}/x")
    seen = -1
    while seen != written:
        seen = written
        await asyncio.sleep(0.3)
    assert written < total / 2
    client.writer.transport.resume_reading()
    assert len((await client.answer()).body) == total


async def test_leaving_client_ends_the_upstream(world: World, client: Client) -> None:
    async def forever(request, reader, writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n")
        await reader.read()
        raise ConnectionResetError

    world.api.handler = forever
    client.send(f"{BOX}/x")
    await client.head()
    client.writer.close()
    while not world.api.closed:
        await asyncio.sleep(0.01)
    assert world.activity == ["box", "box"]


async def test_upstream_broken_in_mid_answer_is_noticed(world: World, client: Client) -> None:
    for head in (b"content-length: 10", b"transfer-encoding: chunked"):

        async def half(request, reader, writer, head=head) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n5\r\nhello\r\n"[:8])
            writer.close()

        world.api.handler = half
        one = await world.client()
        one.send(f"{BOX}/x")
        assert (await one.head()).status == 200
        assert not (await one.ended()).endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("nonsense", [b"nope\r\n\r\n", b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n"])
async def test_upstream_talks_nonsense(world: World, client: Client, nonsense: bytes) -> None:
    async def talk(request, reader, writer) -> None:
        writer.write(nonsense)

    world.api.handler = talk
    answer = await client.ask(f"{BOX}/x")
    assert answer.status == 502
    world.api.handler = plain(b"fine")
    assert (await client.ask(f"{BOX}/x")).body == b"fine"


async def test_stale_connection_is_retried_when_safe(world: World, client: Client) -> None:
    async def once(request, reader, writer) -> None:
        await plain(b"ok")(request, reader, writer)
        if len(world.api.requests) % 2:
            return
        writer.close()

    await client.ask(f"{BOX}/x")
    calls = 0

    async def die_on_reuse(request, reader, writer) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            writer.close()
            raise ConnectionResetError
        await plain(b"again")(request, reader, writer)

    world.api.handler = die_on_reuse
    assert (await client.ask(f"{BOX}/x")).body == b"again"
    assert world.api.connections == 2
    calls = 0
    answer = await client.ask(f"{BOX}/x", method="POST", body=b"1")
    assert (answer.status, calls) == (502, 1), "a POST may have been carried out: never repeat it"


async def test_endless_head_is_cut(world: World, client: Client) -> None:
    async def endless(request, reader, writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"x-more: " + b"y" * 1000 + b"\r\n")
            await writer.drain()

    world.api.handler = endless
    answer = await client.ask(f"{BOX}/x")
    assert answer.status == 502
    assert b"too large" in answer.body


async def test_sandbox_cannot_speak_for_the_platform(world: World, client: Client) -> None:
    async def pretend(request, reader, writer) -> None:
        writer.write(
            b"HTTP/1.1 500 X\r\nx-blaxel-source: platform\r\nx-request-id: own\r\n"
            b"connection: x-secret-hop\r\nx-secret-hop: 1\r\ncontent-length: 0\r\n\r\n"
        )

    world.api.handler = pretend
    answer = await client.ask(f"{BOX}/x")
    assert "x-blaxel-source" not in answer.headers
    assert "x-secret-hop" not in answer.headers
    assert answer.headers["x-upstream-request-id"] == "own"
    assert answer.headers["x-request-id"] != "own"


async def test_response_after_the_response_is_not_the_next_answer(
    world: World, client: Client
) -> None:
    async def twice(request, reader, writer) -> None:
        body = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
        writer.write(body + body.replace(b"ok", b"no"))

    world.api.handler = twice
    assert (await client.ask(f"{BOX}/x")).body == b"ok"
    world.api.handler = plain(b"right")
    assert (await client.ask(f"{BOX}/y")).body == b"right"


async def test_early_answer_and_the_rest_of_the_upload(world: World, client: Client) -> None:
    async def refuse(request, reader, writer) -> None:
        await plain(b"too big", "413 Payload Too Large")(request, reader, writer)

    world.api.read_body = False
    world.api.handler = refuse
    client.send(f"{BOX}/x", method="PUT", headers={"Content-Length": "1000000"})
    answer = await client.answer()
    assert answer.status == 413
    client.writer.write(b"z" * 1000000)
    world.api.read_body = True
    world.api.handler = plain(b"next")
    assert (await client.ask(f"{BOX}/y")).body == b"next"


WEBSOCKET = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


async def shake_hands(request, writer) -> None:
    """Switches protocols and says nothing."""
    assert request.headers["upgrade"] == "websocket"
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    )
    await writer.drain()


async def shouting(request, reader, writer) -> None:
    """Switches protocols, then answers every piece in upper case."""
    assert request.headers["upgrade"] == "websocket"
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nfirst!"
    )
    while data := await reader.read(65536):
        writer.write(data.upper())
        await writer.drain()
    writer.write(b"bye")
    await writer.drain()
    raise ConnectionResetError


@pytest.mark.parametrize("path", ["/terminal/ws", "/port/8000/ws"])
async def test_websocket_is_tunnelled(world: World, client: Client, path: str) -> None:
    upstream = world.app_port if "port" in path else world.api
    upstream.handler = shouting
    target = f"{BOX}{path}?cols=80&token={KEY}&rows=24"
    client.send(target, key=None, headers=WEBSOCKET)
    head = await client.head()
    assert head.status == 101
    assert head.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert await client.reader.readexactly(6) == b"first!"
    client.writer.write(b"hello")
    assert await client.reader.readexactly(5) == b"HELLO"
    big = b"a" * 3_000_000
    client.writer.write(big)
    assert await client.reader.readexactly(len(big)) == big.upper()
    client.writer.write_eof()
    assert await client.ended() == b"bye"
    assert upstream.requests[0].target.endswith("?cols=80&rows=24")
    assert world.activity[0] == world.activity[-1] == "box"
    client.writer.close()
    while world.open:
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("first", ["client", "sandbox"])
async def test_a_tunnel_is_over_when_both_sides_have_ended(
    world: World, client: Client, first: str
) -> None:
    async def ending(request, reader, writer) -> None:
        await shake_hands(request, writer)
        if first == "client":
            await reader.read()
        writer.write_eof()
        await reader.read()
        await asyncio.sleep(60)  # its connection stays

    world.api.handler = ending
    client.send(f"{BOX}/terminal/ws", headers=WEBSOCKET)
    assert (await client.head()).status == 101
    if first == "sandbox":
        assert await client.ended() == b""
    client.writer.write_eof()
    while world.open:
        await asyncio.sleep(0.01)


async def test_a_tunnel_counts_as_activity_only_when_something_is_sent(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serai.gateway.sandboxes._TOUCH", 0.1)

    async def echoing(request, reader, writer) -> None:
        await shake_hands(request, writer)
        while data := await reader.read(100):
            writer.write(data)
        raise ConnectionResetError

    world.api.handler = echoing
    client.send(f"{BOX}/terminal/ws", headers=WEBSOCKET)
    assert (await client.head()).status == 101
    counts = []
    for _ in range(3):
        await asyncio.sleep(0.4)
        counts.append(len(world.activity))
        client.writer.write(b"x")
        assert await client.reader.readexactly(1) == b"x"
    assert counts[0] < counts[1] < counts[2] == len(world.activity) - 2
    await asyncio.sleep(0.4)
    assert len(world.activity) == counts[2] + 2
    assert world.open == 1


async def test_websocket_refused_by_the_upstream(world: World, client: Client) -> None:
    world.api.handler = plain(b"no", "403 Forbidden")
    answer = await client.ask(f"{BOX}/terminal/ws", headers=WEBSOCKET)
    assert (answer.status, answer.headers["connection"]) == (403, "close")
    assert await client.ended() == b""


async def test_websocket_needs_a_credential(world: World, client: Client) -> None:
    answer = await client.ask(f"{BOX}/terminal/ws?token=wrong", key=None, headers=WEBSOCKET)
    assert answer.status == 401


async def test_frames_sent_at_once_are_not_lost(world: World, client: Client) -> None:
    world.api.handler = shouting
    client.send(f"{BOX}/terminal/ws", headers=WEBSOCKET)
    client.writer.write(b"early")
    assert (await client.head()).status == 101
    assert await client.reader.readexactly(11) == b"first!EARLY"


async def test_token_in_the_query_only_counts_for_upgrades(world: World, client: Client) -> None:
    assert (await client.ask(f"{BOX}/x?token={KEY}", key=None)).status == 401
    await client.ask(f"{BOX}/x?token=apps-own")
    assert world.api.requests[0].target == "/x?token=apps-own"


async def test_unasked_switch_is_refused(world: World, client: Client) -> None:
    async def switch(request, reader, writer) -> None:
        writer.write(b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")

    world.api.handler = switch
    assert (await client.ask(f"{BOX}/x")).status == 502


async def test_an_unknown_upgrade_is_ignored(world: World, client: Client) -> None:
    headers = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c"}
    client.send(f"{BOX}/x", headers=headers)
    client.send(f"{BOX}/y")
    assert (await client.answer()).status == 200
    assert (await client.answer()).status == 200
    assert [request.target for request in world.api.requests] == ["/x", "/y"]
    assert "upgrade" not in world.api.requests[0].headers


async def test_http10_client(world: World, client: Client) -> None:
    async def chunked(request, reader, writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n")

    world.api.handler = chunked
    client.writer.write(f"GET {BOX}/x HTTP/1.0\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode())
    _, fields = await read_head(client.reader)
    assert ("connection", "close") in fields
    assert await client.ended() == b"hi"


@pytest.mark.parametrize("kept", [{}, {KEY: principal("elsewhere")}], ids=["key", "workspace"])
async def test_an_open_connection_ends_with_its_access(
    world: World, client: Client, kept: dict[str, Principal]
) -> None:
    world.api.handler = shouting
    client.send(f"{BOX}/terminal/ws", headers=WEBSOCKET)
    assert (await client.head()).status == 101
    assert await client.reader.readexactly(6) == b"first!"
    await asyncio.sleep(0.1)
    client.writer.write(b"hello")
    assert await client.reader.readexactly(5) == b"HELLO", "a valid key keeps it open"
    world.keys.anew |= kept
    world.keys.known.pop(KEY)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(client.reader.readexactly(1), 5)


async def test_an_upgrade_is_told_our_version_and_nothing_else_is(
    world: World, client: Client
) -> None:
    async def ours(route: SandboxRoute) -> str:
        return f"guest-for-{route.name}"

    world.gateway.successor = ours
    forged = {"X-Serai-Version": "0.0.0", "X-Serai-Successor": "evil"}
    await client.ask("/main/sandboxes/box/upgrade", method="POST", body=b"", headers=forged)
    await client.ask("/main/sandboxes/box/health", headers=forged)
    upgraded, health = (request.headers for request in world.api.requests)
    assert upgraded["x-serai-version"] == __version__
    assert upgraded["x-serai-successor"] == "guest-for-box"
    assert not {"x-serai-version", "x-serai-successor"} & health.keys()
