"""Which image a sandbox gets, and making those that are not there yet.

A hub name is answered by the image that was built for it; with the setting ``auto`` also, until
there is one, by the host's own files where those can honestly stand for it. Everything that must
be made first is made once, however many ask, and goes on when they have stopped waiting.
"""

import asyncio
import contextlib
import shlex
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import structlog

from serai.kernel.clock import parse_rfc3339
from serai.runtime import image as host
from serai.runtime.port import ImageInfo
from serai.runtime.roots.basis import basis
from serai.runtime.roots.builder import Builder
from serai.runtime.roots.credentials import Logins
from serai.runtime.roots.layouts import layout_at
from serai.runtime.roots.names import hub_name, hub_reference, local_reference, place_of
from serai.runtime.roots.oci import Tell, assemble
from serai.runtime.roots.problems import ImageNotReady, ImageProblem, UnknownImage
from serai.runtime.roots.recipes import Recipes
from serai.runtime.roots.records import Image, ImageConfig, Pin
from serai.runtime.roots.registry import Registry
from serai.runtime.roots.store import Store, once, read_pin

log = structlog.get_logger("serai")
REGISTRIES = ("docker.io", "ghcr.io", "quay.io")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TOLD_SECONDS = 0.5
_LOOK_SECONDS = 1.0


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What a sandbox runs on; without layers on the host's own files."""

    layers: tuple[str, ...] = ()
    config: ImageConfig = ImageConfig(workdir="/blaxel")

    def environment(self, hostname: str) -> dict[str, str]:
        """Variables every process starts with, before the sandbox's own."""
        if not self.layers:
            return host.environment(hostname)
        usual = {"PATH": _PATH, "HOME": self.config.home or "/root", "USER": "root"}
        return {**usual, "HOSTNAME": hostname, "LANG": "C.UTF-8", **self.config.environment}

    def services(self) -> tuple[dict[str, Any], ...]:
        """What the sandbox starts by itself: the services of a recipe, or an entry point.

        An entry point that is the API of the hosted service is left out: ours is there already.
        """
        found = [msgspec.to_builtins(service) for service in self.config.services]
        entry = self.config.entrypoint
        if entry and not entry[0].endswith("/sandbox-api"):
            command = shlex.join((*entry, *self.config.command))
            place = {"working_dir": self.config.workdir, "ports": [], "restarts": 0}
            found.append({"name": "entrypoint", "command": command, **place})
        return tuple(found)


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The operator's settings.

    Attributes:
        source: ``auto``, ``built`` or ``host``; see the module.
        registries: hosts that images are pulled from for whoever asks; ``*`` for every host;
            with ``http://`` before it a host is spoken to without TLS.
        mirror: a Debian mirror for builds.
    """

    source: str = "auto"
    registries: tuple[str, ...] = REGISTRIES
    mirror: str = ""

    def allows(self, reference: str) -> bool:
        """Whether a reference names an image in a registry that sandboxes may be made of."""
        try:
            place = place_of(reference)
        except ImageProblem:
            return False
        allowed = {each.removeprefix("http://") for each in self.registries}
        return place is not None and bool({"*", place.registry} & allowed)


class Images:
    """The images of one data directory.

    Args:
        data_dir: holds the store, and ``registries.json`` with credentials.
        owner: host uid that is root inside; None where everything is our own.
        environ: where Docker's credentials are looked for.
    """

    def __init__(
        self, data_dir: Path, owner: int | None, policy: Policy, environ: dict[str, str]
    ) -> None:
        self.store = Store(data_dir / "images", owner)
        self.recipes = Recipes()
        self.policy = policy
        self._sandboxes = data_dir / "sandboxes"
        self._builder = Builder(self.store, self.recipes, policy.mirror)
        self._logins = Logins.usual(data_dir, environ)
        self._tasks: dict[str, asyncio.Task[Image]] = {}
        self._progress: dict[str, str] = {}
        self._turn = asyncio.Semaphore(1)

    async def close(self) -> None:
        """End what is being made; it begins anew with what was finished of it."""
        for task in self._tasks.values():
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks.values())

    # What there is

    def references(self) -> list[str]:
        """Full references that a sandbox can name: there now, or made on first use."""
        hub = [hub_reference(name) for name in self._hub_names()]
        return [*hub, *(name for name in self.store.names() if name not in hub)]

    def infos(self) -> list[ImageInfo]:
        """Everything there is and could be."""
        names = self.store.names()
        return [self._info(each, names.get(each, "")) for each in self.references()]

    def full(self, reference: str) -> str:
        """The full form of a reference.

        Raises:
            ImageProblem: it is none.
        """
        short = hub_name(reference)
        if short is not None and self.recipes.find(short) is not None:
            return hub_reference(short)
        place = place_of(reference)
        return str(place) if place is not None else local_reference(reference)

    def take(self, reference: str, directory: Path) -> Choice:
        """What the sandbox in ``directory`` runs on, from now on until its files are removed.

        Raises:
            UnknownImage: there is no such image here.
            ImageProblem: the one that its files belong to is gone.
        """
        pin = read_pin(directory)
        if pin is not None:
            return self._pinned(pin)
        with self.store.making():
            found = self._current(reference)
            directory.mkdir(parents=True, exist_ok=True)
            digest = found.digest if found is not None else ""
            self.store.pin(directory, Pin(reference=reference, digest=digest))
            return self._choice(found)

    def prune(self) -> int:
        """Remove what no name and no sandbox refers to; bytes that were freed."""
        return self.store.prune(self._used)

    async def ready(self, reference: str, seconds: float) -> None:
        """Return when the image is there, made if need be.

        Raises:
            UnknownImage: it cannot be had here.
            ImageProblem: making it failed.
            ImageNotReady: ``seconds`` passed; it is still being made.
        """
        try:
            if await asyncio.to_thread(self._is_there, reference):
                return
            full = self.full(reference)
        except ImageProblem as problem:
            raise UnknownImage(str(problem)) from problem
        task = self._make(full)
        await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            raise ImageNotReady(full, self._progress.get(full, "waiting"))
        task.result()

    # Making

    async def build(self, name: str, tell: Tell, *, anew: bool = False) -> Image:
        """Build the image of a hub name.

        Raises:
            UnknownImage: there is no recipe for it.
            ImageProblem: it failed.
        """
        recipe = self.recipes.find(name)
        if recipe is None:
            raise UnknownImage(
                f"there is no recipe {name!r}; there are: {', '.join(self.recipes.names())}"
            )
        full = hub_reference(name)

        async def make(tell: Tell) -> Image:
            async with self._turn:
                return await self._builder.build(recipe, tell, anew=anew)

        return await self._alone(full, make, tell, anew=anew)

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
            plain = f"http://{place.registry}" in self.policy.registries
            parts = self.store.folder / "parts"
            async with Registry(place, parts, self._logins, plain=plain) as registry:
                with self.store.making():
                    await asyncio.to_thread(basis, self.store)
                    return await assemble(self.store, registry, place.version, str(place), tell)

        return await self._alone(str(place), make, tell, anew=anew)

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
            with self.store.making(), layout_at(path, self.store) as layout:
                await asyncio.to_thread(basis, self.store)
                return await assemble(self.store, layout, tag, f"imported from {path.name}", tell)

        return await self._alone(full, make, tell, anew=True)

    async def _alone(
        self,
        full: str,
        make: Callable[[Tell], Coroutine[Any, Any, Image]],
        tell: Tell,
        *,
        anew: bool,
    ) -> Image:
        """Make an image unless another process does; then wait for what it makes."""
        file = self.store.building / quote(full, safe="")
        telling = _Telling(file.with_suffix(".progress"), tell)
        began = time.time()
        while (release := once(file.with_suffix(".lock"), wait=False)) is None:
            telling(f"another process is making it: {telling.read()}")
            await asyncio.sleep(_LOOK_SECONDS)
        try:
            found = self.store.find(full)
            if found is not None and (not anew or self._is_newer(found, began)):
                return found
            made = await make(telling)
            self.store.add_image(made, full)
            return made
        finally:
            telling.end()
            release()

    @staticmethod
    def _is_newer(image: Image, began: float) -> bool:
        return parse_rfc3339(image.made_at).timestamp() >= began

    def _make(self, full: str) -> "asyncio.Task[Image]":
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

    # Choosing

    def _is_there(self, reference: str) -> bool:
        try:
            self._current(reference)
        except _NotMade:
            return False
        return True

    def _current(self, reference: str) -> Image | None:
        """The image that a reference means now; None for the host's own files.

        Raises:
            UnknownImage: it cannot be had here.
            _NotMade: it can be made.
        """
        try:
            full = self.full(reference)
        except ImageProblem as problem:
            raise UnknownImage(str(problem)) from problem
        is_hub = hub_name(full) in self.recipes.names()
        found = None if is_hub and self.policy.source == "host" else self.store.find(full)
        if found is not None:
            return found
        if is_hub and self.policy.source != "built" and full in host.provided():
            return None
        if is_hub and self.policy.source == "host":
            raise UnknownImage(self._unknown(reference))
        place = place_of(full)
        if is_hub or self.policy.allows(full):
            raise _NotMade(f"image {full} is not here yet")
        if place is not None:
            raise UnknownImage(
                f"image {reference!r}: images are not pulled from {place.registry}; the setting "
                f"image_registries allows {', '.join(self.policy.registries) or 'none'}"
            )
        raise UnknownImage(self._unknown(reference))

    def _unknown(self, reference: str) -> str:
        return f"image {reference!r} cannot be provided; use one of: {', '.join(self.references())}"

    def _hub_names(self) -> list[str]:
        if self.policy.source != "host":
            return self.recipes.names()
        return [name for name in self.recipes.names() if hub_reference(name) in host.provided()]

    def _pinned(self, pin: Pin) -> Choice:
        if not pin.digest:
            return Choice()
        found = self.store.image(pin.digest)
        if found is None:
            raise ImageProblem(
                f"the image {pin.reference} ({pin.digest[:19]}…) that this sandbox runs on is not "
                "in the store any more; create the sandbox again"
            )
        return self._choice(found)

    def _choice(self, found: Image | None) -> Choice:
        if found is None:
            return Choice()
        layers = (*reversed(found.layers), basis(self.store))
        return Choice(layers=tuple(map(self.store.path, layers)), config=found.config)

    def _used(self) -> set[str]:
        folders = self._sandboxes.iterdir() if self._sandboxes.exists() else ()
        pins = (read_pin(folder) for folder in folders)
        return {pin.digest for pin in pins if pin is not None and pin.digest}

    def _info(self, reference: str, digest: str) -> ImageInfo:
        path = self.store.building / quote(reference, safe="")
        progress = self._progress.get(reference) or _read(path.with_suffix(".progress"))
        found = self.store.image(digest) if digest else None
        if found is not None:
            return ImageInfo(
                reference=reference,
                state="built",
                digest=digest,
                size=self.store.size(found),
                source=found.source,
                made_at=found.made_at,
                progress=progress,
            )
        here = self.policy.source != "built" and reference in host.provided()
        state = "building" if progress else "host" if here else "available"
        return ImageInfo(reference=reference, state=state, progress=progress)


class _NotMade(Exception):
    """The image can be had, but has to be made first."""


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
