"""The images of the embedded runtime, from before it has been started."""

import asyncio
import os

from serai.runtime import image as host
from serai.runtime.host import not_started
from serai.runtime.making import Making
from serai.runtime.port import ImageConfig, ImageInfo, SandboxPlan
from serai.runtime.roots.compositions import Compositions
from serai.runtime.roots.pins import Pins
from serai.runtime.roots.policy import Choice, Policy
from serai.runtime.roots.provider import Images
from serai.runtime.storage import Storage


class Library:
    """See ``port.Library``; opened when the users of sandboxes are known."""

    def __init__(self, storage: Storage, policy: Policy) -> None:
        self._storage = storage
        self._policy = policy
        self.pins = Pins(storage.root / "images" / "pins")
        self.images: Images | None = None
        self.making: Making | None = Compositions(self._opened)

    def open(self, owner: int | None) -> None:
        """Look at what is there. Blocks shortly.

        Args:
            owner: host uid that is root inside; None where everything is our own.
        """
        storage = self._storage
        images = Images(storage.root, owner, self._policy, dict(os.environ))
        images.store.prepare()
        known = storage.known() | set(storage.known_packed())
        self.pins.prepare(known, storage.known_saved())
        self.images = images

    async def close(self) -> None:
        """End what is being made."""
        if self.images is not None:
            await self.images.close()

    def references(self) -> list[str]:
        """Full references that a sandbox can name."""
        return self.images.references() if self.images is not None else host.provided()

    def infos(self) -> list[ImageInfo]:
        """See port.Library."""
        return self.images.infos() if self.images is not None else []

    async def ready(self, image: str, seconds: float) -> None:
        """See port.Library."""
        await self._opened().ready(image, seconds)

    async def config(self, image: str) -> ImageConfig:
        """See port.Library."""
        return await asyncio.to_thread(self._opened().config, image)

    async def choose(self, plan: SandboxPlan) -> Choice:
        """What the sandbox of a plan runs on; see Images.choose."""
        return await self._opened().choose(plan.image, plan.id, plan.files_from)

    def _opened(self) -> Images:
        if self.images is None:
            raise not_started()
        return self.images
