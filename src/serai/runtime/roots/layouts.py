"""Images on this machine's disk: OCI image layouts, as directories or tar files."""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

from serai.runtime.roots import oci
from serai.runtime.roots.problems import ImageProblem
from serai.runtime.roots.store import Store
from serai.runtime.roots.unpack import MAX_BYTES, Unpacker

_NAME = "org.opencontainers.image.ref.name"


class Layout:
    """An OCI image layout in a directory, as ``oci.Blobs``.

    ``manifest("")`` is the only image in it; otherwise the tag chooses.
    """

    def __init__(self, folder: Path, shown: str) -> None:
        self._folder = folder.resolve()
        self._shown = shown
        if not (folder / "index.json").is_file():
            raise ImageProblem(f"{shown} is no OCI image layout: there is no index.json in it")

    async def manifest(self, version: str) -> bytes:
        """The index or manifest of a tag, of the only image for ``""``, or a blob by digest."""
        if version.startswith("sha256:"):
            return oci.verify(self._read(version), version, "a manifest")
        index = oci.decode(self._small(self._folder / "index.json"), oci.Index, "index")
        found = [
            each
            for each in index.manifests
            if not version or each.annotations.get(_NAME, "").rpartition(":")[2] == version
        ]
        if len(found) == 1:
            return oci.verify(self._read(found[0].digest), found[0].digest, "a manifest")
        known = sorted(name for each in index.manifests if (name := each.annotations.get(_NAME)))
        raise ImageProblem(
            f"{self._shown} holds {len(index.manifests)} images; choose one with --tag: "
            f"{', '.join(known) or 'none of them has a tag'}"
        )

    async def blob(self, descriptor: oci.Descriptor, tell: oci.Tell) -> Path:
        """The blob's file, after its bytes were verified."""
        path = self._path(descriptor.digest)
        self._require_file(path)
        try:
            found = await asyncio.to_thread(oci.file_digest, path)
        except OSError as error:
            raise ImageProblem(f"{self._shown} lacks the blob {descriptor.digest}") from error
        if f"sha256:{found}" != descriptor.digest:
            raise oci.damaged(f"a blob of {self._shown}", descriptor.digest, found)
        return path

    def release(self, path: Path) -> None:
        """The layout is not ours: everything stays."""

    def _path(self, digest: str) -> Path:
        oci.check_digest(digest)
        return self._folder / "blobs" / "sha256" / digest.removeprefix("sha256:")

    def _read(self, digest: str) -> bytes:
        return self._small(self._path(digest))

    def _require_file(self, path: Path) -> None:
        """Refuse what never ends, such as a pipe, and links to files that are not the layout's.

        Raises:
            ImageProblem: it is one.
        """
        end = path.resolve()
        if end.exists() and not (end.is_file() and end.is_relative_to(self._folder)):
            raise ImageProblem(
                f"{self._shown}: {path.name} is no file of the layout; if it is a link to another "
                "place, copy the layout with `cp -rL`"
            )

    def _small(self, path: Path) -> bytes:
        self._require_file(path)
        try:
            if path.stat().st_size > oci.MAX_MANIFEST:
                raise ImageProblem(f"{self._shown}: {path.name} is larger than 4 MiB")
            return path.read_bytes()
        except OSError as error:
            raise ImageProblem(f"{self._shown}: {path.name} cannot be read: {error}") from error


@contextlib.contextmanager
def layout_at(path: Path, store: Store) -> Iterator[Layout]:
    """A layout at a path: a directory, or a tar file that holds one.

    Raises:
        ImageProblem: there is none.
    """
    if path.is_dir():
        yield Layout(path, str(path))
        return
    if not path.is_file():
        raise ImageProblem(f"{path}: there is no such directory or file")
    with store.draft() as folder, oci.opened(path) as stream:
        Unpacker(folder, None, MAX_BYTES).run(oci.Hashing(stream))
        if (folder / "manifest.json").is_file() and not (folder / "index.json").is_file():
            raise ImageProblem(
                f"{path} is in Docker's older format; save it as an OCI archive: "
                f"skopeo copy docker-archive:{path.name} oci-archive:image.tar"
            )
        yield Layout(folder, str(path))
