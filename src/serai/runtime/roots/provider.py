"""Which image a sandbox gets.

A hub name is answered by the image that was built for it; with the setting ``auto`` also, until
there is one, by the host's own files where those can honestly stand for it.
"""

import asyncio
import shlex
from collections.abc import Sequence
from pathlib import Path

from serai.runtime import image as host
from serai.runtime.port import ImageConfig, ImageInfo
from serai.runtime.roots.basis import basis
from serai.runtime.roots.credentials import Logins
from serai.runtime.roots.maker import Maker
from serai.runtime.roots.names import (
    hub_name,
    hub_reference,
    is_internal,
    local_reference,
    place_of,
)
from serai.runtime.roots.pins import Pins
from serai.runtime.roots.policy import Choice, Policy
from serai.runtime.roots.problems import ImageNotReady, ImageProblem, UnknownImage
from serai.runtime.roots.recipes import Recipes
from serai.runtime.roots.records import Image, Pin
from serai.runtime.roots.records import ImageConfig as Said
from serai.runtime.roots.store import Store

CHOOSE_SECONDS = 45.0


class Images:
    """The images of one data directory.

    Args:
        data_dir: holds the store, and ``registries.json`` with credentials.
        owner: host uid that is root inside; None where everything is our own.
        environ: where Docker's credentials are looked for.
        recipes: those of the hub's names when absent.
    """

    def __init__(
        self,
        data_dir: Path,
        owner: int | None,
        policy: Policy,
        environ: dict[str, str],
        recipes: Recipes | None = None,
    ) -> None:
        self.store = Store(data_dir / "images", owner)
        self.recipes = recipes or Recipes()
        self.policy = policy
        self.maker = Maker(self.store, self.recipes, policy, Logins.usual(data_dir, environ))
        self.pins = Pins(data_dir / "images" / "pins")

    async def close(self) -> None:
        """End what is being made."""
        await self.maker.close()

    def references(self) -> list[str]:
        """Full references that a sandbox can name: there now, or made on first use."""
        hub = [hub_reference(name) for name in self._hub_names()]
        others = (name for name in self.store.names() if not is_internal(name))
        return [*hub, *(name for name in others if name not in hub)]

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

    async def choose(
        self, reference: str, sandbox_id: str, files_from: Sequence[str] = ()
    ) -> Choice:
        """What a sandbox runs on, from now on until its files are removed.

        Saved files, from which it may start, belong to the image of the sandbox they are of.

        Raises:
            UnknownImage: there is no such image here.
            ImageNotReady: it is being made, which takes long.
            ImageProblem: the one that its files belong to is gone, or it cannot be made.
        """
        try:
            return await asyncio.to_thread(self._take, reference, sandbox_id, files_from)
        except _NotMade:
            await self.ready(reference, CHOOSE_SECONDS)
            return await asyncio.to_thread(self._take, reference, sandbox_id, files_from)

    async def ready(self, reference: str, seconds: float) -> None:
        """Return when the image is there, made if need be.

        Raises:
            UnknownImage: it cannot be had here.
            ImageProblem: making it failed.
            ImageNotReady: ``seconds`` passed; it is still being made.
        """
        if await asyncio.to_thread(self._is_there, reference):
            return
        full = self.full(reference)
        task = self.maker.begin(full)
        await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            raise ImageNotReady(full, self.maker.progress(full) or "waiting for its turn")
        if task.cancelled():
            raise ImageProblem(f"image {full} was not made: the server is stopping")
        task.result()

    def config(self, reference: str) -> ImageConfig:
        """How the program of an image that is here starts; the host's own files say nothing.

        An image whose only program is a service of its sandboxes starts that.

        Raises:
            UnknownImage: it cannot be had here.
            ImageNotReady: it has to be made first.
        """
        found = self.current(reference)
        if found is None:
            return ImageConfig()
        said = found.config
        return ImageConfig(
            entrypoint=said.entrypoint,
            cmd=said.command or _service(said),
            env=said.environment,
            workdir=said.workdir,
            user=said.user,
            ports=said.ports,
        )

    def prune(self) -> int:
        """Remove what no name and no sandbox refers to; bytes that were freed."""
        return self.store.prune(self.pins.digests)

    def _take(self, reference: str, sandbox_id: str, files_from: Sequence[str]) -> Choice:
        pin = self.pins.find(sandbox_id)
        if pin is not None:
            return self._pinned(pin)
        with self.store.making():
            for each in files_from:
                if (pin := self.pins.find(each, saved=True)) is not None:
                    self.pins.put(sandbox_id, pin)
                    return self._pinned(pin)
            found = self.current(reference)
            digest = found.digest if found is not None else ""
            self.pins.put(sandbox_id, Pin(reference=reference, digest=digest))
            return self._choice(found)

    def _is_there(self, reference: str) -> bool:
        try:
            self.current(reference)
        except _NotMade:
            return False
        return True

    def current(self, reference: str) -> Image | None:
        """The image that a reference means now; None for the host's own files.

        Raises:
            UnknownImage: it cannot be had here.
            ImageNotReady: it can be made.
        """
        try:
            full = self.full(reference)
        except ImageProblem as problem:
            raise self._unknown(str(problem)) from problem
        is_hub = hub_name(full) in self.recipes.names()
        found = None if is_hub and self.policy.source == "host" else self.store.find(full)
        if found is not None:
            return found
        if is_hub and self.policy.source != "built" and full in host.provided():
            return None
        if is_hub and self.policy.source == "host":
            raise self._unknown(f"image {reference!r} is not made of this host's files")
        place = place_of(full)
        if is_hub or self.policy.allows(full):
            raise _NotMade(full, "not begun")
        if place is not None:
            raise self._unknown(
                f"images are not pulled from {place.registry}; the setting image_registries names "
                f"{', '.join(self.policy.registries) or 'no registry'}"
            )
        why = self.recipes.unavailable().get(hub_name(full) or "")
        raise self._unknown(why or f"there is no image {reference!r}")

    def _unknown(self, why: str) -> UnknownImage:
        known = self.references()
        return UnknownImage(f"{why}; available: {', '.join(known)}", known)

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
        if found.over_host:
            over = tuple(map(self.store.as_saved, reversed(found.layers)))
            return Choice(over=over, config=found.config)
        layers = (*reversed(found.layers), basis(self.store))
        return Choice(layers=tuple(map(self.store.path, layers)), config=found.config)

    def _info(self, reference: str, digest: str) -> ImageInfo:
        progress = self.maker.progress(reference)
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


class _NotMade(ImageNotReady):
    """The image can be had, but has to be made first."""


def _service(said: Said) -> tuple[str, ...]:
    """The command of the only service of an image that names no other program."""
    if said.entrypoint or len(said.services) != 1:
        return ()
    service = said.services[0]
    return "/bin/sh", "-c", f"cd {shlex.quote(service.working_dir)} && {service.command}"
