"""The page on which the sandbox API can be tried, and the terminal, for who has only a browser."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Page, expect

from chromium import chromium
from platform_server import KEY, Server

from .test_sandboxes import create

__all__ = ["chromium"]
pytestmark = pytest.mark.sandbox
PICTURES = os.environ.get("SERAI_TEST_PICTURES")


@pytest.fixture(scope="module")
def box(server: Server) -> Iterator[str]:
    with server.client_for(KEY) as api:
        create(api, "described")
        yield "described"
        api.delete("/v0/sandboxes/described")


@pytest.fixture
def page(chromium: Chromium, server: Server) -> Iterator[Page]:
    """A window; nothing may be asked of elsewhere, and no script may fail."""
    context = chromium.new_context(viewport={"width": 1000, "height": 700})
    page, problems = context.new_page(), []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "request", lambda one: problems.append(one.url) if f":{server.port}/" not in one.url else 0
    )
    yield page
    context.close()
    assert problems == []


def picture(page: Page, name: str) -> None:
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"{name}.png")


def try_out(page: Page) -> None:
    expect(page.locator("#title")).to_contain_text("Sandbox API 0.")
    card = page.locator("#postProcess")
    card.locator("summary").click()
    body = '{"command": "echo hello; exit 3", "waitForCompletion": true}'
    card.locator("textarea").fill(body)
    card.get_by_role("button").click()
    expect(card.locator("pre")).to_contain_text('"exitCode": 3')
    picture(page, "swagger")
    read = page.locator("#getFilesystemPath")
    read.locator("summary").click()
    read.locator("input[name=path]").fill("/etc/hostname")
    read.get_by_role("button").click()
    expect(read.locator("pre")).to_contain_text('"path": "/etc/hostname"')
    read.locator("input[name=path]").fill("/nothing/there")
    read.get_by_role("button").click()
    expect(read.locator("pre")).to_contain_text("404 Not Found")


def test_with_a_key_in_the_address(server: Server, box: str, page: Page) -> None:
    where = f"{server.url}/main/sandboxes/{box}/swagger/index.html"
    told = page.goto(where)
    assert told is not None
    assert told.status == 401
    page.goto(f"{where}?token={KEY}")
    try_out(page)


def test_with_a_session(server: Server, box: str, page: Page, api: httpx.Client) -> None:
    """A session's address opens everything with its cookie: the page, calls, the terminal."""
    path = f"/v0/sandboxes/{box}/previews"
    ends = f"{datetime.now(UTC) + timedelta(minutes=5):%FT%TZ}"
    spec = {"port": 443, "public": False, "expires": ends}
    body = {"metadata": {"name": "session-1"}, "spec": spec}
    url = api.post(path, json=body).json()["spec"]["url"]
    made = api.post(f"{path}/session-1/tokens", json={"metadata": {}, "spec": {"expiresAt": ends}})
    value = made.json()["spec"]["token"]
    page.goto(f"{url}/swagger?bl_preview_token={value}")
    assert value not in page.url
    assert page.url.endswith(f".preview.localhost:{server.port}/swagger/index.html")
    try_out(page)
    page.goto(page.url.replace("/swagger/index.html", "/terminal?shell=/bin/bash"))
    page.wait_for_selector("#state.on")
    page.keyboard.type("echo from-$((40+2)); ls --color=always /\n")
    expect(page.locator("#screen")).to_contain_text("from-42")
    page.wait_for_timeout(300)
    picture(page, "terminal")
