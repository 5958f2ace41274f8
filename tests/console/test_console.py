"""The console in a real browser: what people do there, and what it does not let others do."""

from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import BrowserContext, Page, expect

from platform_server import Server

from .conftest import AXE
from .provider import provider

Go = Callable[..., Page]
EVIL = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
PLACES = [
    "",
    "sandboxes",
    "agents",
    "functions",
    "models",
    "jobs",
    "applications",
    "images",
    "volumes",
    "drives",
    "domains",
    "integrations",
    "policies",
    "requests",
    "billing",
    "audit",
    "keys",
    "people",
    "settings",
]


def confirm(page: Page, name: str, label: str) -> None:
    """Answer the question before something is lost."""
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox").fill(name)
    dialog.get_by_role("button", name=label).click()
    expect(dialog).to_be_hidden()


def test_who_is_not_signed_in_signs_in_first(server: Server, context: BrowserContext) -> None:
    browser = context.browser
    assert browser is not None
    stranger = browser.new_context()
    page = stranger.new_page()
    page.goto(f"{server.url}/console/w/main/keys")
    assert "/login?next=" in page.url
    stranger.close()


def test_an_api_key_is_made_shown_once_used_and_revoked(server: Server, go: Go) -> None:
    page = go("keys")
    page.get_by_role("button", name="New API key").click()
    page.get_by_label("Name").fill("ci")
    page.get_by_role("button", name="Create").click()
    key = page.get_by_role("dialog").locator("pre").first.inner_text()
    page.get_by_role("button", name="I have copied it").click()
    with server.client_for(key) as client:
        assert client.get("/v0/sandboxes").status_code == 200
        row = page.get_by_role("row").filter(has_text="ci")
        expect(row).to_contain_text(key[:6])
        assert key not in page.content()
        row.get_by_role("button", name="Revoke").click()
        confirm(page, "ci", "Revoke")
        expect(row).to_have_count(0)
        assert client.get("/v0/sandboxes").status_code == 401


@pytest.mark.sandbox
def test_a_sandbox_is_made_and_typed_into(server: Server, go: Go) -> None:
    page = go("sandboxes")
    page.get_by_role("button", name="New sandbox").first.click()
    page.get_by_label("Name").fill("typed")
    page.get_by_role("button", name="Create", exact=True).click()
    page.wait_for_url("**/sandboxes/typed**", timeout=60_000)
    screen = page.get_by_label("Terminal", exact=True).locator(".xterm-rows")
    expect(page.locator("main")).to_contain_text("running", timeout=60_000)
    page.keyboard.type("echo $((6*7))-words\n")
    expect(screen).to_contain_text("42-words", timeout=30_000)

    page.get_by_role("tab", name="Processes").click()
    page.get_by_label("Run a command").fill("echo out; echo err >&2")
    page.get_by_role("button", name="Run").click()
    output = page.locator("main pre")
    expect(output).to_contain_text("out", timeout=30_000)
    expect(output).to_contain_text("err")

    done = server.client.put("/main/sandboxes/typed/filesystem//tmp/note", json={"content": EVIL})
    assert done.status_code == 200
    page.get_by_role("tab", name="Files").click()
    page.get_by_role("button", name="tmp").click()
    page.get_by_role("button", name="note").click()
    editor = page.get_by_label("Content of /tmp/note")
    expect(editor).to_have_value(EVIL)
    editor.fill("changed in the browser")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("button", name="Save")).to_be_disabled()
    read = server.client.get("/main/sandboxes/typed/filesystem//tmp/note")
    assert read.json()["content"] == "changed in the browser"

    page.get_by_role("button", name="Delete", exact=True).first.click()
    confirm(page, "typed", "Delete")
    page.wait_for_url("**/sandboxes")
    assert page.evaluate("window.hacked") is None


def test_a_model_is_made_and_chatted_with(go: Go) -> None:
    with provider(["Hello", " from ", EVIL]) as base:
        page = go("models")
        page.get_by_role("button", name="New model").first.click()
        page.get_by_label("Name", exact=True).fill("talker")
        page.get_by_label("Model of the provider").fill("small")
        page.get_by_label("API key of the provider").fill("secret-key-1")
        page.get_by_label("Base URL").fill(base)
        page.get_by_role("button", name="Create", exact=True).click()
        page.wait_for_url("**/models/talker**")
        page.get_by_label("Message").fill("Hi")
        page.keyboard.press("Enter")
        conversation = page.get_by_role("log", name="Conversation")
        expect(conversation).to_contain_text(f"Hello from {EVIL}", timeout=30_000)
        assert page.evaluate("window.hacked") is None


def test_what_changes_elsewhere_is_seen_without_asking(server: Server, go: Go) -> None:
    page = go("volumes")
    expect(page.get_by_text("No volumes yet")).to_be_visible()
    body = {"metadata": {"name": "seen"}, "spec": {"size": 64}}
    assert server.client.post("/v0/volumes", json=body).status_code == 200
    expect(page.get_by_role("button", name="seen", exact=True)).to_be_visible(timeout=15_000)
    server.client.delete("/v0/volumes/seen")
    expect(page.get_by_text("No volumes yet")).to_be_visible(timeout=15_000)


def test_two_who_change_one_resource_see_both(server: Server, go: Go) -> None:
    page = go("policies")
    policy = {"type": "maxToken", "maxTokens": {"granularity": "hour", "total": 5}}
    both = {"metadata": {"name": "both"}, "spec": policy}
    assert server.client.post("/v0/policies", json=both).status_code == 200
    page.get_by_role("button", name="both", exact=True).click()
    editor = page.get_by_label("Settings as JSON")
    text = editor.input_value()
    editor.fill(text.replace('"total": 5', '"total": 7'))
    policy["maxTokens"] = {"granularity": "day", "total": 5}
    assert server.client.put("/v0/policies/both", json=both).status_code == 200
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text("Somebody else changed this")
    expect(page.get_by_label("Difference")).to_contain_text('"granularity": "day"')
    page.get_by_role("button", name="Keep mine").click()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("button", name="Save")).to_be_disabled()
    stored = server.client.get("/v0/policies/both").json()["spec"]["maxTokens"]
    assert (stored["granularity"], stored["total"]) == ("hour", 7)


def test_a_lost_connection_is_said_and_comes_back(
    new_server: Callable[..., Server], context: BrowserContext
) -> None:
    from .conftest import set_up

    server = new_server().start()
    page = context.new_page()
    set_up(server, page)
    page.goto(f"{server.url}/console")
    expect(page.get_by_role("heading", name="Workspace main")).to_be_visible()
    lost = page.get_by_text("The connection to the server is lost")
    server.stop()
    expect(lost).to_be_visible(timeout=30_000)
    server.start()
    expect(lost).to_be_hidden(timeout=60_000)


def test_signing_out_ends_what_the_console_may_do(
    new_server: Callable[..., Server], context: BrowserContext
) -> None:
    from .conftest import set_up

    server = new_server().start()
    page = context.new_page()
    set_up(server, page)
    used: list[str] = []
    page.on("request", lambda sent: used.append(sent.headers.get("authorization", "")))
    page.goto(f"{server.url}/console")
    expect(page.get_by_role("heading", name="Workspace main")).to_be_visible()
    token = next(each for each in used if each)
    asked = {"Authorization": token}
    assert httpx.get(f"{server.url}/v0/profile", headers=asked).status_code == 200
    page.get_by_role("button", name="Account of").click()
    page.get_by_role("menuitem", name="Sign out").click()
    page.wait_for_url("**/login**")
    assert httpx.get(f"{server.url}/v0/profile", headers=asked).status_code == 401


def test_scripts_and_frames_cannot_read_the_page(server: Server, go: Go) -> None:
    page = go()
    status = page.evaluate("fetch('/console').then((answer) => answer.status)")
    assert status == 403
    answer = httpx.get(f"{server.url}/console", follow_redirects=False)
    assert answer.status_code == 303
    policy = page.request.get(f"{server.url}/console").headers["content-security-policy"]
    scripts = next(each for each in policy.split("; ") if each.startswith("script-src"))
    assert scripts == "script-src 'self'"
    assert "frame-ancestors 'none'" in policy


def test_the_first_load_is_small(server: Server, context: BrowserContext) -> None:
    page, sizes = context.new_page(), []
    page.on("response", lambda answer: sizes.append(answer.headers.get("content-length", "0")))
    page.goto(f"{server.url}/console")
    expect(page.get_by_role("heading", name="Workspace main")).to_be_visible()
    page.wait_for_load_state("load")
    assert len(sizes) > 5
    assert sum(map(int, sizes)) < 250_000


@pytest.mark.parametrize("place", PLACES)
def test_every_page_is_whole_and_accessible(go: Go, place: str) -> None:
    page = go(place)
    expect(page.locator("main h1")).to_be_visible()
    expect(page.locator("main [role=status][aria-label=Loading]")).to_have_count(0, timeout=30_000)
    assert page.get_by_role("alert").all_inner_texts() == []
    if not AXE.exists():
        pytest.skip("NOT TESTED: accessibility, `make console` brings axe-core")
    page.evaluate(AXE.read_text())
    for theme in ("light", "dark"):
        page.evaluate(f"document.documentElement.className = '{theme}'")
        found = page.evaluate("axe.run().then((result) => result.violations)")
        told = [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found]
        assert told == [], theme
