"""Images as a container engine has them."""

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import Any

from serai.runtime.engine.client import Engine, EngineProblem
from serai.runtime.making import Making
from serai.runtime.port import ImageConfig, ImageInfo, ImageNotReady, RuntimeProblem, UnknownImage

_GONE = 404
_REFERENCE = re.compile(r"[a-z0-9]+((\.|_{1,2}|-+|[/:@])[A-Za-z0-9]+){0,100}")
"""A reference without tricks: it becomes part of a path of the engine's API."""


class EngineImages:
    """What an engine has, and what it can pull."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: list[str] = []

    def references(self) -> list[str]:
        """Every tag there was at the last look."""
        return list(self._known)

    async def refresh(self) -> None:
        """Look again."""
        listed = await self._engine.get("/images/json")
        tags = [tag for each in listed for tag in each.get("RepoTags") or ()]
        self._known = sorted(_short(tag) for tag in tags if "<none>" not in tag)

    async def require(self, reference: str) -> str:
        """What the engine knows the image by, pulled from its registry if need be.

        Raises:
            UnknownImage: it is neither here nor there.
        """
        for name in _candidates(reference):
            if await self._has(name):
                return name
        try:
            if not _candidates(reference):
                raise EngineProblem("it is no image reference", 0)
            await self._engine.pull(reference)
        except EngineProblem as problem:
            known = ", ".join(self._known) or "none"
            raise UnknownImage(
                f"{self._engine.name} has no image {reference!r} and cannot pull it ({problem}); "
                f"it has: {known}"
            ) from problem
        await self.refresh()
        return reference

    async def config(self, reference: str) -> ImageConfig:
        """What the engine says of how an image starts; it is pulled if need be.

        Raises:
            UnknownImage: it is neither here nor there.
        """
        found = await self._engine.get(f"/images/{await self.require(reference)}/json")
        return _config(found.get("Config") or {})

    async def _has(self, reference: str) -> bool:
        try:
            await self._engine.get(f"/images/{reference}/json")
        except EngineProblem as problem:
            if problem.status != _GONE:
                raise
            return False
        return True


class EngineLibrary:
    """See ``port.Library``: the images are the engine's, and it pulls what is not there.

    Args:
        name: the engine's.
        images: the engine's, once it has been asked.
    """

    making: Making | None = None

    def __init__(self, name: str, images: Callable[[], EngineImages | None]) -> None:
        self._name = name
        self._images = images
        self._pulls: dict[str, asyncio.Task[str]] = {}

    def infos(self) -> list[ImageInfo]:
        """Every tag there was at the last look."""
        images = self._images()
        known = images.references() if images is not None else []
        return [ImageInfo(reference=each, state="built", source=self._name) for each in known]

    async def ready(self, image: str, seconds: float) -> None:
        """Have the engine pull the image if it lacks it; one pull for all who ask."""
        images = self._there()
        task = self._pulls.get(image)
        if task is None:
            task = asyncio.create_task(images.require(image))
            self._pulls[image] = task
            task.add_done_callback(lambda done: self._pulled(image, done))
        await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            raise ImageNotReady(image, f"{self._name} pulls it")
        task.result()

    async def config(self, image: str) -> ImageConfig:
        """See port.Library."""
        return await self._there().config(image)

    def _there(self) -> EngineImages:
        images = self._images()
        if images is None:
            raise RuntimeProblem(f"the runtime {self._name} was not started: call start() first")
        return images

    def _pulled(self, image: str, task: "asyncio.Task[str]") -> None:
        del self._pulls[image]
        if not task.cancelled():
            task.exception()  # those who waited know


def _config(said: Mapping[str, Any]) -> ImageConfig:
    """What an engine's inspection says, in its words (OCI image specification, config.md)."""
    env = dict(each.split("=", 1) for each in said.get("Env") or () if "=" in each)
    numbers = (each.partition("/")[0] for each in said.get("ExposedPorts") or ())
    return ImageConfig(
        entrypoint=tuple(said.get("Entrypoint") or ()),
        cmd=tuple(said.get("Cmd") or ()),
        env=env,
        workdir=said.get("WorkingDir") or "/",
        user=said.get("User") or "",
        ports=tuple(sorted(int(each) for each in numbers if each.isdigit())),
    )


def _short(tag: str) -> str:
    """A reference as people write it: Podman puts ``localhost/`` or ``docker.io/`` before it."""
    for prefix in ("localhost/", "docker.io/library/", "docker.io/"):
        tag = tag.removeprefix(prefix)
    return tag


def _candidates(reference: str) -> list[str]:
    """What an engine may know an image by: hub names may go without namespace and tag."""
    name, colon, tag = reference.partition(":")
    namespace, _, short = name.rpartition("/")
    is_hub = namespace in ("", "sandbox") and (tag == "latest" if colon else True)
    names = [reference, *([f"blaxel/{short}:latest"] if is_hub else [])]
    return [each for each in names if _REFERENCE.fullmatch(each)]
