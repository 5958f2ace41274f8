"""The terminal of a real sandbox: over the public address, and in a real browser."""

import asyncio
import json
import shutil
from collections.abc import Iterator

import aiohttp
import httpx
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from platform_server import KEY, Server

from .test_sandboxes import create, run, until

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def terminal(server: Server) -> Iterator[str]:
    """The public address of a sandbox's terminal, without scheme."""
    with server.client_for(KEY) as api:
        create(api, "shell")
        yield server.url.removeprefix("http://") + "/main/sandboxes/shell/terminal"
        api.delete("/v0/sandboxes/shell")


async def seen(socket: aiohttp.ClientWebSocketResponse, text: str) -> str:
    """All output until the text is in it."""
    output = ""
    async with asyncio.timeout(20):
        while text not in output:
            output += json.loads(await socket.receive_str())["data"]
    return output


async def test_over_the_public_address(terminal: str, api: httpx.Client) -> None:
    command = "echo $TERM; tty; stty size; hostname; id -u; echo done-$((40+2))\n"
    async with aiohttp.ClientSession() as session:
        url = f"ws://{terminal}/ws?token={KEY}&cols=100&rows=30"
        async with session.ws_connect(url) as socket:
            await socket.send_json({"type": "input", "data": command})
            output = await seen(socket, "done-42")
            for expected in ("xterm-256color", "/dev/pts/", "30 100", "shell", "0\r\n"):
                assert expected in output
            await socket.send_json({"type": "input", "data": "MINE=kept; sleep 1000 &\n"})
        async with session.ws_connect(url) as socket:
            await socket.send_json({"type": "input", "data": "echo still-$MINE; tty\n"})
            await seen(socket, "still-kept")
            await socket.send_json({"type": "input", "data": "exit\n"})
            async with asyncio.timeout(20):
                while (await socket.receive()).type == aiohttp.WSMsgType.TEXT:
                    pass
    # what the shell left behind ends with it
    until(lambda: run(api, "shell", "pgrep -x sleep || echo none")["stdout"] == "none\n")


async def test_only_with_a_credential(terminal: str) -> None:
    async with aiohttp.ClientSession() as session:
        for query in ("", "?token=wrong"):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await session.ws_connect(f"ws://{terminal}/ws{query}")
            assert refused.value.status == 401
            async with session.get(f"http://{terminal}{query}") as answer:
                assert answer.status == 401


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if found is None:
        pytest.skip("NOT TESTED: there is no Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, terminal: str) -> Iterator[Page]:
    """The terminal's page; any request to elsewhere and any script error fails the test."""
    page = browser.new_page(viewport={"width": 900, "height": 500})
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
    host = terminal.partition("/")[0]
    page.on("request", lambda r: problems.append(r.url) if host not in r.url else None)
    page.goto(f"http://{terminal}?token={KEY}&sessionId=web&shell=/bin/bash")
    page.wait_for_selector("#state.on")
    yield page
    page.keyboard.press("Control+c")
    page.keyboard.type("exit\n")
    page.close()
    assert [each for each in problems if "favicon" not in each] == []


def shows(page: Page, text: str) -> None:
    """Wait until the screen holds the text."""
    page.wait_for_function(
        "text => [...document.querySelectorAll('#screen > div')].map(d => d.textContent)"
        ".join('\\n').includes(text)",
        arg=text,
        timeout=15_000,
    )


def test_typing_in_a_browser(page: Page) -> None:
    page.keyboard.type("echo hello-$((40+2)) 'grüße €'\n")
    shows(page, "hello-42 grüße €")
    page.keyboard.type("printf 'abc\\033[2D\\033[1;31mX\\033[0m\\n'\n")
    shows(page, "aXc")
    red = page.evaluate(
        "[...document.querySelectorAll('#screen span')].filter(s => s.textContent === 'X')"
        ".map(s => s.className + s.style.color)"
    )
    assert any("b" in each and "rgb(247" in each for each in red)
    page.keyboard.type("<script>alert(1)</script>\n")
    shows(page, "<script>alert(1)</script>")


def test_a_full_screen_program_in_a_browser(page: Page) -> None:
    page.keyboard.type("echo before; printf '\\033[?1049h\\033[2J\\033[5;10Hmiddle'; read x\n")
    shows(page, "         middle")
    text = page.inner_text("#screen")
    assert "before" not in text
    page.keyboard.type("\n")
    page.keyboard.type("printf '\\033[?1049l'; echo after-$((1+1))\n")
    shows(page, "after-2")
    shows(page, "before")


def test_resizing_the_window_resizes_the_terminal(page: Page) -> None:
    page.keyboard.type("stty size; echo size-$((1+1))\n")
    shows(page, "size-2")
    page.set_viewport_size({"width": 500, "height": 300})
    page.wait_for_function("() => screen.cols < 80 && screen.rows < 25")
    page.wait_for_timeout(200)
    rows, cols = page.evaluate("[screen.rows, screen.cols]")
    page.keyboard.type("clear; stty size\n")
    shows(page, f"{rows} {cols}")


def test_a_flood_leaves_the_page_alive(page: Page) -> None:
    page.keyboard.type("yes flood\n")
    shows(page, "flood\nflood")
    page.keyboard.press("Control+c")
    page.keyboard.type("echo calm-$((1+1))\n")
    shows(page, "calm-2")
    assert page.evaluate("document.querySelectorAll('#screen > div').length") < 700
