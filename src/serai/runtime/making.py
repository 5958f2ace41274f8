"""Making images of what was built: the part of a library that builds need."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import msgspec

from serai.runtime.port import ImageConfig

Tell = Callable[[str], None]
"""Takes a line of progress for people."""
BUILT, CACHED = "built", "build-cache"
"""What references of built images begin with, and those of layers that builds use again."""


class MadeLayer(msgspec.Struct, frozen=True, kw_only=True):
    """A layer that is in the store; ``size`` in bytes of its files."""

    id: str
    size: int


class MadeImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image that was made.

    Attributes:
        reference: by which the runtime knows it.
        digest: ``sha256:…`` of its content.
        size: bytes of its files, those that it shares with others too.
    """

    reference: str
    digest: str
    size: int


class Making(Protocol):
    """Makes images. Nothing of it can be named by clients, see ``roots.names.INTERNAL``."""

    def holding(self) -> AbstractContextManager[None]:
        """Keep what is made from being pruned, from its first layer to the image that has it."""

    async def identity(self, base: str) -> str:
        """Changes whenever what is built on top of a base image has to be built again.

        Raises:
            RuntimeProblem: there is no such image.
        """

    async def find(self, reference: str) -> MadeImage | None:
        """An image of that reference; asking counts as use, see ``expire``."""

    async def add_layer(self, archive: Path) -> MadeLayer:
        """A layer from a tar file, which may be anybody's.

        Raises:
            RuntimeProblem: it is not acceptable, or the disk is full; nothing is left.
        """

    async def compose(
        self, reference: str, base: str, layers: Sequence[str], config: ImageConfig, source: str
    ) -> MadeImage:
        """Name an image of another one, with more layers over it, the lowest first.

        Args:
            reference: of the new one.
            base: of the other one; what it says of how it starts stands below ``config``.
            layers: ids.
            config: how programs of the new one start.
            source: where it came from, for people.

        Raises:
            RuntimeProblem: base or layers are not there.
        """

    async def take_in(
        self, reference: str, layout: Path, tell: Tell, *, as_command: bool
    ) -> MadeImage:
        """Take an image out of an OCI layout, a directory or a tar file.

        Args:
            as_command: let its entry point be a part of its command, so that nothing starts by
                itself where the image is used.

        Raises:
            RuntimeProblem: it is damaged, for another machine, or not acceptable.
        """

    async def forget(self, reference: str) -> None:
        """Take a reference away; fine when there is none."""

    async def expire(self, seconds: float, most: int) -> None:
        """Forget layers for use again that were not asked for so long, or are too many."""

    async def prune(self) -> int:
        """Remove what nothing uses; bytes that were freed, 0 also while something is made."""
