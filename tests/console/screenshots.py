"""Pictures of every page of the console: ``python -m console.screenshots``.

Run it with ``PYTHONPATH=tests``; look at the pictures before they are committed.
"""

import tempfile
from pathlib import Path

from playwright.sync_api import Page

from chromium import open_chromium
from console.conftest import set_up
from console.provider import provider
from platform_server import Server

FOLDER = Path(__file__).parents[2] / "docs/images/console"
PLACES = {
    "overview": "",
    "sandboxes": "sandboxes",
    "sandbox": "sandboxes/research?tab=terminal",
    "files": "sandboxes/research?tab=files",
    "processes": "sandboxes/research?tab=processes",
    "agents": "agents",
    "agent": "agents/greeter?tab=revisions",
    "mcp-servers": "functions",
    "models": "models",
    "playground": "models/small?tab=playground",
    "jobs": "jobs",
    "job": "jobs/nightly?tab=executions",
    "applications": "applications",
    "images": "images",
    "volumes": "volumes",
    "drives": "drives",
    "domains": "domains",
    "integrations": "integrations",
    "policies": "policies",
    "requests": "requests",
    "billing": "billing",
    "audit": "audit",
    "keys": "keys",
    "people": "people",
    "settings": "settings",
}
BASE = "blaxel/base-image:latest"


def furnish(server: Server, base: str) -> None:
    """Something to see."""
    api = server.client
    for name in ("research", "scraper", "notebook"):
        body = {"metadata": {"name": name}, "spec": {"runtime": {"image": BASE, "memory": 1024}}}
        assert api.post("/v0/sandboxes", json=body).status_code == 200
    api.post("/main/sandboxes/research/process", json={"command": "seq 1 20", "name": "count"})
    connection = {"integration": "openai", "secret": {"apiKey": "k"}, "config": {"baseUrl": base}}
    body = {"metadata": {"name": "local"}, "spec": connection}
    assert api.post("/v0/integrations/connections", json=body).status_code == 200
    model = {"runtime": {"type": "openai", "model": "small"}, "integrationConnections": ["local"]}
    assert api.post("/v0/models", json={"metadata": {"name": "small"}, "spec": model}).is_success
    job = {"runtime": {"image": BASE, "memory": 128, "command": ["true"]}}
    assert api.post("/v0/jobs", json={"metadata": {"name": "nightly"}, "spec": job}).is_success
    api.post("/v0/jobs/nightly/executions", json={"tasks": [{"n": n} for n in range(12)]})
    agent = {"runtime": {"memory": 512, "envs": [{"name": "TONE", "value": "kind"}]}}
    assert api.post("/v0/agents", json={"metadata": {"name": "greeter"}, "spec": agent}).is_success
    volume = {"metadata": {"name": "corpus"}, "spec": {"size": 512}}
    assert api.post("/v0/volumes", json=volume).is_success
    policy = {"type": "maxToken", "maxTokens": {"granularity": "hour", "total": 100_000}}
    body = {"metadata": {"name": "hourly-tokens"}, "spec": policy}
    assert api.post("/v0/policies", json=body).is_success


def act(page: Page, name: str) -> None:
    """What is done on a page before its picture is taken."""
    if name == "sandbox":
        page.locator(".xterm-rows").get_by_text("#").first.wait_for(timeout=60_000)
        page.locator(".xterm").click()
        page.keyboard.type("uname -sr && python3 -c 'print(6 * 7)' && ls /\n")
        page.wait_for_timeout(2500)
    if name == "playground":
        page.get_by_label("Message").fill("What is a serai?")
        page.keyboard.press("Enter")
        page.get_by_text("closed rooms").wait_for(timeout=30_000)
    if name == "processes":
        page.get_by_text("seq 1 20").first.click()
        page.wait_for_timeout(1000)


def main() -> None:
    """Take them all."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    words = "An inn for travellers: a courtyard with many closed rooms.".split()  # noqa: SIM905
    with (
        tempfile.TemporaryDirectory() as state,
        provider([f"{word} " for word in words]) as base,
        open_chromium() as browser,
    ):
        server = Server(Path(state) / "data").start()
        try:
            page = browser.new_page(viewport={"width": 1120, "height": 700})
            set_up(server, page)
            furnish(server, base)
            for name, place in PLACES.items():
                page.goto(f"{server.url}/console/w/main/{place}")
                page.locator("main h1").wait_for(timeout=60_000)
                act(page, name)
                page.wait_for_timeout(1200)
                page.screenshot(path=FOLDER / f"{name}.png")
        finally:
            server.stop()


if __name__ == "__main__":
    main()
