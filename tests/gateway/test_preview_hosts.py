"""Previews by host names of their own: who is sent there, what a browser keeps, whose it is."""

import contextlib
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from serai.gateway.preview_cookies import EMBEDDED_NAME, NAME
from serai.gateway.routes import DomainRoute
from serai.gateway.sites import Sites
from serai.kernel.addresses import preview_addresses

from .test_previews import TOKEN, publish
from .test_sandboxes import WEBSOCKET, shouting
from .world import KEY, Client, Received, World, plain

HOST = "shop--main.preview.localhost:8080"
ORIGIN = f"http://{HOST}"
COOKIE = {"Cookie": f"theme=dark; {NAME.decode()}={TOKEN}"}
OPENED = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": "text/html,*/*"}
OWN_PAGE = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}


@pytest.fixture(autouse=True)
def local(world: World) -> None:
    """A server on this machine, as it is without any setting."""
    serve_at(world, "http://127.0.0.1:8080")


def serve_at(world: World, origin: str, domain: str | None = None, *own: str) -> None:
    addresses = preview_addresses(origin, domain)
    world.gateway.sites = Sites(world.routes, addresses, frozenset(own))


def add_domain(
    world: World, *, name: str = "shop.example", workspace: str = "main", **fields: Any
) -> None:
    given = {"workspaces": frozenset({workspace}), "fallback": ""} | fields
    world.routes.domains = {
        **world.routes.domains,
        name: DomainRoute(name=name, workspace=workspace, **given),
    }


def publish_in_domain(world: World, name: str, workspace: str = "main") -> None:
    host = f"{name}.shop.example"
    publish(
        world, slug=f"slug-{name}-{workspace}", public=True, workspace=workspace,
        name=name, domain="shop.example", host=host,
    )  # fmt: skip
    world.routes.hosts[host] = world.routes.previews[f"slug-{name}-{workspace}"]


def set_cookies(answer: Any) -> list[str]:
    return [value for name, value in answer.fields if name == "set-cookie"]


# -- by host
async def test_the_whole_host_is_the_preview(world: World, client: Client) -> None:
    publish(world, public=True)
    for path in ("/cart//x%2Fy?a=1", "/v0/sandboxes", "/preview/other", "/main/models/x", "/"):
        assert (await client.ask(path, key=None, host=HOST)).status == 200
        assert world.app_port.requests[-1].target == path
    received = world.app_port.requests[0].headers
    assert received["host"] == received["x-forwarded-host"] == HOST
    assert "x-forwarded-prefix" not in received


async def test_unknown_names_are_nobodys_and_our_own_are_ours(world: World, client: Client) -> None:
    publish(world, public=True)
    for host in ("nothing.preview.localhost", "a.shop--main.preview.localhost:8080"):
        assert (await client.ask("/v0/x", key=None, host=host)).status == 404
    for host in ("127.0.0.1:8080", "preview.localhost", "else.localhost", "anything.example", "x"):
        assert (await client.ask("/v0/x", host=host)).headers["x-app"] == "asgi"
    assert (await client.ask("/", key=None, host=HOST.upper())).status == 200
    assert (await client.ask("/", key=None, host="shop--main.preview.localhost.")).status == 200


async def test_its_origin_is_its_own(world: World, client: Client) -> None:
    async def answer(request: Received, reader: Any, writer: Any) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nservice-worker-allowed: /\r\n"
            b'cross-origin-opener-policy: same-origin\r\nclear-site-data: "cookies"\r\n'
            b"set-cookie: a=1; Domain=preview.localhost; Path=/\r\n"
            b"set-cookie: serai-preview=forged; Path=/\r\n\r\n"
        )

    world.gateway.isolate_previews = True
    publish(world, public=True)
    world.app_port.handler = answer
    got = await client.ask("/", key=None, host=HOST)
    assert got.headers["service-worker-allowed"] == "/"
    assert got.headers["cross-origin-opener-policy"] == "same-origin"
    assert set_cookies(got) == ["a=1; Path=/"]
    assert not {"clear-site-data", "content-security-policy"} & set(got.headers)


async def test_websocket_by_header_query_and_cookie(world: World) -> None:
    publish(world)
    world.app_port.handler = shouting
    own = {"Origin": ORIGIN}
    for target, headers in (
        (f"/hmr?bl_preview_token={TOKEN}", {}),
        ("/hmr", {"X-Blaxel-Preview-Token": TOKEN}),
        ("/hmr", COOKIE | own),
    ):
        client = await world.client()
        client.send(target, key=None, headers=WEBSOCKET | headers, host=HOST)
        assert (await client.head()).status == 101
        assert await client.reader.readexactly(6) == b"first!"
    assert TOKEN not in str([request.fields for request in world.app_port.requests])


async def test_a_websockets_cookie_is_for_its_host_only(world: World, client: Client) -> None:
    async def switch(request: Received, reader: Any, writer: Any) -> None:
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
            b"set-cookie: a=1; Domain=.preview.localhost\r\n\r\n"
        )

    publish(world, public=True)
    world.app_port.handler = switch
    client.send("/hmr", key=None, headers=WEBSOCKET, host=HOST)
    assert set_cookies(await client.head()) == ["a=1"]


# -- browsers are sent there
async def test_a_browser_that_opens_the_path_is_sent_to_the_host(
    world: World, client: Client
) -> None:
    publish(world)
    path = f"/preview/shop--main/a//b?x=1&bl_preview_token={TOKEN}"
    sent = await client.ask(path, key=None, headers=OPENED, host="localhost:8080")
    assert (sent.status, sent.headers["location"]) == (
        307,
        f"{ORIGIN}/a//b?x=1&bl_preview_token={TOKEN}",
    )
    assert world.app_port.requests == []
    for host, headers in (
        ("localhost:8080", {}),  # a program
        ("localhost:8080", OPENED | {"Sec-Fetch-Mode": "cors"}),  # a script
        ("192.0.2.7:8080", OPENED),  # from elsewhere: localhost would be the wrong machine
    ):
        assert (await client.ask(path, key=None, headers=headers, host=host)).status == 200


async def test_the_path_is_closed_to_other_pages_where_there_is_a_host(
    world: World, client: Client
) -> None:
    world.gateway.isolate_previews = True
    publish(world, public=True)
    for host, opened in (("localhost:8080", None), ("192.0.2.7:8080", "*")):
        answer = await client.ask("/preview/shop--main/x", key=None, host=host)
        assert "sandbox" in answer.headers["content-security-policy"]
        assert answer.headers.get("access-control-allow-origin") == opened
    publish(world, public=True, response_headers={"Access-Control-Allow-Origin": "https://a.test"})
    answer = await client.ask("/preview/shop--main/x", key=None)
    origins = [v for name, v in answer.fields if name == "access-control-allow-origin"]
    assert origins == ["https://a.test"]


async def test_a_wrong_token_in_the_address_is_not_kept(world: World, client: Client) -> None:
    publish(world)
    given = OPENED | {"X-Blaxel-Preview-Token": TOKEN}
    answer = await client.ask("/?bl_preview_token=wrong", key=None, headers=given, host=HOST)
    assert (answer.status, set_cookies(answer)) == (200, [])


async def test_a_domain_for_all_previews(world: World, client: Client) -> None:
    serve_at(world, "https://serai.example.com", "p.example.net")
    publish(world, public=True)
    sent = await client.ask("/preview/shop--main", key=None, headers=OPENED)
    assert sent.headers["location"] == "https://shop--main.p.example.net/"
    assert (await client.ask("/", key=None, host="shop--main.p.example.net")).status == 200
    serve_at(world, "https://serai.example.com", "off")
    assert (await client.ask("/preview/shop--main", key=None, headers=OPENED)).status == 200


async def test_behind_a_proxy_that_speaks_https(world: World, client: Client) -> None:
    serve_at(world, "https://serai.example.com", "p.example.net")
    publish(world)
    host = "shop--main.p.example.net"
    sent = await client.ask(f"/x?bl_preview_token={TOKEN}", key=None, headers=OPENED, host=host)
    assert sent.headers["location"] == f"https://{host}/x"
    [cookie] = set_cookies(sent)
    assert cookie.startswith(f"__Host-serai-preview={TOKEN}; Path=/; HttpOnly")
    await client.ask("/x", key=None, headers={"X-Blaxel-Preview-Token": TOKEN}, host=host)
    assert world.app_port.requests[0].headers["x-forwarded-proto"] == "https"


# -- what a browser keeps
async def test_a_window_loses_the_token_from_its_address(world: World, client: Client) -> None:
    digest = hashlib.sha256(TOKEN.encode()).digest()
    publish(world, tokens={digest: datetime.now(UTC) + timedelta(seconds=100)})
    target = f"//evil.example/x?a=1&bl_preview_token={TOKEN}"
    sent = await client.ask(target, key=None, headers=OPENED, host=HOST)
    assert (sent.status, sent.headers["location"]) == (303, f"{ORIGIN}//evil.example/x?a=1")
    plain_cookie, embedded = set_cookies(sent)
    assert plain_cookie.startswith(f"{NAME.decode()}={TOKEN}; Path=/; HttpOnly; Max-Age=")
    assert embedded.startswith(f"{EMBEDDED_NAME.decode()}={TOKEN}; Path=/; HttpOnly; Max-Age=")
    assert plain_cookie.endswith("SameSite=Lax")
    assert embedded.endswith("Secure; SameSite=None; Partitioned")
    assert "Domain" not in plain_cookie + embedded


async def test_a_frame_keeps_it_without_another_way(world: World, client: Client) -> None:
    publish(world)
    frame = OPENED | {"Sec-Fetch-Dest": "iframe", "Sec-Fetch-Site": "cross-site"}
    answer = await client.ask(f"/?bl_preview_token={TOKEN}", key=None, headers=frame, host=HOST)
    assert (answer.status, len(set_cookies(answer))) == (200, 2)
    assert world.app_port.requests[0].target == "/"


@pytest.mark.parametrize(
    ("method", "headers", "opens"),
    [
        ("GET", OWN_PAGE, True),
        ("POST", OWN_PAGE, True),
        ("GET", {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}, True),
        ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, True),
        ("POST", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, False),
        ("GET", {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"}, False),
        ("GET", {"Origin": "http://evil--main.preview.localhost:8080"}, False),
        ("POST", {"Origin": ORIGIN}, True),
        ("POST", {"Origin": "null"}, False),
        ("POST", {"Origin": "http://["}, False),
        ("POST", {}, False),
        ("GET", {}, True),
        ("GET", WEBSOCKET, False),
        ("GET", WEBSOCKET | {"Origin": "http://evil.example"}, False),
    ],
)
async def test_a_cookie_counts_for_the_preview_and_who_opens_it(
    world: World, client: Client, method: str, headers: dict[str, str], opens: bool
) -> None:
    publish(world)
    body = b"" if method == "POST" else None
    answer = await client.ask(
        "/", method=method, body=body, key=None, headers=COOKIE | headers, host=HOST
    )
    assert answer.status == (200 if opens else 401)
    if opens:
        assert world.app_port.requests[0].headers["cookie"] == "theme=dark"


async def test_below_our_own_address_no_cookie_counts(world: World, client: Client) -> None:
    publish(world)
    path = "/preview/shop--main/"
    answer = await client.ask(path, key=None, headers=COOKIE | OWN_PAGE)
    assert answer.status == 401
    given = await client.ask(f"{path}?bl_preview_token={TOKEN}", key=None)
    assert (given.status, set_cookies(given)) == (200, [])


async def test_of_several_cookies_any_may_open(world: World, client: Client) -> None:
    publish(world)
    tossed = {"Cookie": f"{NAME.decode()}=forged; {EMBEDDED_NAME.decode()}={TOKEN}"}
    assert (await client.ask("/", key=None, headers=tossed, host=HOST)).status == 200
    forged = {"Cookie": f"{NAME.decode()}=forged"}
    assert (await client.ask("/", key=None, headers=forged, host=HOST)).status == 401


# -- streams end with what opened them
@pytest.mark.parametrize("what", ["token", "preview", "time"])
async def test_an_open_stream_ends_with_its_token(world: World, client: Client, what: str) -> None:
    publish(world)
    world.app_port.handler = shouting
    given = WEBSOCKET | {"X-Blaxel-Preview-Token": TOKEN}
    client.send("/hmr", key=None, headers=given, host=HOST)
    assert (await client.head()).status == 101
    await client.reader.readexactly(6)
    publish(world)  # told again without any change
    client.writer.write(b"on")
    assert await client.reader.readexactly(2) == b"ON"
    if what == "preview":
        del world.routes.previews["shop--main"]
    elif what == "token":
        publish(world, tokens={})
    else:
        publish(world, ends_at=datetime.now(UTC))
    with contextlib.suppress(ConnectionError):
        assert await client.reader.read(1) == b""


# -- problems as pages
async def test_people_read_a_page_and_programs_json(world: World, client: Client) -> None:
    publish(world, slug="<b>--main")
    publish(world)
    page = await client.ask("/", key=None, headers=OPENED, host=HOST)
    assert (page.status, page.headers["content-type"]) == (401, "text/html; charset=utf-8")
    assert b"This preview is private" in page.body
    assert "default-src 'none'" in page.headers["content-security-policy"]
    script = OPENED | {"Sec-Fetch-Dest": "empty"}
    for headers in ({}, {"Accept": "*/*"}, script):
        told = await client.ask("/", key=None, headers=headers, host=HOST)
        assert (told.status, told.headers["content-type"]) == (401, "application/json")
    gone = await client.ask(
        "/preview/%3Cscript%3E<script>", key=None, headers={"Accept": "text/html"}
    )
    assert gone.status == 404
    assert b"<script>" not in gone.body


# -- custom domains
async def test_a_preview_by_its_name_in_a_custom_domain(world: World, client: Client) -> None:
    add_domain(world)
    publish_in_domain(world, "cart")
    world.app_port.handler = plain(b"cart")
    answer = await client.ask("/x?y=1", key=None, host="cart.shop.example:8080")
    assert (answer.status, answer.body) == (200, b"cart")
    assert (await client.ask("/x", key=None, host="other.shop.example")).status == 404
    assert (await client.ask("/x", key=None, host="shop.example")).status == 404


async def test_the_fallback_is_told_what_was_asked_for(world: World, client: Client) -> None:
    add_domain(world, fallback="landing")
    publish_in_domain(world, "landing")
    publish_in_domain(world, "cart")
    spoofed = {"X-Blaxel-Fallback": "no", "X-Blaxel-Fallback-Preview": "forged"}
    await client.ask("/x", key=None, host="cart.shop.example", headers=spoofed)
    await client.ask("/x", key=None, host="a.b.shop.example", headers=spoofed)
    direct, fallen = (request.headers for request in world.app_port.requests)
    assert not [name for name in direct if name.startswith("x-blaxel-fallback")]
    assert fallen["x-blaxel-fallback"] == "true"
    assert fallen["x-blaxel-fallback-preview"] == "a.b"
    assert fallen["x-blaxel-fallback-domain"] == "shop.example"


async def test_a_domain_serves_only_those_it_is_shared_with(world: World, client: Client) -> None:
    add_domain(world, fallback="landing")
    publish_in_domain(world, "theirs", workspace="thieves")
    publish_in_domain(world, "landing", workspace="thieves")
    for host in ("theirs.shop.example", "else.shop.example"):
        assert (await client.ask("/", key=None, host=host)).status == 404
    add_domain(world, workspaces=frozenset({"main", "thieves"}))
    world.routes.sandboxes["thieves", "box"] = world.routes.sandboxes["main", "box"]
    assert (await client.ask("/", key=None, host="theirs.shop.example")).status == 200


async def test_what_nobody_verified_is_refused_and_takes_nothing(
    world: World, client: Client
) -> None:
    serve_at(world, "https://serai.corp.example", None, "api.corp.example")
    world.routes.unverified = frozenset({"corp.example", "claimed.shop.example", "new.example"})
    add_domain(world)
    publish_in_domain(world, "claimed")
    told = await client.ask("/", key=None, host="a.new.example", headers=OPENED)
    assert (told.status, told.headers["x-blaxel-error-code"]) == (421, "DOMAIN_NOT_VERIFIED")
    assert b"a.new.example" in told.body
    # what is verified, or ours, stays so
    assert (await client.ask("/", key=None, host="claimed.shop.example")).status == 200
    for host in ("serai.corp.example", "api.corp.example"):
        assert (await client.ask("/v0/x", host=host)).headers["x-app"] == "asgi"


async def test_a_change_of_domains_is_seen_at_once(world: World, client: Client) -> None:
    assert (await client.ask("/v0/x", host="cart.shop.example")).headers["x-app"] == "asgi"
    add_domain(world)
    publish_in_domain(world, "cart")
    assert (await client.ask("/v0/x", key=None, host="cart.shop.example")).status == 200
    world.routes.domains = {}
    assert (await client.ask("/v0/x", host="cart.shop.example")).headers["x-app"] == "asgi"


async def test_a_platform_key_does_not_reach_the_app(world: World, client: Client) -> None:
    publish(world, public=True)
    await client.ask("/", key=KEY, host=HOST)
    await client.ask("/", key="the-apps-own", host=HOST)
    seen = [request.headers.get("authorization") for request in world.app_port.requests]
    assert seen == [None, "Bearer the-apps-own"]
