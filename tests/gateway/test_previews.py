"""Previews: who gets in, what passes in each direction, and what the gateway answers itself."""

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from serai.compute.ports import PublishedPreview
from serai.gateway.discovery import preview_route
from serai.identity.keys import new_key

from .test_sandboxes import WEBSOCKET, shouting
from .world import KEY, Client, Received, World, plain

TOKEN = "a-token_of-the-preview"
SHOP = "/preview/shop--main"


def publish(world: World, **fields: Any) -> None:
    """A private preview of port 3000 of the sandbox ``box``, unless told otherwise."""
    defaults: dict[str, Any] = {
        "slug": "shop--main",
        "workspace": "main",
        "sandbox": "box",
        "port": 3000,
        "public": False,
        "request_headers": {},
        "response_headers": {},
        "ends_at": None,
        "tokens": {hashlib.sha256(TOKEN.encode()).digest(): None},
    }
    preview = PublishedPreview(**(defaults | fields))
    world.routes.previews[preview.slug] = preview_route(preview)


async def test_public_needs_nothing(world: World, client: Client) -> None:
    publish(world, public=True)
    answer = await client.ask(f"{SHOP}/cart//x%2Fy?a=1&b=%20", key=None)
    assert (answer.status, world.asked_port) == (200, 3000)
    received = world.app_port.requests[0]
    assert received.target == "/cart//x%2Fy?a=1&b=%20"
    assert received.headers["x-forwarded-prefix"] == SHOP
    assert received.headers["host"] == "gateway.test"
    assert world.activity == ["box", "box"]


async def test_path_defaults_to_the_root(world: World, client: Client) -> None:
    publish(world, public=True)
    await client.ask(f"{SHOP}?x=1", key=None)
    assert world.app_port.requests[0].target == "/?x=1"


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        (SHOP, {}),
        (f"{SHOP}?bl_preview_token=wrong", {}),
        (f"{SHOP}?bl_preview_token=", {}),
        (f"{SHOP}?token={TOKEN}", {}),
        (SHOP, {"X-Blaxel-Preview-Token": "wrong"}),
        (SHOP, {"Authorization": f"Bearer {KEY}"}),
        (SHOP, {"Authorization": f"Bearer {TOKEN}"}),
    ],
)
async def test_private_refuses_without_its_token(
    world: World, client: Client, target: str, headers: dict[str, str]
) -> None:
    publish(world)
    answer = await client.ask(target, key=None, headers=headers)
    assert answer.status == 401
    assert answer.headers["x-blaxel-error-code"] == "AUTHENTICATION_REQUIRED"
    assert world.app_port.requests == []


async def test_token_by_query_or_header_opens_and_is_not_passed_on(
    world: World, client: Client
) -> None:
    publish(world)
    await client.ask(f"{SHOP}/?a=1&bl_preview_token={TOKEN}&b=2", key=None)
    given = {"X-Blaxel-Preview-Token": TOKEN, "X-Blaxel-Authorization": f"Bearer {KEY}"}
    await client.ask(f"{SHOP}/", key=None, headers=given)
    first, second = world.app_port.requests
    assert first.target == "/?a=1&b=2"
    assert TOKEN not in str(first.fields + second.fields)
    assert KEY not in str(second.fields)


async def test_expired_token_and_expired_preview(world: World, client: Client) -> None:
    digest = hashlib.sha256(TOKEN.encode()).digest()
    past = datetime.now(UTC) - timedelta(seconds=1)
    publish(world, tokens={digest: past})
    assert (await client.ask(f"{SHOP}?bl_preview_token={TOKEN}", key=None)).status == 401
    publish(world, public=True, ends_at=past)
    gone = await client.ask(SHOP, key=None)
    unknown = await client.ask("/preview/nothing", key=None)
    assert (gone.status, unknown.status) == (404, 404)
    assert gone.headers["x-blaxel-error-code"] == "ROUTE_NOT_FOUND"


async def test_sandbox_api_behind_a_preview(world: World, client: Client) -> None:
    publish(world, port=0)
    given = {"X-Blaxel-Preview-Token": TOKEN}
    answer = await client.ask(f"{SHOP}/filesystem//tmp", key=None, headers=given)
    assert answer.status == 200
    assert world.api.requests[0].target == "/filesystem//tmp"
    assert world.app_port.requests == []


async def test_the_users_authorization_passes_but_no_platform_key(
    world: World, client: Client
) -> None:
    publish(world, public=True)
    for value in ("Bearer the-apps-own", "Basic dXNlcjpwYXNz", f"Bearer {KEY}"):
        await client.ask(SHOP, key=None, headers={"Authorization": value})
    await client.ask(SHOP, key=None, headers={"Authorization": f"Bearer {new_key()}"})
    seen = [request.headers.get("authorization") for request in world.app_port.requests]
    assert seen == ["Bearer the-apps-own", "Basic dXNlcjpwYXNz", None, None]


async def test_request_headers_replace_the_clients(world: World, client: Client) -> None:
    wanted = {"Authorization": "Bearer inner", "X-Env": "staging", "Host": "shop.test"}
    publish(world, public=True, request_headers=wanted)
    await client.ask(SHOP, key=None, headers={"Authorization": "Bearer mine", "x-env": "forged"})
    received = world.app_port.requests[0]
    fields = [value for name, value in received.fields if name in {"authorization", "x-env"}]
    assert sorted(fields) == ["Bearer inner", "staging"]
    assert received.headers["host"] == "shop.test"
    assert received.headers["x-forwarded-host"] == "shop.test"


async def test_response_headers_replace_the_apps(world: World, client: Client) -> None:
    async def app(request, reader, writer) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nX-Keep: yes\r\n"
            b"Content-Length: 2\r\n\r\nok"
        )

    world.app_port.handler = app
    wanted = {"Access-Control-Allow-Origin": "https://a.test", "X-Frame-Options": "DENY"}
    publish(world, public=True, response_headers=wanted)
    answer = await client.ask(SHOP, key=None)
    origins = [value for name, value in answer.fields if name == "access-control-allow-origin"]
    assert origins == ["https://a.test"]
    assert (answer.headers["x-keep"], answer.headers["x-frame-options"]) == ("yes", "DENY")
    assert answer.body == b"ok"


async def test_preflight_is_answered_without_token_and_without_the_app(
    world: World, client: Client
) -> None:
    asks = {"Origin": "https://a.test", "Access-Control-Request-Method": "POST"}
    publish(world, response_headers={"Access-Control-Allow-Origin": "*"})
    answer = await client.ask(SHOP, method="OPTIONS", key=None, headers=asks)
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (204, "*")
    refused = await client.ask(SHOP, key=None)
    assert (refused.status, refused.headers["access-control-allow-origin"]) == (401, "*")
    assert world.app_port.requests == []


async def test_preflight_to_the_sandbox_api_allows_browsers(world: World, client: Client) -> None:
    publish(world, port=0)
    asks = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-blaxel-preview-token",
    }
    answer = await client.ask(f"{SHOP}/process", method="OPTIONS", key=None, headers=asks)
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (204, "*")
    assert answer.headers["access-control-allow-headers"] == "x-blaxel-preview-token"
    assert world.api.requests == []


async def test_options_of_a_public_app_reach_it(world: World, client: Client) -> None:
    world.app_port.handler = plain(b"mine")
    publish(world, public=True)
    asks = {"Access-Control-Request-Method": "POST"}
    answer = await client.ask(SHOP, method="OPTIONS", key=None, headers=asks)
    assert (answer.status, answer.body) == (200, b"mine")


async def test_preflight_with_a_body_keeps_the_connection(world: World, client: Client) -> None:
    publish(world)
    answer = await client.ask(SHOP, method="OPTIONS", key=None, body=b"x" * 100)
    assert answer.status == 204
    assert (await client.ask("/v0/anything")).body.startswith(b"GET /v0/anything")


async def test_websocket_with_the_token_in_the_query(world: World, client: Client) -> None:
    publish(world)
    world.app_port.handler = shouting
    client.send(f"{SHOP}/hmr?bl_preview_token={TOKEN}&v=1", key=None, headers=WEBSOCKET)
    assert (await client.head()).status == 101
    assert await client.reader.readexactly(6) == b"first!"
    client.writer.write(b"hello")
    assert await client.reader.readexactly(5) == b"HELLO"
    assert world.app_port.requests[0].target == "/hmr?v=1"
    client.writer.write_eof()
    assert await client.ended() == b"bye"


async def test_websocket_without_a_token(world: World, client: Client) -> None:
    publish(world)
    assert (await client.ask(SHOP, key=None, headers=WEBSOCKET)).status == 401


async def test_sleeping_sandbox_is_woken(world: World, client: Client) -> None:
    route = world.routes.sandboxes.pop(("main", "box"))
    publish(world, public=True)
    assert (await client.ask(SHOP, key=None)).status == 404
    world.late["box"] = route
    assert (await client.ask(SHOP, key=None)).status == 200


async def test_nothing_listens(world: World, client: Client) -> None:
    world.port_greeting = b"error connection refused\n"
    publish(world, public=True, response_headers={"X-Mine": "1", "Content-Type": "text/html"})
    answer = await client.ask(SHOP, key=None)
    assert (answer.status, answer.headers["x-mine"]) == (502, "1")
    kinds = [value for name, value in answer.fields if name == "content-type"]
    assert kinds == ["application/json"]


async def test_uploads_stream_through(world: World, client: Client) -> None:
    publish(world, public=True)
    body = b"x" * 3_000_000
    answer = await client.ask(f"{SHOP}/up", method="POST", key=None, body=body)
    assert answer.status == 200
    assert world.app_port.requests[0].body == body


async def test_refused_upload_does_not_wait_for_the_body(world: World, client: Client) -> None:
    publish(world)
    head = f"POST {SHOP} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
    client.writer.write(head.encode())
    assert (await client.answer()).status == 401


@pytest.mark.parametrize("isolate", [True, False])
async def test_a_preview_has_an_origin_of_its_own_where_it_must(
    world: World, client: Client, isolate: bool
) -> None:
    world.gateway.isolate_previews = isolate
    publish(world, public=True)
    answer = await client.ask(f"{SHOP}/", key=None)
    policy = answer.headers.get("content-security-policy", "").split()
    assert ("sandbox" in policy) == ("allow-scripts" in policy) == isolate
    assert "allow-same-origin" not in policy
    assert answer.headers.get("access-control-allow-origin") == ("*" if isolate else None)


# -- one origin with the sign-in pages
OUR_COOKIES = ("serai-8080-session=s3", "__Host-serai-session=s4", "SERAI-80-visit=s5")


@pytest.mark.parametrize(
    "path", [f"{SHOP}/x", "/main/sandboxes/box/port/3000/x", "/main/sandboxes/box/x"]
)
async def test_cookies_of_the_sign_in_pages_stay_here(
    world: World, client: Client, path: str
) -> None:
    publish(world, public=True)
    first, second, third = OUR_COOKIES
    cookie = f"{first}; theme=dark;{second}; serai=kept; {third}"
    await client.ask(path, headers={"Cookie": cookie})
    [received] = world.app_port.requests or world.api.requests
    assert received.headers["cookie"] == "theme=dark; serai=kept"
    await client.ask(path, headers={"Cookie": "; ".join(OUR_COOKIES)})
    assert "cookie" not in (world.app_port.requests or world.api.requests)[1].headers


async def test_a_preview_cannot_reach_beyond_its_part_of_the_origin(
    world: World, client: Client
) -> None:
    async def answer(request: Received, reader: Any, writer: asyncio.StreamWriter) -> None:
        lines = [f"set-cookie: {cookie}; Path=/" for cookie in (*OUR_COOKIES, "theme=dark")]
        lines += [
            "service-worker-allowed: /",
            "cross-origin-opener-policy: same-origin",
            'clear-site-data: "*"',
            'nel: {"report_to": "x", "max_age": 60}',
            'report-to: {"group": "x"}',
            "strict-transport-security: max-age=600",
            'alt-svc: h3=":1"',
            "content-length: 0",
        ]
        writer.write(("\r\n".join(["HTTP/1.1 200 OK", *lines]) + "\r\n\r\n").encode())

    publish(world, public=True, response_headers={"Service-Worker-Allowed": "/"})
    world.app_port.handler = answer
    received = await client.ask(f"{SHOP}/x", key=None)
    names = [name for name, _ in received.fields]
    assert not {"service-worker-allowed", "clear-site-data", "cross-origin-opener-policy"} & set(
        names
    )
    assert not {"nel", "report-to", "strict-transport-security", "alt-svc"} & set(names)
    assert [value for name, value in received.fields if name == "set-cookie"] == [
        "theme=dark; Path=/"
    ]


async def test_a_preview_may_choose_the_cookies_that_its_app_gets(
    world: World, client: Client
) -> None:
    publish(world, public=True, request_headers={"Cookie": "fixed=1"})
    await client.ask(f"{SHOP}/x", key=None, headers={"Cookie": "theme=dark"})
    sent = world.app_port.requests[0].fields
    assert [value for name, value in sent if name == "cookie"] == ["fixed=1"]
