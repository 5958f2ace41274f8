"""See ``runtime.making``: images made of layers over another image, in the store."""

import asyncio
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from serai.kernel.background import surely
from serai.kernel.clock import now, rfc3339
from serai.runtime import image as host
from serai.runtime.making import CACHED, MadeImage, MadeLayer, Tell
from serai.runtime.port import ImageConfig as Wanted
from serai.runtime.roots import oci
from serai.runtime.roots.basis import basis
from serai.runtime.roots.layouts import layout_at
from serai.runtime.roots.problems import ImageProblem
from serai.runtime.roots.provider import Images
from serai.runtime.roots.records import Image, ImageConfig, Layer
from serai.runtime.roots.store import digest_of

_INTERPRETERS = ("python3", "node")


class Compositions:
    """Makes images in the store of a library.

    Args:
        opened: the images, once the library is open; fails before.
    """

    def __init__(self, opened: Callable[[], Images]) -> None:
        self._opened = opened

    @contextmanager
    def holding(self) -> Iterator[None]:
        """See Making.holding."""
        with self._opened().store.making():
            yield

    async def identity(self, base: str) -> str:
        """See Making.identity."""
        found = await asyncio.to_thread(self._opened().current, base)
        return found.digest if found is not None else await asyncio.to_thread(_host_identity)

    async def find(self, reference: str) -> MadeImage | None:
        """See Making.find."""
        images = self._opened()
        full = images.full(reference)
        found = await asyncio.to_thread(images.store.find, full)
        if found is None:
            return None
        images.store.touch(full)
        return self._made(full, found)

    async def add_layer(self, archive: Path) -> MadeLayer:
        """See Making.add_layer."""
        return await surely(asyncio.to_thread(self._add_layer, archive))

    def _add_layer(self, archive: Path) -> MadeLayer:
        digest = oci.file_digest(archive)
        store = self._opened().store
        if not store.has_layer(digest):
            oci.add_tar(store, archive, f"sha256:{digest}")
        layer: Layer | None = store.layer(digest)
        assert layer is not None
        return MadeLayer(id=layer.id, size=layer.size)

    async def compose(
        self, reference: str, base: str, layers: Sequence[str], config: Wanted, source: str
    ) -> MadeImage:
        """See Making.compose."""
        return await asyncio.to_thread(self._compose, reference, base, layers, config, source)

    def _compose(
        self, reference: str, base: str, layers: Sequence[str], config: Wanted, source: str
    ) -> MadeImage:
        images = self._opened()
        below = images.current(base)
        known = below.config if below is not None else ImageConfig(workdir="/blaxel")
        basis(images.store)
        said = ImageConfig(
            environment={**known.environment, **config.env},
            home=known.home,
            workdir=config.workdir,
            user=config.user or known.user,
            entrypoint=config.entrypoint,
            command=config.cmd,
            ports=config.ports or known.ports,
        )
        all_layers = (*(below.layers if below is not None else ()), *layers)
        over_host = below is None or below.over_host
        image = Image(
            digest=digest_of((all_layers, said, over_host)),
            layers=all_layers,
            config=said,
            source=source,
            made_at=rfc3339(now()),
            over_host=over_host,
        )
        full = images.full(reference)
        images.store.add_image(image, full)
        return self._made(full, image)

    async def take_in(
        self, reference: str, layout: Path, tell: Tell, *, as_command: bool
    ) -> MadeImage:
        """See Making.take_in."""
        images = self._opened()
        full = images.full(reference)
        with layout_at(layout, images.store) as found:
            await asyncio.to_thread(basis, images.store)
            image = await oci.assemble(images.store, found, "", "a build", tell)
        if as_command:
            image = _as_command(image)
        await asyncio.to_thread(images.store.add_image, image, full)
        return self._made(full, image)

    async def forget(self, reference: str) -> None:
        """See Making.forget."""
        images = self._opened()
        await asyncio.to_thread(images.store.forget, images.full(reference))

    async def expire(self, seconds: float, most: int) -> None:
        """See Making.expire."""
        await asyncio.to_thread(self._expire, seconds, most)

    def _expire(self, seconds: float, most: int) -> None:
        store = self._opened().store
        names = [name for name in store.names() if name.startswith(f"{CACHED}/")]
        used = sorted(((store.used_at(name), name) for name in names), reverse=True)
        oldest = time.time() - seconds
        for number, (used_at, name) in enumerate(used):
            if number >= most or used_at < oldest:
                store.forget(name)

    async def prune(self) -> int:
        """See Making.prune."""
        try:
            return await surely(asyncio.to_thread(self._opened().prune))
        except ImageProblem:
            return 0

    def _made(self, reference: str, image: Image) -> MadeImage:
        size = self._opened().store.size(image)
        return MadeImage(reference=reference, digest=image.digest, size=size)


def _as_command(image: Image) -> Image:
    started = image.config
    config = msgspec.structs.replace(
        started, entrypoint=(), command=(*started.entrypoint, *started.command)
    )
    digest = digest_of((image.digest, config))
    return msgspec.structs.replace(image, config=config, digest=digest)


def _host_identity() -> str:
    """Of the programs that decide what an installation on the host's own files looks like."""
    whole = hashlib.sha256(host.python_prefix().encode())
    for name in _INTERPRETERS:
        for part in ("local/bin", "bin"):
            path = os.path.realpath(f"/usr/{part}/{name}")
            if os.path.exists(path):
                found = os.stat(path)
                whole.update(f"{path} {found.st_size} {found.st_mtime_ns}".encode())
    return f"host:{whole.hexdigest()}"
