"""What every builder must do, seen through the platform: the same demands, a project for each."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from oci_images import ImageFiles, RegistryServer, entry, registry, static_busybox, tar
from platform_server import Server
from projects import Files, deploy, last_message, unique

pytestmark = pytest.mark.sandbox
SHELL = ("busybox", "sh", "cat", "echo")


def image_files(note: bytes) -> ImageFiles:
    """An image with a shell, whose program prints a note."""
    links = [entry(f"bin/{name}", type=b"2", linkname="busybox") for name in SHELL[1:]]
    binary = entry("bin/busybox", static_busybox(), mode=0o755)
    layer = tar(entry("bin", type=b"5"), binary, *links)
    return ImageFiles(
        layer,
        tar(entry("note", note)),
        Entrypoint=["/bin/cat"],
        Cmd=["/note"],
        Env=["COLOUR=blue", "PATH=/bin"],
        WorkingDir="/srv",
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    with registry(tmp_path_factory.mktemp("registry") / "files") as running:
        yield running


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, store: RegistryServer) -> Iterator[Server]:
    """A server that takes images of the registry."""
    folder = tmp_path_factory.mktemp("builders") / "data"
    environ = {"SERAI_IMAGE_REGISTRIES": f"http://{store.host}", "SERAI_BUILD_SLOTS": "8"}
    running = Server(folder, **environ).start()
    yield running
    running.stop()


def layout(note: str, folder: Path) -> dict[str, bytes]:
    written = image_files(note.encode()).write(folder / note)
    paths = [path for path in written.rglob("*") if path.is_file()]
    return {str(path.relative_to(written)): path.read_bytes() for path in paths}


def dockerfile(note: str, base: str) -> Files:
    if shutil.which("podman") is None:
        pytest.skip("NOT TESTED: needs podman: apt-get install podman")
    text = (
        f"FROM {base}\nARG SHADE\nCOPY note /note\nRUN echo $SHADE > /shade\n"
        "COPY --from=ghcr.io/blaxel-ai/sandbox:latest /sandbox-api /bin/sandbox-api\n"
    )
    return {"Dockerfile": text, "note": note, ".env.build": "SHADE=dark-shade\nPATH=/nowhere\n"}


def python(note: str) -> Files:
    return {"main.py": "print(open('/note').read())", "note": note}


def node(note: str) -> Files:
    script = "node -e \"require('fs').writeFileSync('built', process.env.SHADE)\""
    package = {"scripts": {"build": script, "start": "cat note"}}
    return {
        "package.json": json.dumps(package), "note": note, ".env.build": "SHADE=dark-shade"
    }  # fmt: skip


Make = Callable[[str], Files]


@pytest.fixture
def makers(store: RegistryServer, tmp_path: Path) -> Mapping[str, Make]:
    """A project for each builder, which brings a note."""
    base = store.push(image_files(b"base"), "team/base", "v1")

    def in_registry(note: str) -> Files:
        pushed = store.push(image_files(note.encode()), "team/ready", note)
        return {"blaxel.toml": f'image = "{pushed}"\n'}

    return {
        "layout": lambda note: layout(note, tmp_path),
        "registry": in_registry,
        "dockerfile": lambda note: dockerfile(note, base),
        "python": python,
        "node": node,
    }


PLACES = {"python": "/blaxel/note", "node": "/blaxel/note"}
NAMES = ("layout", "registry", "dockerfile", "python", "node")


def test_what_is_built_runs_and_can_be_built_again(
    here: Server, makers: Mapping[str, Make]
) -> None:
    with ThreadPoolExecutor() as pool:  # each of them is shown for some seconds
        list(pool.map(lambda name: _is_built(name, here.client, makers[name]), NAMES))
    assert list((here.data_dir / "builds/uploads").iterdir()) == []
    assert list((here.data_dir / "builds/work").iterdir()) == []


def _is_built(name: str, api: httpx.Client, make: Make) -> None:
    box = unique(name)
    document, _ = deploy(api, "sandboxes", box, make("one"))
    assert document["status"] == "DEPLOYED", last_message(document)
    place = PLACES.get(name, "/note")
    assert run(api, box, f"cat {place}") == "one"
    first = image_of(api, box)
    again, _ = deploy(api, "sandboxes", box, make("two"))
    assert again["status"] == "DEPLOYED", last_message(again)
    assert run(api, box, f"cat {place}") == "two"
    assert image_of(api, box)["spec"]["tagCount"] == first["spec"]["tagCount"] + 1
    assert image_of(api, box)["spec"]["size"] > first["spec"]["size"] > 0
    if name == "node":
        assert run(api, box, "cat /blaxel/built") == "dark-shade"
    if name == "dockerfile":
        assert run(api, box, "cat /shade") == "dark-shade"
    if name in {"layout", "registry"}:
        assert run(api, box, "echo $COLOUR; pwd") == "blue\n/srv"


def test_a_broken_project_of_each_kind_fails_with_a_reason(here: Server) -> None:
    base: dict[str, tuple[Files, str]] = {
        "layout": ({"oci-layout": "{}", "index.json": "{}"}, "index cannot be read"),
        "registry": ({"blaxel.toml": 'image = "unknown.example/x"'}, "images are not pulled from"),
        "python": ({"main.py": "", "pyproject.toml": "["}, "pyproject.toml cannot be read"),
        "node": (
            {"package.json": '{"scripts": {"build": "echo Oh no; exit 3", "start": "x"}}'},
            "`npm run build` ended with 3",
        ),
    }
    if shutil.which("podman") is not None:
        base["dockerfile"] = ({"Dockerfile": "FROM scratch\nCOPY nothing /x"}, "podman ended with")
    with ThreadPoolExecutor() as pool:
        found = pool.map(
            lambda one: deploy(here.client, "agents", unique("bad"), one[0]), base.values()
        )
        for (document, _), (_, why) in zip(found, base.values(), strict=True):
            assert document["status"] == "FAILED"
            assert why in last_message(document)


@pytest.mark.builds
def test_dockerfiles_need_an_engine(new_server: Callable[..., Server], tmp_path: Path) -> None:
    empty = tmp_path / "bin"
    empty.mkdir()
    server = new_server(PATH=str(empty)).start()
    document, _ = deploy(server.client, "jobs", "docked", {"Dockerfile": "FROM scratch"})
    assert "install Podman (Debian and Ubuntu: apt-get install podman)" in last_message(document)


def run(api: httpx.Client, box: str, command: str) -> str:
    wanted = {"command": command, "waitForCompletion": True}
    answer = api.post(f"/main/sandboxes/{box}/process", json=wanted)
    assert answer.status_code == 200, answer.text
    assert answer.json()["exitCode"] == 0, answer.text
    return str(answer.json()["stdout"]).strip()


def image_of(api: httpx.Client, name: str) -> Any:
    found = api.get(f"/v0/images/sandbox/{name}")
    assert found.status_code == 200, found.text
    return found.json()
