"""Previews in a real browser: hot reload, what it keeps, and what keeps pages apart."""

import http.server
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import BrowserContext, Page, expect

from chromium import chromium
from platform_server import KEY, Server

from .conftest import create
from .test_previews import in_, preview, previews, token
from .vite_app import ViteApp

__all__ = ["chromium"]
pytestmark = pytest.mark.sandbox
MARK = "window.marked = true"
FETCH = """async ([url, options]) => {
  try { const answer = await fetch(url, options); return [answer.status, await answer.text()]; }
  catch (error) { return ["failed", String(error)]; }
}"""


@pytest.fixture(scope="module")
def vite(server: Server) -> Iterator[ViteApp]:
    """The app, in a sandbox of this module."""
    with server.client_for(KEY) as client:
        create(client, "vite-app")
        yield ViteApp(client, "vite-app")
        client.delete("/v0/sandboxes/vite-app")


@pytest.fixture
def context(chromium: Chromium) -> Iterator[BrowserContext]:
    """A browser that knows nothing yet."""
    context = chromium.new_context()
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A window in which no script may fail."""
    page, problems = context.new_page(), []
    page.on("pageerror", lambda error: problems.append(str(error)))
    yield page
    assert problems == []


def open_app(page: Page, url: str) -> None:
    """Open a page with the app in it, and wait until it listens for changes."""
    with page.expect_console_message(lambda said: "[vite] connected" in said.text):
        page.goto(url)


def reloads_hot(page: Page, app: ViteApp, frame: str | None = None) -> None:
    """The text of the page follows its file, without the page being loaded again."""
    text = (page.frame_locator(frame) if frame else page).locator("#text")
    app.say("one")
    expect(text).to_have_text("one", timeout=20_000)
    text.evaluate(MARK)
    app.say("two")
    expect(text).to_have_text("two", timeout=20_000)
    assert text.evaluate("() => window.marked") is True


def host_of(server: Server, url: str) -> str:
    return f"{url.rpartition('/')[2]}.preview.localhost:{server.port}"


def test_hot_reload_of_a_private_preview(
    vite: ViteApp, api: httpx.Client, server: Server, page: Page
) -> None:
    url = preview(api, "vite-app", "private", public=False)["spec"]["url"]
    value = token(api, "vite-app", "private")["spec"]["token"]
    told = page.goto(url)
    assert told is not None
    assert told.status == 401
    expect(page.locator("h1")).to_have_text("This preview is private")
    open_app(page, f"{url}?bl_preview_token={value}")
    host = host_of(server, url)
    assert page.url == f"http://{host}/"
    reloads_hot(page, vite)
    [kept] = [one for one in page.context.cookies() if one["name"] == "serai-preview"]
    assert (kept["domain"], kept["httpOnly"], kept["sameSite"]) == (host.split(":")[0], True, "Lax")
    assert 0 < kept["expires"] - time.time() <= 601
    assert page.evaluate("document.cookie") == ""
    # it is there the next time, until the token is gone
    page.goto(url)
    expect(page.locator("#text")).to_have_text("two", timeout=20_000)
    assert api.delete(previews("vite-app", f"/private/tokens/{value}")).status_code == 200
    refused = page.goto(f"http://{host}/")
    assert refused is not None
    assert refused.status == 401


def test_hot_reload_of_a_public_preview_below_a_prefix(
    vite: ViteApp, api: httpx.Client, server: Server, page: Page
) -> None:
    made = preview(api, "vite-app", "public", prefixUrl="my-shop")["spec"]["url"]
    open_app(page, made)
    assert page.url == f"http://my-shop--main.preview.localhost:{server.port}/"
    reloads_hot(page, vite)


@pytest.fixture
def site() -> Iterator[Callable[[str], str]]:
    """Makes a page of another site; returns its address."""
    servers = []

    def make(text: str) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("content-type", "text/html")
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None: ...

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/"

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()


def test_hot_reload_in_a_frame_of_another_site(
    vite: ViteApp, api: httpx.Client, page: Page, site: Callable[[str], str]
) -> None:
    url = preview(api, "vite-app", "framed", public=False)["spec"]["url"]
    value = token(api, "vite-app", "framed")["spec"]["token"]
    open_app(page, site(f'<!doctype html><iframe src="{url}?bl_preview_token={value}"></iframe>'))
    reloads_hot(page, vite, "iframe")


def test_previews_are_strangers_to_each_other_and_to_us(
    api: httpx.Client, box: str, server: Server, page: Page
) -> None:
    """One preview's page, with the visitor's cookie for another, gets nothing of the other."""
    app = {"command": "python3 -m http.server 3000 --directory /tmp", "waitForPorts": [3000]}
    assert api.post(f"/main/sandboxes/{box}/process", json=app).status_code == 200
    hostile = preview(api, box, "hostile")["spec"]["url"]
    session = preview(api, box, "session-1", port=443, public=False, expires=in_(600))
    value = token(api, box, "session-1")["spec"]["token"]
    url = session["spec"]["url"]
    page.goto(f"{url}/health?bl_preview_token={value}")
    other = f"http://{host_of(server, url)}"
    assert page.url == f"{other}/health"
    # of its own accord the session's page may do everything
    command = {"command": "echo done", "waitForCompletion": True}
    post = {"method": "POST", "body": str(command).replace("'", '"').replace("True", "true")}
    own = page.evaluate(FETCH, [f"{other}/process", post])
    assert own[0] == 200
    assert "done" in own[1]

    page.goto(hostile)
    assert page.evaluate("origin") == f"http://{host_of(server, hostile)}"
    page.evaluate("localStorage.setItem('mine', '1')")
    included = {"credentials": "include"}
    simple = post | included | {"mode": "no-cors"}
    before = len(api.get(f"/main/sandboxes/{box}/process").json())
    for wanted, options in (
        (f"{other}/health", included),
        (f"{other}/process", simple),
        (f"{server.url}/v0/workspaces", included),
        (f"{server.url}/account", included),
    ):
        status, text = page.evaluate(FETCH, [wanted, options])
        assert status in {"failed", 0, 401}, (wanted, status, text)
        assert "ok" not in text
    assert len(api.get(f"/main/sandboxes/{box}/process").json()) == before
    # a cookie that it sets for all previews changes nothing
    page.evaluate("document.cookie = 'serai-preview=forged; domain=preview.localhost; path=/'")
    page.goto(f"{other}/health")
    assert '"status":"ok"' in page.content()
    assert page.evaluate("localStorage.length") == 0
