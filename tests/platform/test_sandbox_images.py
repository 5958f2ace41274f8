"""Images through the command line, the API and a sandbox."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from aiohttp import web

from oci_images import (
    ImageFiles,
    RegistryServer,
    busybox_image,
    entry,
    registry,
    static_busybox,
    tar,
)
from platform_server import Server

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    with registry(tmp_path_factory.mktemp("registry") / "files") as running:
        yield running


def create(server: Server, name: str, image: str, **headers: str) -> httpx.Response:
    body = {
        "metadata": {"name": name},
        "spec": {"runtime": {"image": image, "memory": 512}},
    }
    return server.client.post("/v0/sandboxes", json=body, headers=headers)


def run(server: Server, name: str, command: str) -> str:
    answer = server.client.post(
        f"/main/sandboxes/{name}/process", json={"command": command, "waitForCompletion": True}
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["exitCode"] == 0, answer.text
    return str(answer.json()["stdout"]).strip()


def shown(server: Server, *arguments: str) -> str:
    done = server.run("images", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_name_of_the_hub_that_is_not_made_says_why_and_can_be_given_to_another(
    new_server: Callable[..., Server], tmp_path: Path
) -> None:
    server = new_server().start()
    hub = {item["name"]: item for item in server.client.get("/v0/sandbox/hub").json()}
    assert hub["chromium"]["ports"] == [{"name": "chrome-cdp", "target": 8081, "protocol": "HTTP"}]
    assert "hidden" not in hub["chromium"]
    assert hub["node-slim"]["hidden"] is True
    assert "docker-in-sandbox" not in hub
    refused = create(server, "box", "blaxel/docker-in-sandbox:latest")
    assert (refused.status_code, refused.json()["code"]) == (400, "INVALID_IMAGE")
    assert "Docker needs namespaces" in refused.json()["message"]
    assert "blaxel/chromium:latest" in refused.json()["details"]["supported_images"]
    failed = server.run("images", "build", "docker-in-sandbox")
    assert failed.returncode == 1
    assert "Docker needs namespaces" in failed.stderr
    layout = busybox_image().write(tmp_path / "layout")
    shown(server, "import", str(layout), "--name", "blaxel/docker-in-sandbox")
    assert create(server, "box", "blaxel/docker-in-sandbox").status_code == 200


def test_an_imported_image_from_its_file_to_a_restart(
    new_server: Callable[..., Server], tmp_path: Path
) -> None:
    layout = busybox_image(Env=["COLOUR=blue"]).write(tmp_path / "layout")
    server = new_server()
    assert "tests/one:2 " in shown(server, "import", str(layout), "--name", "tests/one:2")
    server.start()
    answer = create(server, "box", "tests/one:2")
    assert answer.status_code == 200, answer.text
    assert run(server, "box", "/busybox sh -c 'echo $COLOUR'") == "blue"
    hub = {item["image"]: item for item in server.client.get("/v0/sandbox/hub").json()}
    assert hub["tests/one:2"]["description"] == "The image tests/one:2, imported from layout."
    listed = json.loads(shown(server, "list", "--json"))
    (own,) = [each for each in listed if each["reference"] == "tests/one:2"]
    assert own["state"] == "built"
    assert own["size"] > 500_000
    refused = server.run("images", "remove", "tests/none:1")
    assert "there is no image 'tests/none:1'" in refused.stderr
    assert shown(server, "remove", "tests/one:2") == "Freed 0 MiB.\n"  # the sandbox needs it
    server.stop()
    server.start()
    assert run(server, "box", "/busybox pwd") == "/"
    assert create(server, "other", "tests/one:2").json()["error"] == "Bad Request"
    server.client.delete("/v0/sandboxes/box")
    freed = 0
    deadline = time.monotonic() + 20
    while not freed and time.monotonic() < deadline:
        freed = int(shown(server, "prune").split()[1])
    assert freed > 0


def test_an_image_registered_in_a_workspace(
    new_server: Callable[..., Server], store: RegistryServer
) -> None:
    reference = store.push(busybox_image(WorkingDir="/here"), "team/app", "v7")
    server = new_server(SERAI_IMAGE_REGISTRIES=store.host).start()
    body = {"name": "mine", "resourceType": "sandbox", "image": reference}
    registered = server.client.post("/v0/images", json=body)
    assert registered.status_code == 200, registered.text
    assert create(server, "box", "sandbox/mine:v7").status_code == 200
    assert run(server, "box", "/busybox pwd") == "/here"
    assert server.client.get("/v0/sandboxes/box").json()["spec"]["runtime"]["image"] == (
        "sandbox/mine:v7"
    )
    answer = server.client.delete("/v0/images/sandbox/mine")
    assert answer.status_code == 400, "it is in use"


def test_a_client_is_told_how_far_the_image_is_and_comes_back(
    new_server: Callable[..., Server], store: RegistryServer
) -> None:
    store.push(ImageFiles(tar(entry("busybox", static_busybox(), mode=0o755))), "team/slow", "v1")
    with slowed(store, 4.0) as host:
        server = new_server(SERAI_IMAGE_REGISTRIES=f"http://{host}").start()
        image = f"{host}/team/slow:v1"
        answer = create(server, "box", image, **{"X-Blaxel-Creation-Timeout": "1"})
        assert answer.status_code == 503, answer.text
        assert answer.headers["Retry-After"] == "15"
        assert answer.json()["code"] == "IMAGE_NOT_READY"
        assert "is being made ready" in answer.json()["message"]
        assert server.client.get("/v0/sandboxes/box").status_code == 404
        again = create(server, "box", image)
        assert again.status_code == 200, again.text
        assert run(server, "box", "/busybox id -u") == "0"


def test_what_cannot_be_had_says_why(
    new_server: Callable[..., Server], store: RegistryServer
) -> None:
    server = new_server(SERAI_IMAGE_REGISTRIES=store.host, SERAI_IMAGE_SOURCE="host").start()
    elsewhere = create(server, "box", "registry.example/app:1")
    assert (elsewhere.status_code, elsewhere.json()["error"]) == (400, "Bad Request")
    assert f"image_registries names {store.host}" in elsewhere.json()["message"]
    hub = create(server, "box", "blaxel/nextjs:latest")
    assert "is not made of this host's files" in hub.json()["message"]
    missing = create(server, "box", f"{store.host}/team/nothing:1")
    assert missing.status_code == 503
    assert "has no image" in missing.json()["message"]
    hub = server.client.get("/v0/sandbox/hub").json()
    assert hub[0]["name"] == "base-image"
    assert server.client.get("/v0/sandboxes/box").status_code == 404


class slowed:
    """A registry whose answers take so many seconds, at a host of its own."""

    def __init__(self, behind: RegistryServer, seconds: float) -> None:
        self._behind = behind
        self._seconds = seconds
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> str:
        self._thread.start()
        return asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _start(self) -> str:
        app = web.Application()
        app.router.add_get("/{rest:.*}", self._answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"127.0.0.1:{self._runner.addresses[0][1]}"

    async def _answer(self, request: web.Request) -> web.Response:
        if "/manifests/" in request.path:
            await asyncio.sleep(self._seconds)
        async with httpx.AsyncClient(trust_env=False) as client:
            accept = {"Accept": request.headers.get("Accept", "*/*")}
            found = await client.get(f"http://{self._behind.host}{request.path}", headers=accept)
        kind = found.headers.get("Content-Type", "")
        return web.Response(
            body=found.content, status=found.status_code, headers={"Content-Type": kind}
        )
