"""The main paths in a real browser, without scripts: setup, sign-in, device, consent, account."""

import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import BrowserContext, Page, expect

from chromium import chromium
from identity.conftest import World
from platform_server import Server

from .test_access import ask_device, authorize, poll
from .test_setup import setup_link

__all__ = ["chromium"]
EMAIL, PASSWORD = "ada@example.com", "four random words here"
PICTURES = os.environ.get("SERAI_TEST_PICTURES")
"""A folder for pictures of the pages, light and dark, wide and narrow."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    server = Server(tmp_path_factory.mktemp("browser") / "data").start()
    world = World(server)
    yield world
    world.close()
    server.stop()


@pytest.fixture(scope="module")
def context(chromium: Chromium, world: World) -> Iterator[BrowserContext]:
    """One browser window without scripts."""
    context = chromium.new_context(
        base_url=world.server.url,
        java_script_enabled=False,
        viewport={"width": 1000, "height": 800},
    )
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A tab; whatever the browser's policies refuse is a failure."""
    page, complaints = context.new_page(), []
    page.on("console", lambda message: complaints.append(message.text))
    yield page
    page.close()
    refused = [text for text in complaints if "Content Security Policy" in text]
    assert not refused


@pytest.fixture
def callback() -> Iterator[tuple[str, list[str]]]:
    """An application's listener on this machine: its redirect URI, and the paths it was asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            if "code=" in self.path:  # as applications do, send the browser on
                self.send_response(302)
                self.send_header("Location", "/signed-in")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{listener.server_port}/callback", asked
    listener.shutdown()
    listener.server_close()


def look(page: Page, name: str) -> None:
    """The page fits into its window in every form; takes pictures where they are wanted."""
    for width in (1000, 320):
        page.set_viewport_size({"width": width, "height": 800})
        box = page.locator("main").bounding_box()
        assert box is not None
        assert box["width"] <= width
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            if PICTURES:
                path = Path(PICTURES) / f"{name}-{scheme}-{width}.png"
                page.screenshot(path=path, full_page=True)
    page.set_viewport_size({"width": 1000, "height": 800})
    page.emulate_media(color_scheme="light")


def heading(page: Page, text: str) -> None:
    """The page's title for people."""
    expect(page.get_by_role("heading", level=1)).to_have_text(text)


def test_1_set_up_with_the_keyboard(page: Page, world: World) -> None:
    page.goto(setup_link(world.server))
    heading(page, "Set up Serai")
    look(page, "setup")
    for _ in range(2):  # past the link to the content
        page.keyboard.press("Tab")
    for text in (EMAIL, PASSWORD, PASSWORD):
        page.keyboard.type(text)
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    heading(page, "My account")
    expect(page.get_by_role("status")).to_contain_text("Welcome")
    page.get_by_role("button", name="Sign out").click()
    heading(page, "Sign in")


def test_2_sign_in(page: Page) -> None:
    page.goto("/account")
    heading(page, "Sign in")
    look(page, "login")
    page.get_by_label("E-mail address").fill(EMAIL)
    page.get_by_label("Password", exact=True).fill("wrong password")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("do not belong together")
    look(page, "login-wrong")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    heading(page, "My account")


def test_3_let_a_device_in(page: Page, world: World) -> None:
    device = ask_device(world, "blaxel-cli/1.0 (linux/amd64)")
    page.goto("/device")
    look(page, "device")
    page.get_by_label("The code that the device shows").fill(device["user_code"].lower())
    page.get_by_role("button", name="Continue").click()
    heading(page, "Let this device in?")
    look(page, "device-confirm")
    page.get_by_role("button", name="Let it in").click()
    heading(page, "The device is connected")
    look(page, "device-done")
    assert "access_token" in poll(world, device).json()


def test_4_let_an_application_in(page: Page, callback: tuple[str, list[str]]) -> None:
    place, asked = callback
    page.goto(authorize(redirect_uri=place, scope="openid email sandboxes:list sandboxes:create"))
    heading(page, "Let Blaxel command line and SDKs in?")
    look(page, "consent")
    page.get_by_role("button", name="Let it in").click()
    page.wait_for_url("**/signed-in")
    first, second = asked[:2]
    query = parse_qs(urlsplit(first).query)
    assert query["state"] == ["st&te"]
    assert query["code"]
    assert second == "/signed-in", "the policy of our form does not hold redirects back"


def test_5_the_account_page(page: Page) -> None:
    page.goto("/account")
    look(page, "account")
    expect(page.get_by_role("region", name="Where I am signed in")).to_contain_text("Chrome")
    region = page.get_by_role("region", name="Applications and devices")
    expect(region.get_by_role("listitem")).to_have_count(1)
    page.get_by_role("link", name="Turn it on").click()
    heading(page, "Turn on the second factor")
    picture = page.get_by_role("img")
    size = picture.bounding_box()
    assert size is not None
    assert size["width"] > 150
    look(page, "second-factor")
    page.goto("/account")
    page.get_by_role("button", name="Remove").first.click()
    expect(page.get_by_role("status")).to_contain_text("no access any more")


def test_6_no_other_site_frames_the_pages(
    chromium: Chromium, world: World, callback: tuple[str, list[str]]
) -> None:
    context = chromium.new_context()
    page = context.new_page()
    page.goto(callback[0].replace("/callback", "/x"))
    page.set_content(f'<iframe src="{world.server.url}/login"></iframe>')
    page.wait_for_timeout(300)
    frame = page.frames[1]
    assert "Sign in" not in frame.content()
    context.close()


CONTRAST = """() => {
  const rgb = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(c => c / 255).map(
    c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4
  ).reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const back = node => {
    for (; node; node = node.parentElement) {
      const colour = rgb(getComputedStyle(node).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const bad = [];
  for (const node of document.querySelectorAll('body *')) {
    const own = [...node.childNodes].some(c => c.nodeType === 3 && c.textContent.trim());
    if (!own || !node.offsetParent) continue;
    const [text, behind] = [light(rgb(getComputedStyle(node).color)), light(back(node))];
    const ratio = (Math.max(text, behind) + 0.05) / (Math.min(text, behind) + 0.05);
    if (ratio < 4.5) bad.push(`${node.tagName} ${node.textContent.trim().slice(0, 40)}: ${ratio}`);
  }
  for (const field of document.querySelectorAll('input:not([type=hidden])')) {
    if (!field.labels.length) bad.push(`no label: ${field.name}`);
  }
  const ids = [...document.querySelectorAll('[id]')].map(node => node.id);
  bad.push(...ids.filter((id, i) => ids.indexOf(id) !== i).map(id => `twice: ${id}`));
  return bad;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_7_everything_can_be_read(chromium: Chromium, world: World, scheme: str) -> None:
    form = {"color_scheme": scheme, "bypass_csp": True}
    context = chromium.new_context(base_url=world.server.url, **form)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto("/login?next=/account")
    assert page.evaluate(CONTRAST) == []
    page.get_by_label("E-mail address").fill(EMAIL)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    code = ask_device(world)["user_code"]
    for path in (
        "/account?done=name",
        "/account/second-factor",
        f"/device?user_code={code}",
        "/device?user_code=wrong",
        authorize(),
        "/login/reset?token=x",
        "/login/forgot",
    ):
        page.goto(path)
        assert page.evaluate(CONTRAST) == [], path
    context.close()
