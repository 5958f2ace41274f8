"""Previews and their tokens: rules, addresses, and what stands behind them."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_server import KEY, Server
from serai.compute.preview_kind import prepare_preview
from serai.kernel.errors import BadRequest

from .conftest import create

pytestmark = pytest.mark.sandbox
SERVER = "python3 -m http.server 3000 --directory /tmp"


def previews(box: str, rest: str = "") -> str:
    return f"/v0/sandboxes/{box}/previews{rest}"


def preview(api: httpx.Client, box: str, name: str = "web", **spec: Any) -> dict[str, Any]:
    body = {"metadata": {"name": name}, "spec": {"port": 3000, "public": True} | spec}
    response = api.post(previews(box), json=body)
    assert response.status_code == 200, response.text
    made: dict[str, Any] = response.json()
    return made


def in_(seconds: float) -> str:
    return f"{datetime.now(UTC) + timedelta(seconds=seconds):%FT%T.%fZ}"


def token(api: httpx.Client, box: str, name: str = "web", **spec: Any) -> dict[str, Any]:
    body = {"metadata": {"name": ""}, "spec": {"expiresAt": in_(600)} | spec}
    response = api.post(previews(box, f"/{name}/tokens"), json=body)
    assert response.status_code == 200, response.text
    made: dict[str, Any] = response.json()
    return made


def serve(api: httpx.Client, box: str) -> None:
    body = {"command": SERVER, "waitForPorts": [3000]}
    assert api.post(f"/main/sandboxes/{box}/process", json=body).status_code == 200


def test_a_server_inside_is_seen_by_everybody(
    api: httpx.Client, browser: httpx.Client, server: Server, box: str
) -> None:
    serve(api, box)
    made = preview(api, box)
    assert made["metadata"]["resourceName"] == box
    assert made["metadata"]["resourceType"] == "sandbox"
    assert made["spec"]["url"].startswith(f"{server.url}/preview/")
    assert "?" not in made["spec"]["url"]
    assert "externalId" not in made["metadata"]
    for path in ("", "/", "?x=1"):
        assert browser.get(made["spec"]["url"] + path).status_code == 200


def test_a_private_one_needs_a_token(api: httpx.Client, browser: httpx.Client, box: str) -> None:
    serve(api, box)
    url = preview(api, box, public=False)["spec"]["url"]
    made = token(api, box)
    value = made["spec"]["token"]
    assert made["spec"]["expired"] is False
    assert made["metadata"]["resourceName"] == box
    assert browser.get(url).status_code == 401
    assert browser.get(url, params={"bl_preview_token": value}).status_code == 200
    assert browser.get(url, headers={"X-Blaxel-Preview-Token": value}).status_code == 200
    listed = api.get(previews(box, "/web/tokens")).json()
    assert [one["spec"]["token"] for one in listed] == [value]
    assert listed[0]["spec"]["expiresAt"] == made["spec"]["expiresAt"]
    gone = api.delete(previews(box, f"/web/tokens/{value}"))
    assert (gone.status_code, list(gone.json())) == (200, ["message"])
    assert browser.get(url, params={"bl_preview_token": value}).status_code == 401
    assert api.delete(previews(box, f"/web/tokens/{value}")).json()["code"] == 404


def test_an_expired_token_is_listed_and_refused(
    api: httpx.Client, browser: httpx.Client, box: str
) -> None:
    url = preview(api, box, public=False)["spec"]["url"]
    value = token(api, box, expiresAt=in_(-1))["spec"]["token"]
    assert browser.get(url, params={"bl_preview_token": value}).status_code == 401
    assert api.get(previews(box, "/web/tokens")).json()[0]["spec"]["expired"] is True


def test_token_names(api: httpx.Client, box: str) -> None:
    preview(api, box, public=False)
    path = previews(box, "/web/tokens")
    body = {"metadata": {"name": "token-1"}, "spec": {"expiresAt": in_(60)}}
    with ThreadPoolExecutor(15) as pool:
        made = list(pool.map(lambda _: api.post(path, json=body), range(15)))
    assert {response.status_code for response in made} == {200}
    names = {response.json()["metadata"]["name"] for response in made}
    assert len(names) == 15
    assert "token-1" in names
    assert api.delete(f"{path}/token-1").status_code == 200
    assert len(api.get(path).json()) == 14
    for wrong in ({"expiresAt": "soon"}, {"expiresAt": 7}):
        refused = api.post(path, json={"metadata": {}, "spec": wrong})
        assert refused.status_code == 400
        assert "expiresAt" in refused.json()["message"]


def test_tokens_rest_encrypted(api: httpx.Client, server: Server, box: str) -> None:
    preview(api, box, public=False)
    value = token(api, box)["spec"]["token"].encode()
    stored = b"".join(path.read_bytes() for path in server.data_dir.glob("serai.db*"))
    assert value not in stored


def test_a_session_is_a_preview_of_port_443(
    api: httpx.Client, browser: httpx.Client, box: str
) -> None:
    url = preview(api, box, "session-1", port=443, public=False, expires=in_(60))["spec"]["url"]
    headers = {"X-Blaxel-Preview-Token": token(api, box, "session-1")["spec"]["token"]}
    body = {"command": "echo from session", "waitForCompletion": True}
    done = browser.post(f"{url}/process", json=body, headers=headers).json()
    assert done["stdout"] == "from session\n"
    browser.put(f"{url}/filesystem//tmp/f", json={"content": "x"}, headers=headers)
    assert browser.get(f"{url}/filesystem//tmp/f", headers=headers).json()["content"] == "x"
    assert browser.get(f"{url}/filesystem//tmp/f").status_code == 401


def test_the_sandbox_api_is_never_public(api: httpx.Client, box: str) -> None:
    for port in (443, 8080):
        body = {"metadata": {"name": "open"}, "spec": {"port": port, "public": True}}
        refused = api.post(previews(box), json=body)
        assert refused.status_code == 400
        assert "spec.public" in refused.json()["message"]


def test_the_address_is_the_same_when_made_again(api: httpx.Client, name: str) -> None:
    create(api, name)
    first = preview(api, name)["spec"]["url"]
    named = preview(api, name, "named", prefixUrl="my-shop")["spec"]["url"]
    assert named.endswith("/preview/my-shop--main")
    assert api.delete(previews(name, "/web")).status_code == 200
    assert preview(api, name)["spec"]["url"] == first
    api.delete(f"/v0/sandboxes/{name}")
    create(api, name)
    assert api.get(previews(name)).json() == []
    assert preview(api, name)["spec"]["url"] == first


def test_previews_end_with_their_sandbox(
    api: httpx.Client, browser: httpx.Client, name: str
) -> None:
    create(api, name)
    url = preview(api, name)["spec"]["url"]
    assert browser.get(url).status_code == 502
    api.delete(f"/v0/sandboxes/{name}")
    assert browser.get(url).status_code == 404
    late = api.post(previews(name), json={"metadata": {"name": "late"}, "spec": {"port": 1}})
    assert (late.status_code, late.json()["error"]) == (409, "SANDBOX_TERMINATED")


def test_a_prefix_belongs_to_one_preview(
    api: httpx.Client, browser: httpx.Client, box: str
) -> None:
    preview(api, box, "first", prefixUrl="mine")
    body = {"metadata": {"name": "second"}, "spec": {"port": 3000, "prefixUrl": "mine"}}
    taken = api.post(previews(box), json=body)
    assert (taken.status_code, taken.json()["error"]) == (409, "PREVIEW_PREFIX_TAKEN")
    forced = api.post(previews(box), json=body, params={"force": "true"})
    assert forced.status_code == 200
    assert api.get(previews(box, "/first")).status_code == 404
    assert browser.get(forced.json()["spec"]["url"]).status_code == 401


def test_replacing_changes_what_is_served(
    api: httpx.Client, browser: httpx.Client, box: str
) -> None:
    serve(api, box)
    made = preview(api, box)
    url = made["spec"]["url"]
    made["spec"] |= {"public": False, "responseHeaders": {"X-Mine": "1"}, "url": "http://x/y"}
    replaced = api.put(previews(box, "/web"), json=made).json()
    assert replaced["spec"]["url"] == url
    answer = browser.get(url)
    assert (answer.status_code, answer.headers["x-mine"]) == (401, "1")
    made["spec"] |= {"public": True, "prefixUrl": "moved"}
    moved = api.put(previews(box, "/web"), json=made).json()["spec"]["url"]
    assert (browser.get(url).status_code, browser.get(moved).status_code) == (404, 200)


def test_credentials_in_request_headers_are_masked(api: httpx.Client, box: str) -> None:
    headers = {"Authorization": "Bearer inner-secret", "X-Env": "staging"}
    made = preview(api, box, requestHeaders=headers)
    assert made["spec"]["requestHeaders"] == {"Authorization": "********", "X-Env": "staging"}
    again = api.put(previews(box, "/web"), json=made)
    assert again.status_code == 200
    shown = api.get(previews(box, "/web"), params={"show_secrets": "true"}).json()
    assert shown["spec"]["requestHeaders"] == headers


def test_expiry(api: httpx.Client, browser: httpx.Client, box: str) -> None:
    one = preview(api, box, "by-date", expires=in_(1))["spec"]["url"]
    two = preview(api, box, "by-ttl", ttl="1s")["spec"]["url"]
    time.sleep(1.1)
    assert (browser.get(one).status_code, browser.get(two).status_code) == (404, 404)
    assert api.get(previews(box)).json() == []
    preview(api, box, "by-date")


def test_previews_survive_a_crash(new_server: Callable[[], Server], browser: httpx.Client) -> None:
    server = new_server().start()
    create(server.client, "box")
    url = preview(server.client, "box", port=443, public=False)["spec"]["url"]
    value = token(server.client, "box")["spec"]["token"]
    server.kill()
    server.start()
    answer = browser.get(f"{url}/health", params={"bl_preview_token": value})
    assert answer.json()["status"] == "ok"
    assert browser.get(f"{url}/health").status_code == 401


def test_a_hundred_at_once(api: httpx.Client, browser: httpx.Client, box: str) -> None:
    serve(api, box)

    def life(number: int) -> list[int]:
        name = f"race-{number}"
        url = preview(api, box, name)["spec"]["url"]
        seen = [browser.get(url).status_code, api.delete(previews(box, f"/{name}")).status_code]
        seen += [browser.get(url).status_code]
        preview(api, box, name)
        return [*seen, browser.get(url).status_code]

    with ThreadPoolExecutor(10) as pool:
        assert set(map(tuple, pool.map(life, range(100)))) == {(200, 200, 404, 200)}
    assert len(api.get(previews(box)).json()) == 100


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({}, "spec.port"),
        ({"port": 80}, "spec.port"),
        ({"port": 0}, "spec.port"),
        ({"port": 65536}, "spec.port"),
        ({"port": "3000"}, "spec.port"),
        ({"port": 1, "prefixUrl": "a--b"}, "spec.prefixUrl"),
        ({"port": 1, "prefixUrl": "../v0"}, "spec.prefixUrl"),
        ({"port": 1, "expires": "tomorrow"}, "spec.expires"),
        ({"port": 1, "ttl": "forever"}, "spec.ttl"),
        ({"port": 1, "responseHeaders": {"a b": "c"}}, "spec.responseHeaders"),
        ({"port": 1, "responseHeaders": {"A": "c\r\nSet-Cookie: x"}}, "spec.responseHeaders.A"),
        ({"port": 1, "responseHeaders": {"A": "€"}}, "spec.responseHeaders.A"),
        ({"port": 1, "requestHeaders": {"Connection": "x"}}, "spec.requestHeaders.Connection"),
        ({"port": 1, "requestHeaders": {"X-A": "1", "x-a": "2"}}, "spec.requestHeaders"),
        ({"port": 1, "requestHeaders": {"X-Blaxel-Y": "1"}}, "spec.requestHeaders.X-Blaxel-Y"),
    ],
)
def test_rules_name_the_field(
    api: httpx.Client, box: str, spec: dict[str, Any], field: str
) -> None:
    refused = api.post(previews(box), json={"metadata": {"name": "web"}, "spec": spec})
    assert refused.status_code == 400, refused.text
    assert field in refused.json()["message"]


def test_what_is_not_there(api: httpx.Client, box: str) -> None:
    for path in ("/nothing", "/nothing/tokens"):
        assert api.get(previews(box, path)).json()["code"] == 404
    assert api.get(previews("no-such-box")).json()["code"] == 404
    assert api.delete(previews(box, "/nothing")).json()["error"] == "PREVIEW_NOT_FOUND"
    preview(api, box)
    taken = api.post(previews(box), json={"metadata": {"name": "web"}, "spec": {"port": 1}})
    assert taken.status_code == 409


def test_lists_are_arrays_in_every_version(server: Server, box: str) -> None:
    for version in ("2026-04-16", "2026-09-22"):
        with server.client_for(KEY, **{"Blaxel-Version": version}) as client:
            assert client.get(previews(box)).json() == []


text = st.text(max_size=40)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(text, text, max_size=4), st.integers(), text, text)
def test_any_spec_is_kept_or_refused(
    headers: dict[str, str], port: int, prefix: str, ttl: str
) -> None:
    spec = {"port": port, "prefixUrl": prefix, "ttl": ttl, "responseHeaders": dict(headers)}
    try:
        prepare_preview({"metadata": {"name": "x"}, "spec": spec})
    except BadRequest:
        return
    for name, value in (spec.get("responseHeaders") or {}).items():
        name.encode("ascii")
        assert not {"\r", "\n", "\0"} & set(name + value)
        value.encode("latin-1")
