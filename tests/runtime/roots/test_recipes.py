"""Recipes: those of the hub as data, and a small one built for real."""

import asyncio
import os
import re
import shutil
import socket
from pathlib import Path

import pytest

from serai.runtime import host
from serai.runtime.embedded import EmbeddedRuntime
from serai.runtime.roots.policy import Policy
from serai.runtime.roots.problems import ImageProblem, UnknownImage
from serai.runtime.roots.provider import Images
from serai.runtime.roots.recipes import FOLDER, Recipe, Recipes

SMALL = """
[system]
part = true
suite = "trixie"
variant = "extract"
packages = ["base-files", "busybox-static", "dash", "libc6"]

[small]
title = "Small"
parent = "system"
files = "files"
steps = [
    "busybox id -u > /report; busybox ls /proc | busybox grep -c '^[0-9]' >> /report",
    "echo more >> /report; busybox rm /usr/bin/run-parts; test ! -e {secret}",
]
trials = ["! busybox wget -q -T 2 -O /dev/null http://example.com/ && echo offline >> /report"]
workdir = "/srv"
environment = {{ TASTE = "sweet" }}

[broken]
title = "Broken"
parent = "system"
steps = ["echo first; echo the reason >&2; exit 3"]

[endless]
title = "Endless"
parent = "system"
steps = ["echo $$ > /pid; echo started; while true; do busybox sleep 1; done"]
"""


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recipes") / "data"


def _reach_a_mirror() -> None:
    """Connect to a host that this machine's own packages come from.

    Raises:
        OSError: none answers.
    """
    lists = [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")]
    text = "\n".join(path.read_text() for path in lists if path.is_file())
    problem = OSError("no package list names one")
    for name in set(re.findall(r"^[^#\n]*?http://([^/\s:]+)", text, re.MULTILINE)):
        try:
            socket.create_connection((name, 80), timeout=10).close()
        except OSError as error:
            problem = error
        else:
            return
    raise problem


@pytest.fixture(scope="module")
def recipes(tmp_path_factory: pytest.TempPathFactory) -> Recipes:
    if shutil.which("mmdebstrap") is None:
        pytest.skip("NOT TESTED: needs mmdebstrap: apt-get install mmdebstrap")
    try:
        _reach_a_mirror()
    except OSError as problem:
        pytest.skip(f"NOT TESTED: needs a Debian mirror: {problem}")
    folder = tmp_path_factory.mktemp("folder")
    (folder / "files/etc").mkdir(parents=True)
    (folder / "files/etc/motto").write_text("built once\n")
    secret = folder / "secret"
    secret.touch()
    (folder / "recipes.toml").write_text(SMALL.format(secret=secret))
    return Recipes(folder)


@pytest.fixture
async def images(data_dir: Path, recipes: Recipes) -> Images:
    data_dir.mkdir(exist_ok=True)
    owner = host.choose_user_range(data_dir / "uid-base")
    made = Images(data_dir, owner, Policy(), {}, recipes)
    made.store.prepare()
    return made


async def test_a_small_recipe_from_its_packages_to_a_sandbox(
    images: Images, data_dir: Path
) -> None:
    told: list[str] = []
    image = await images.maker.build("small", told.append)
    assert any("Debian's packages" in line for line in told)
    upper = Path(images.store.path(image.layers[-1]))
    user, processes, *said = (upper / "report").read_text().splitlines()
    assert (user, said) == ("0", ["more", "offline"])
    assert int(processes) <= 4, "a step sees its own processes only"
    assert (upper / "etc/motto").read_text() == "built once\n"
    assert not (upper / "etc/hosts").exists()
    if images.store.owner is not None:
        owners = {path.lstat().st_uid for path in upper.rglob("*") if not path.is_char_device()}
        assert owners == {images.store.owner}
    told.clear()
    assert await images.maker.build("small", told.append) == image
    assert told == []
    runtime = EmbeddedRuntime(data_dir, entry="command_server")
    await runtime.start()
    try:
        runtime.library.images = images
        from sandbox_shell import output

        from serai.runtime.port import SandboxPlan

        handle = await runtime.create(
            SandboxPlan(
                id=os.urandom(6).hex(),
                hostname="inn",
                image="blaxel/small",
                memory_mb=256,
                environment={},
            )
        )
        assert await output(handle, "busybox pwd; echo $TASTE; busybox cat /etc/motto") == (
            "/srv\nsweet\nbuilt once"
        )
        assert await output(handle, "busybox ls /usr/bin | busybox grep -c run-parts; true") == "0"
        await runtime.destroy(handle.id, handle)
    finally:
        await runtime.close()


async def test_layers_below_are_built_once(images: Images) -> None:
    first = await images.maker.build("small", lambda text: None)
    told: list[str] = []
    with pytest.raises(ImageProblem, match=r"broken, step 1 ended with 3:\nfirst\nthe reason"):
        await images.maker.build("broken", told.append)
    assert not any("Debian's packages" in line for line in told)
    assert images.store.find("blaxel/broken:latest") is None
    assert images.store.find("blaxel/small:latest") == first
    assert list(images.store.drafts.iterdir()) == []
    with pytest.raises(UnknownImage, match="there are: small, broken, endless"):
        await images.maker.build("system", told.append)


async def test_a_build_that_is_given_up_leaves_nothing(images: Images) -> None:
    told: list[str] = []
    task = asyncio.create_task(images.maker.build("endless", told.append))
    while not any("started" in line for line in told):
        await asyncio.sleep(0.05)
        assert not task.done(), task
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(images.store.drafts.iterdir()) == []
    for _ in range(100):
        if not _running("busybox sleep 1"):
            break
        await asyncio.sleep(0.05)
    assert not _running("while true; do busybox sleep 1")


def _running(words: str) -> bool:
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                if words in (path / "cmdline").read_bytes().replace(b"\0", b" ").decode():
                    return True
            except OSError:
                continue
    return False


MADE = """
app-runner astro base-image benchmark chromium claude-code code-mode codex cua-xfce expo
jupyter-notebook jupyter-server lightpanda nextjs node node-slim playwright-chromium
playwright-firefox py-app python-data-science tailscale ts-app vibekit-claude vibekit-codex
vibekit-gemini vibekit-grok vibekit-opencode vite xfce-vnc
"""
NOT_MADE = {"docker-in-sandbox", "omnigent-host", "onboarder-nextjs"}


def test_every_name_of_the_hub_is_made_or_says_why_not() -> None:
    recipes = Recipes()
    assert set(recipes.names()) == set(MADE.split())
    assert set(recipes.unavailable()) == NOT_MADE
    assert all(recipes.find(name) is None for name in NOT_MADE)


@pytest.mark.parametrize("name", sorted(NOT_MADE))
async def test_what_is_not_made_says_what_to_do_instead(tmp_path: Path, name: str) -> None:
    images = Images(tmp_path, None, Policy(source="built"), {})
    images.store.prepare()
    why = Recipes().unavailable()[name]
    for reference in (name, f"blaxel/{name}", f"sandbox/{name}:latest"):
        with pytest.raises(UnknownImage) as refused:
            await images.choose(reference, "box")
        assert str(refused.value).startswith(why)
        assert f"blaxel/{name}:latest" not in refused.value.known
    with pytest.raises(UnknownImage, match=re.escape(why)):
        await images.maker.build(name, lambda text: None)
    assert name not in {info.reference for info in images.infos()}


def test_packages_are_installed_before_anything_else_is_done() -> None:
    recipe = Recipe(
        name="x", parent="debian", packages=["jq", "wget"], steps=["true"], trials=["false"]
    )
    (install, network), *rest = recipe.commands()
    assert network
    assert "jq wget" in install
    assert rest == [("true", True), ("false", False)]
    system = Recipe(name="x", suite="trixie", packages=["jq"], steps=["a"])
    assert system.commands() == [("a", True)]


PORTS = {
    "chromium": {8081},
    "code-mode": {3000},
    "cua-xfce": {5901, 6901, 8000},
    "lightpanda": {8081},
    "playwright-chromium": {8081},
    "playwright-firefox": {8081},
    "vibekit-claude": {3000},
    "xfce-vnc": {5901, 6901},
}


@pytest.mark.parametrize("name", PORTS)
def test_ports_of_the_hosted_hub(name: str) -> None:
    recipe = Recipes().find(name)
    assert recipe is not None
    assert {port.target for port in recipe.ports} == PORTS[name]


def test_a_recipe_has_the_surroundings_of_what_it_is_made_on_top_of() -> None:
    recipes = Recipes()
    recipe = recipes.find("cua-xfce")
    assert recipe is not None
    config = recipes.config(recipe)
    assert (config.environment["DISPLAY"], config.environment["API_PORT"]) == (":1", "8000")
    assert (config.home, config.workdir) == ("/home/cua", "/home/cua")


def test_every_recipe_of_the_hub_is_complete() -> None:
    recipes = Recipes()
    for name in recipes.names():
        recipe = recipes.find(name)
        assert recipe is not None
        chain = recipes.chain(recipe)
        assert chain[0].suite
        assert chain[0].packages
        assert recipe.title
        assert recipe.description.endswith(".")
        folder = recipes.files(recipe)
        assert folder is None or folder.is_dir()
        served = {port for service in recipe.services for port in service.ports}
        assert served <= {port.target for port in recipe.ports}
        assert recipes.config(recipe).workdir.startswith("/")


def test_a_change_of_a_recipe_or_of_what_it_copies_is_another_version(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "copy")
    before, after = Recipes(), Recipes(tmp_path / "copy")
    vite, other = before.find("vite"), after.find("vite")
    assert vite is not None
    assert other is not None
    assert before.version(vite) == after.version(other)
    (tmp_path / "copy/vite/blaxel/app/index.html").write_text("changed")
    assert before.version(vite) != after.version(other)
    text = (tmp_path / "copy/recipes.toml").read_text().replace('"bash", ', "")
    (tmp_path / "copy/recipes.toml").write_text(text)
    changed = Recipes(tmp_path / "copy")
    for name in ("py-app", "expo"):
        one, two = before.find(name), changed.find(name)
        assert one is not None
        assert two is not None
        assert before.version(one) != changed.version(two)
