"""Recipes: how the images of the hub's names are made, read from ``recipes/recipes.toml``."""

import hashlib
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from serai.runtime.roots.problems import ImageProblem
from serai.runtime.roots.records import ImageConfig, Service

FOLDER = Path(__file__).parent / "recipes"

_INSTALL = """
apt-get -q update
install="apt-get -q install"
# With one user only, no file can be given to another one: packages are told that it was.
read -r _ _ users < /proc/self/uid_map
if [ "$users" = 1 ]; then
    $install fakeroot
    export FAKEROOTDONTTRYCHOWN=1
    install="fakeroot $install"
fi
$install {}
apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/debconf/*-old /var/log/apt
rm -f /var/log/dpkg.log /var/log/alternatives.log
"""


class Port(msgspec.Struct, frozen=True, kw_only=True):
    """A port that an image is known to use."""

    name: str
    target: int
    protocol: str = "HTTP"


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One image.

    Attributes:
        name: its hub name; the key in the file.
        part: whether it is only a part of others, with no name that a sandbox can ask for.
        title, description, categories, memory, ports: what the hub's list says; MiB.
        hidden: whether the hub's list marks it as one that is not shown to people.
        unavailable: why an image of that name of the hosted hub is not made here, and what to do
            instead; such a recipe has nothing but a name.
        parent: the recipe whose image it is made on top of; without one it is a Debian system.
        suite, variant: Debian's, for recipes without a parent; see mmdebstrap(1).
        packages: Debian's, installed before everything else.
        files: folder beside the recipes whose content is copied to ``/`` before the steps.
        steps: shell commands that run inside, one after the other.
        trials: like steps, without the host's network: what they leave behind (caches) stays.
        environment, home, workdir, services: see ImageConfig; those of the parent are kept below.
    """

    name: str
    part: bool = False
    hidden: bool = False
    unavailable: str = ""
    title: str = ""
    description: str = ""
    categories: list[str] = []
    memory: int = 4096
    ports: list[Port] = []
    parent: str = ""
    suite: str = ""
    variant: str = "apt"
    packages: list[str] = []
    files: str = ""
    steps: list[str] = []
    trials: list[str] = []
    environment: dict[str, str] = {}
    home: str = ""
    workdir: str = ""
    services: list[Service] = []

    def commands(self) -> list[tuple[str, bool]]:
        """What is run inside to make it, and whether with the host's network."""
        install = (
            [_INSTALL.format(" ".join(self.packages))] if self.parent and self.packages else []
        )
        return [
            *((step, True) for step in (*install, *self.steps)),
            *((trial, False) for trial in self.trials),
        ]


class Recipes:
    """All recipes of a folder."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder
        raw: dict[str, Any] = tomllib.loads((folder / "recipes.toml").read_text())
        self._recipes = {
            name: msgspec.convert({"name": name, **fields}, Recipe) for name, fields in raw.items()
        }

    def names(self) -> list[str]:
        """Names that sandboxes can ask for."""
        return [name for name in self._recipes if self.find(name) is not None]

    def find(self, name: str) -> Recipe | None:
        """The recipe that a sandbox can ask for by that name."""
        recipe = self._recipes.get(name)
        is_made = recipe is not None and not recipe.part and not recipe.unavailable
        return recipe if is_made else None

    def unavailable(self) -> dict[str, str]:
        """Names of the hosted hub that have no image here, with the reason and what to do."""
        return {name: each.unavailable for name, each in self._recipes.items() if each.unavailable}

    def chain(self, recipe: Recipe) -> list[Recipe]:
        """The recipe with all it is made on top of, the lowest first."""
        found = [recipe]
        while parent := found[0].parent:
            if parent not in self._recipes or len(found) > 16:
                raise ImageProblem(f"recipe {found[0].name} has the unknown parent {parent!r}")
            found.insert(0, self._recipes[parent])
        return found

    def files(self, recipe: Recipe) -> Path | None:
        """The folder of files that it copies."""
        return self._folder / recipe.files if recipe.files else None

    def version(self, recipe: Recipe) -> str:
        """Changes whenever the recipe, its files, or what it is made on top of changes."""
        whole = hashlib.sha256()
        for each in self.chain(recipe):
            made_of = (
                each.parent,
                each.suite,
                each.variant,
                each.packages,
                each.commands(),
                each.files,
            )
            whole.update(msgspec.json.encode(made_of))
            folder = self.files(each)
            for path in sorted(folder.rglob("*")) if folder else []:
                if path.is_file():
                    whole.update(f"{path.relative_to(self._folder)}\0".encode() + path.read_bytes())
        return whole.hexdigest()

    def config(self, recipe: Recipe) -> ImageConfig:
        """How its processes start."""
        chain = self.chain(recipe)
        environment: dict[str, str] = {}
        for each in chain:
            environment |= each.environment
        return ImageConfig(
            environment=environment,
            home=next((each.home for each in reversed(chain) if each.home), ""),
            workdir=next((each.workdir for each in reversed(chain) if each.workdir), "/"),
            ports=tuple(port.target for port in recipe.ports),
            services=tuple(recipe.services),
        )
