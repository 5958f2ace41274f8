"""Every image of the hub's names: built, and used with the official SDK. `make test-images`.

Those that take long or are like others are built when ``SERAI_TEST_ALL_IMAGES`` is set.
"""

import http.server
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from hosting.apps import deploy
from platform_server import Server

from .conftest import own_address

pytestmark = [pytest.mark.hub, pytest.mark.sandbox, pytest.mark.timeout(2400)]
Build = Callable[[str], str]
Sdk = Callable[..., str]


all_images = pytest.mark.skipif(
    not os.environ.get("SERAI_TEST_ALL_IMAGES"),
    reason="NOT TESTED: built with SERAI_TEST_ALL_IMAGES=1 only",
)
PLAYWRIGHT = "playwright-core@1.60.0"
SCIENCE = "python -c 'import numpy, pandas, scipy, sklearn, matplotlib; print(numpy.int8(42))'"
PYTHON = "python -m venv v && v/bin/python -c 'print(6*7)'"
TYPESCRIPT = "echo 'const n: number = 6; console.log(n * 7)' > a.ts; tsx a.ts"


@pytest.mark.parametrize(
    ("name", "commands", "expected"),
    [
        ("base-image", ["node --version", "pwd; echo $HOME"], ["v24.", "/blaxel\n/blaxel"]),
        ("py-app", ["python --version", "uv --version", PYTHON], ["Python 3.", "uv 0.", "42"]),
        ("node", ["npm --version", "node -e 'console.log(6*7)'"], ["11.", "42"]),
        ("ts-app", ["tsc --version", TYPESCRIPT], ["Version", "42"]),
        ("python-data-science", [SCIENCE], ["42"]),
        ("claude-code", ["claude --version", "rg --version"], ["(Claude Code)", "ripgrep"]),
        ("codex", ["codex --version"], ["codex-cli 0."]),
        ("node-slim", ["node --version"], ["v24."]),
        ("benchmark", ["echo $((6 * 7)); pwd"], ["42\n/"]),
        pytest.param("vibekit-claude", ["claude --version"], ["Claude"], marks=all_images),
        pytest.param("vibekit-codex", ["codex --version"], ["codex-cli"], marks=all_images),
        pytest.param("vibekit-gemini", ["gemini --version"], ["0.61"], marks=all_images),
        pytest.param("vibekit-grok", ["grok --version"], ["1.0"], marks=all_images),
        pytest.param("vibekit-opencode", ["opencode --version"], ["1.18"], marks=all_images),
    ],
)
def test_a_language(
    build: Build, sdk: Sdk, name: str, commands: list[str], expected: list[str]
) -> None:
    build(name)
    printed = sdk("look_around.py", f"blaxel/{name}:latest", *commands)
    for text in expected:
        assert text in printed


@pytest.mark.parametrize(
    ("name", "port", "path", "file", "old"),
    [
        ("nextjs", "3000", "/", "/blaxel/app/src/app/page.tsx", "It runs."),
        ("vite", "5173", "/src/App.tsx", "/blaxel/app/src/App.tsx", "It runs."),
        ("astro", "4321", "/", "/blaxel/app/src/pages/index.astro", "It runs."),
        ("expo", "8081", "/index.bundle?platform=web&dev=true", "/blaxel/app/App.js", "It runs."),
    ],
)
def test_a_page_is_served_and_follows_its_file(
    build: Build, sdk: Sdk, name: str, port: str, path: str, file: str, old: str
) -> None:
    build(name)
    printed = sdk("fetch_page.py", f"blaxel/{name}:latest", port, path, file, old, "It changed.")
    assert printed.startswith("200 ")
    assert old in printed
    assert printed.endswith("followed\n")


def test_the_code_interpreter(build: Build, sdk: Sdk) -> None:
    build("jupyter-server")
    assert sdk("interpret.py") == "done\n"


def test_the_kernel_gateway(build: Build, sdk: Sdk) -> None:
    build("jupyter-notebook")
    image = "blaxel/jupyter-notebook:latest"
    printed = sdk("fetch_page.py", image, "8888", "/api/kernelspecs", "", "", "")
    assert '"default": "python3"' in printed


@pytest.fixture(scope="session")
def playwright(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Playwright's client in it."""
    if shutil.which("npm") is None:
        pytest.skip("NOT TESTED: needs npm")
    folder = tmp_path_factory.mktemp("playwright")
    install = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), PLAYWRIGHT]
    subprocess.run(install, capture_output=True, check=True, timeout=300)
    return folder


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("chromium", "cdp"),
        ("lightpanda", "cdp"),
        ("playwright-chromium", "chromium"),
        ("playwright-firefox", "firefox"),
    ],
)
def test_a_browser_is_driven_from_outside(
    build: Build, sdk: Sdk, playwright: Path, name: str, way: str
) -> None:
    build(name)
    printed = sdk("browse.py", f"blaxel/{name}:latest", way, str(playwright))
    assert printed.strip().endswith(" open")


@pytest.mark.parametrize("name", ["playwright-chromium", "playwright-firefox"])
def test_a_browser_is_driven_inside(build: Build, sdk: Sdk, name: str) -> None:
    build(name)
    commands = ["until echo > /dev/tcp/localhost/8081; do sleep 0.2; done", "node sample-test.js"]
    assert "passed: " in sdk("look_around.py", f"blaxel/{name}:latest", *commands)


@pytest.mark.parametrize("name", ["xfce-vnc", "cua-xfce"])
def test_a_desktop_is_seen_and_used(build: Build, sdk: Sdk, name: str) -> None:
    build(name)
    printed = sdk("desktop.py", f"blaxel/{name}:latest").splitlines()
    size, colours = printed[0].split()
    assert (size, printed[1]) == ("1024x768", "changed")
    assert int(colours) >= 500
    if name == "cua-xfce":
        assert printed[2].startswith("x:321 y:123 ")
        assert printed[3] == "a picture"


def test_code_mode(build: Build, sdk: Sdk) -> None:
    build("code-mode")
    assert sdk("code_mode.py") == "done\n"


def test_code_mode_is_a_function(build: Build, server: Server) -> None:
    build("code-mode")
    address = own_address()
    api = http.server.ThreadingHTTPServer((address, 0), Pets)
    threading.Thread(target=api.serve_forever, daemon=True).start()
    url = f"http://{address}:{api.server_port}/openapi.json"
    runtime = {
        "image": "blaxel/code-mode:latest",
        "memory": 1024,
        "envs": [{"name": "OPENAPI_REFERENCE", "value": url}],
    }
    body = {"metadata": {"name": "pets"}, "spec": {"runtime": runtime}}
    try:
        deploy(server.client, body, "functions")
        paths = ask(server, "search", "(spec) => Object.keys(spec.paths)")
        assert json.loads(paths) == ["/pets"]
        found = ask(server, "execute", "async () => (await fetch('/pets')).json()")
        assert json.loads(found) == ["Rex"]
    finally:
        server.client.delete("/v0/functions/pets")
        api.shutdown()


class Pets(http.server.BaseHTTPRequestHandler):
    """An API with its document."""

    def do_GET(self) -> None:
        document = {"openapi": "3.1.0", "info": {"title": "Pets", "version": "1"}}
        document |= {"servers": [{"url": "/"}], "paths": {"/pets": {"get": {}}}}
        self.send_response(200)
        self.end_headers()
        said = document if self.path == "/openapi.json" else ["Rex"]
        self.wfile.write(json.dumps(said).encode())


def ask(server: Server, tool: str, code: str) -> str:
    """What a tool of the function says."""
    params = {"name": tool, "arguments": {"code": code}}
    answer = server.client.post(
        "/main/functions/pets/mcp",
        json={"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params},
        headers={"Accept": "application/json, text/event-stream"},
    )
    assert answer.status_code == 200, answer.text
    data = [line for line in answer.text.splitlines() if line.startswith("data: ")]
    said = json.loads(data[-1][6:] if data else answer.text)
    return str(said["result"]["content"][0]["text"])


@all_images
def test_the_application_runner(build: Build, sdk: Sdk) -> None:
    build("app-runner")
    source = "mkdir -p /srv/git; cd /srv/git; git init -q .; echo 'print(6 * 7)' > main.py"
    commit = "git add .; git -c user.name=a -c user.email=a@b.c commit -qm first"
    given = "APP_RUNNER_SOURCE_URI=/srv/git APP_RUNNER_SOURCE_TYPE=git"
    run = f"{given} APP_RUNNER_START_COMMAND='python3 main.py' app-runner"
    image = "blaxel/app-runner:latest"
    assert "42" in sdk("look_around.py", image, f"{source}; {commit}", run)
    refused = sdk("look_around.py", image, f"{given} app-runner 2>&1 || true")
    assert "APP_RUNNER_START_COMMAND is not set" in refused


@all_images
def test_tailscale(build: Build, sdk: Sdk) -> None:
    build("tailscale")
    start = "(tailscaled --tun=userspace-networking --state=mem: > /tmp/log 2>&1 &)"
    status = "until tailscale status 2>&1 | grep -q 'Logged out'; do sleep 0.2; done; echo waits"
    without = "start-tailscale 2>&1 || true"
    printed = sdk("look_around.py", "blaxel/tailscale:latest", start, status, without)
    assert "waits" in printed
    assert "TS_AUTHKEY is not set" in printed


def test_the_list_tells_what_was_built(server: Server) -> None:
    listed = json.loads(server.run("images", "list", "--json").stdout)
    states = {each["reference"]: each["state"] for each in listed}
    assert {states[f"blaxel/{name}:latest"] for name in ("node", "chromium", "cua-xfce")} == {
        "built"
    }
    assert all(each["size"] > 100_000_000 for each in listed if each["state"] == "built")
