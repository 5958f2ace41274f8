"""Making images: one build, pull or import of each, however many ask, in whatever process."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import quote

import structlog

from serai.kernel.clock import parse_rfc3339
from serai.runtime.roots.basis import basis
from serai.runtime.roots.builder import Builder
from serai.runtime.roots.credentials import Logins
from serai.runtime.roots.layouts import layout_at
from serai.runtime.roots.names import hub_name, hub_reference, local_reference, place_of
from serai.runtime.roots.oci import Tell, assemble
from serai.runtime.roots.policy import Policy
from serai.runtime.roots.problems import ImageProblem, UnknownImage
from serai.runtime.roots.recipes import Recipes
from serai.runtime.roots.records import Image
from serai.runtime.roots.store import Store, once

log = structlog.get_logger("serai")
_TOLD_SECONDS = 0.5
_LOOK_SECONDS = 1.0


class Maker:
    """Makes images and puts them into ``store``; builds take turns."""

    def __init__(self, store: Store, recipes: Recipes, policy: Policy, logins: Logins) -> None:
        self.recipes = recipes
        self._store = store
        self._policy = policy
        self._logins = logins
        self._builder = Builder(store, recipes, policy.mirror)
        self._tasks: dict[str, asyncio.Task[Image]] = {}
        self._progress: dict[str, str] = {}
        self._turn = asyncio.Semaphore(1)

    async def close(self) -> None:
        """End what is being made; it begins anew with what was finished of it."""
        for task in self._tasks.values():
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks.values())

    def progress(self, full: str) -> str:
        """What is being done for an image right now, by whatever process; empty for nothing."""
        file = self._store.building / f"{quote(full, safe='')}.progress"
        return self._progress.get(full) or _read(file)

    async def build(self, name: str, tell: Tell, *, anew: bool = False) -> Image:
        """Build the image of a hub name.

        Raises:
            UnknownImage: there is no recipe for it.
            ImageProblem: it failed.
        """
        recipe = self.recipes.find(name)
        if recipe is None:
            why = self.recipes.unavailable().get(name) or f"there is no recipe {name!r}"
            raise UnknownImage(f"{why}; there are: {', '.join(self.recipes.names())}")
        full = hub_reference(name)

        async def make(tell: Tell) -> Image:
            async with self._turn:
                return await self._builder.build(recipe, tell, anew=anew)

        version = self.recipes.version(recipe)
        return await self._alone(
            full, make, tell, lambda found: not anew and found.recipe == version
        )

    async def pull(self, reference: str, tell: Tell, *, anew: bool = True) -> Image:
        """Bring an image from its registry, whatever the policy says.

        Raises:
            ImageProblem: it failed; nothing half-done has a name.
        """
        place = place_of(reference)
        if place is None:
            raise ImageProblem(
                f"{reference!r} names no registry; write its host too, for example "
                f"docker.io/library/{reference}"
            )

        async def make(tell: Tell) -> Image:
            from serai.runtime.roots.registry import Registry  # brings aiohttp: not at each start

            plain = f"http://{place.registry}" in self._policy.registries
            async with Registry(place, self._store.parts, self._logins, plain=plain) as registry:
                with self._store.making():
                    await asyncio.to_thread(basis, self._store)
                    return await assemble(self._store, registry, place.version, str(place), tell)

        return await self._alone(str(place), make, tell, lambda found: not anew)

    async def take_in(self, path: Path, reference: str, tag: str, tell: Tell) -> Image:
        """Import an OCI layout or archive under a name.

        Raises:
            ImageProblem: it failed; nothing half-done has a name.
        """
        full = local_reference(reference)
        if place_of(full) is not None or hub_name(full) in self.recipes.names():
            raise ImageProblem(
                f"{full!r} would hide an image of the hub or a registry; name it otherwise"
            )

        async def make(tell: Tell) -> Image:
            with self._store.making(), layout_at(path, self._store) as layout:
                await asyncio.to_thread(basis, self._store)
                return await assemble(self._store, layout, tag, f"imported from {path.name}", tell)

        return await self._alone(full, make, tell, lambda found: False)

    async def _alone(
        self,
        full: str,
        make: Callable[[Tell], Coroutine[Any, Any, Image]],
        tell: Tell,
        is_enough: Callable[[Image], bool],
    ) -> Image:
        """Make an image, unless the one there is enough or another process makes it right now."""
        file = self._store.building / quote(full, safe="")
        telling = _Telling(file.with_name(f"{file.name}.progress"), tell)
        began = time.time()
        while (release := once(file.with_name(f"{file.name}.lock"), wait=False)) is None:
            telling(f"another process is making it: {telling.read()}")
            await asyncio.sleep(_LOOK_SECONDS)
        try:
            found = self._store.find(full)
            if found is not None and (is_enough(found) or self._is_newer(found, began)):
                return found
            made = await make(telling)
            self._store.add_image(made, full)
            return made
        finally:
            telling.end()
            release()

    @staticmethod
    def _is_newer(image: Image, began: float) -> bool:
        return parse_rfc3339(image.made_at).timestamp() >= began

    def begin(self, full: str) -> "asyncio.Task[Image]":
        """The task that makes an image; there is one for all who ask."""
        task = self._tasks.get(full)
        if task is None:
            self._progress[full] = "waiting for its turn"
            task = asyncio.create_task(self._made(full))
            self._tasks[full] = task
            task.add_done_callback(lambda done: self._finished(full, done))
        return task

    async def _made(self, full: str) -> Image:
        def tell(text: str) -> None:
            self._progress[full] = text

        short = hub_name(full)
        if short is not None:
            return await self.build(short, tell)
        return await self.pull(full, tell, anew=False)

    def _finished(self, full: str, task: "asyncio.Task[Image]") -> None:
        del self._tasks[full]
        self._progress.pop(full, None)
        if task.cancelled():
            return
        problem = task.exception()
        if problem is not None:
            log.warning("image_not_made", image=full, reason=str(problem)[:2000])
        else:
            log.info("image_made", image=full, digest=task.result().digest)


class _Telling:
    """Progress for people, and in a file for other processes as long as it goes on."""

    def __init__(self, path: Path, tell: Tell) -> None:
        self._path = path
        self._tell = tell
        self._told = 0.0

    def __call__(self, text: str) -> None:
        self._tell(text)
        moment = time.monotonic()
        if moment - self._told > _TOLD_SECONDS:
            self._told = moment
            with contextlib.suppress(OSError):
                self._path.write_text(text)

    def read(self) -> str:
        return _read(self._path)

    def end(self) -> None:
        self._path.unlink(missing_ok=True)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
