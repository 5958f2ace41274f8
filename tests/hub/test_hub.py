"""Every image of the hub's names: built, and used with the official SDK. `make test-images`."""

import json
from collections.abc import Callable

import pytest

from platform_server import Server

pytestmark = [pytest.mark.hub, pytest.mark.sandbox, pytest.mark.timeout(2400)]
Build = Callable[[str], str]
Sdk = Callable[..., str]


PYTHON = "python -m venv v && v/bin/python -c 'print(6*7)'"
TYPESCRIPT = "echo 'const n: number = 6; console.log(n * 7)' > a.ts; tsx a.ts"


@pytest.mark.parametrize(
    ("name", "commands", "expected"),
    [
        ("base-image", ["node --version", "pwd; echo $HOME"], ["v24.", "/blaxel\n/blaxel"]),
        ("py-app", ["python --version", "uv --version", PYTHON], ["Python 3.", "uv 0.", "42"]),
        ("node", ["npm --version", "node -e 'console.log(6*7)'"], ["11.", "42"]),
        ("ts-app", ["tsc --version", TYPESCRIPT], ["Version", "42"]),
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


def test_the_list_tells_what_was_built(server: Server) -> None:
    listed = json.loads(server.run("images", "list", "--json").stdout)
    assert {each["state"] for each in listed if each["reference"].startswith("blaxel/")} == {
        "built"
    }
    assert all(each["size"] > 100_000_000 for each in listed if each["state"] == "built")
