"""An app in a preview is a stranger: what it can do to somebody who is signed in here."""

import json
import uuid
from collections.abc import Callable

import pytest
from playwright.sync_api import Browser as Chromium

from chromium import chromium
from identity.conftest import World, done
from platform_server import KEY

from .browser import Browser
from .conftest import PASSWORD, Person

__all__ = ["chromium"]
pytestmark = pytest.mark.sandbox
PAGE = """<!doctype html><title>working</title><body><script>
const pause = (ms) => new Promise((go) => setTimeout(go, ms));
async function attempt(fn) { try { return await fn(); } catch (error) { return "failed"; } }
(async () => {
  const seen = { cookies: document.cookie, origin };
  const included = { credentials: "include" };
  seen.fetched = await attempt(async () => (await fetch(HOME + "/account", included)).status);
  const blind = { ...included, method: "POST", mode: "no-cors" };
  seen.posted = await attempt(async () => (await fetch(HOME + "/logout", blind)).status);
  const other = window.open(HOME + "/account");
  await pause(1000);
  seen.opened = await attempt(() => other.document.body.innerText);
  const frame = document.createElement("iframe");
  frame.src = HOME + "/account";
  const loaded = new Promise((go) => (frame.onload = go));
  document.body.append(frame);
  await loaded;
  seen.framed = await attempt(() => frame.contentDocument.body.innerText);
  document.cookie = "serai-PORT-session=forged; path=/; domain=localhost";
  const worker = () => navigator.serviceWorker.register("sw.js", { scope: HOME + "/" });
  seen.worker = await attempt(async () => String(await worker()));
  document.title = JSON.stringify(seen);
})();
</script>"""
APP = """
import http.server, pathlib
class App(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        script = self.path.endswith("sw.js")
        body = b"self.onfetch = () => {}" if script else pathlib.Path("page.html").read_bytes()
        self.send_response(200)
        self.send_header("content-type", "text/javascript" if script else "text/html")
        self.send_header("content-length", str(len(body)))
        self.send_header("set-cookie", "serai-%(port)s-session=fixed; Path=/")
        self.send_header("service-worker-allowed", "/")
        self.send_header("x-received", self.headers.get("cookie", "no cookies"))
        self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer(("", 3000), App).serve_forever()
"""


def hostile_preview(world: World) -> str:
    """The URL of a public preview of such an app."""
    api, name = world.client(KEY, "main"), f"hostile-{uuid.uuid4().hex[:8]}"
    spec = {"runtime": {"memory": 512}, "lifecycle": {}}
    done(api.post("/v0/sandboxes", json={"metadata": {"name": name}, "spec": spec}))
    inside = f"/main/sandboxes/{name}"
    page = PAGE.replace("HOME", f"'{world.server.url}'").replace("PORT", str(world.server.port))
    for file, text in (("page.html", page), ("app.py", APP % {"port": world.server.port})):
        done(api.put(f"{inside}/filesystem//tmp/{file}", json={"content": text}))
    process = {"command": "cd /tmp && python3 app.py", "waitForPorts": [3000]}
    done(api.post(f"{inside}/process", json=process))
    preview = {"metadata": {"name": "shop"}, "spec": {"port": 3000, "public": True}}
    url: str = done(api.post(f"/v0/sandboxes/{name}/previews", json=preview))["spec"]["url"]
    return f"{url}/"


def test_it_reads_nothing_and_changes_nothing(
    world: World, new_person: Callable[..., Person], chromium: Chromium
) -> None:
    url, person = hostile_preview(world), new_person()
    context = chromium.new_context(base_url=world.server.url)
    page = context.new_page()
    page.goto("/login")
    page.fill("#email", person.email)
    page.fill("#password", PASSWORD)
    page.click("main button")
    page.wait_for_url("**/account")
    before = {one["name"]: one["value"] for one in context.cookies()}

    answer = page.goto(url)
    assert answer is not None
    assert answer.headers["x-received"] == "no cookies"
    page.wait_for_function("document.title != 'working'")
    seen = json.loads(page.title())
    assert seen["origin"] == page.url.rstrip("/")
    assert page.url.endswith(f".preview.localhost:{world.server.port}/")
    assert (seen["fetched"], seen["posted"]) == ("failed", "failed")
    assert (seen["opened"], seen["framed"], seen["worker"]) == ("failed", "failed", "failed")
    assert person.email not in str(seen)
    assert not [name for name in before if name in seen["cookies"]]
    kept = context.cookies(f"{world.server.url}/account")
    assert {one["name"]: one["value"] for one in kept} == before
    page.goto("/account")
    assert person.email in page.content()
    context.close()


def test_the_apis_take_no_cookies(signed_in: Browser) -> None:
    assert signed_in.session
    assert signed_in.get("/v0/profile").status_code == 401
    assert signed_in.get("/main/sandboxes/any/health").status_code == 401
