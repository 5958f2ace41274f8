"""A server, the console in a real browser, and the first admin signed in."""

import re
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from chromium import chromium
from platform_server import Server
from server_fixtures import new_server

__all__ = ["chromium", "new_server"]
PASSWORD = "four random words here"
EMAIL = "admin@example.com"
SETUP = re.compile(r"http\S+/setup\?token=[\w-]+")
AXE = Path(__file__).parents[2] / ".cache/console/node_modules/axe-core/axe.min.js"


def is_built() -> bool:
    """Whether there is a console to test."""
    return resources.files("serai.console").joinpath("static/index.html").is_file()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if is_built():
        return
    for item in items:
        if "tests/console" in str(item.path):
            item.add_marker(pytest.mark.skip(reason="NOT TESTED: `make console` builds it"))


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all tests here."""
    server = Server(tmp_path_factory.mktemp("console") / "data").start()
    yield server
    server.stop()


def set_up(server: Server, page: Page) -> None:
    """Choose the first admin's password, which signs them in."""
    link = SETUP.search(server.log.read_text())
    assert link is not None
    page.goto(link[0])
    page.get_by_label("Your e-mail address").fill(EMAIL)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("The same password again").fill(PASSWORD)
    page.get_by_role("button", name="Set up").click()
    page.wait_for_url("**/account**")


@pytest.fixture(scope="package")
def state(server: Server) -> dict[str, Any]:
    """Filled by the first test that signs in."""
    return {}


@pytest.fixture
def context(server: Server, chromium: Browser, state: dict[str, Any]) -> Iterator[BrowserContext]:
    """A browser in which the first admin is signed in."""
    context = chromium.new_context(
        storage_state=state or None, viewport={"width": 1280, "height": 900}
    )
    if not state:
        page = context.new_page()
        set_up(server, page)
        page.close()
        state.update(context.storage_state())
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A window in which no script may fail, and nothing may break the policy of the page."""
    page, problems = context.new_page(), []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "console",
        lambda said: "Content Security Policy" in said.text and problems.append(said.text),
    )
    yield page
    assert problems == []


@pytest.fixture
def go(server: Server, page: Page) -> Callable[[str], Page]:
    """Opens a place of the workspace main."""

    def to(place: str = "") -> Page:
        page.goto(f"{server.url}/console/w/main/{place}")
        page.locator("main").wait_for()
        return page

    return to
