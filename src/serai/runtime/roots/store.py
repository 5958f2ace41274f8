"""The content-addressed store of images in the data directory.

Layout: ``layers/<sha256>/fs`` with ``layer.json`` beside it, ``images/<sha256>.json``, and
``names/<quoted reference>`` holding a digest. Everything is made aside, flushed to the disk and
renamed into place, so that what has a name is whole, whenever the machine stops. Several
processes may use a store: makers hold its lock together, pruning alone.
"""

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, unquote

import msgspec

from serai.runtime import linux
from serai.runtime.roots.problems import ImageProblem
from serai.runtime.roots.records import Image, Layer
from serai.runtime.trees import delete_tree


class Store:
    """Images below ``folder``.

    Args:
        folder: made when missing.
        owner: host uid that is root inside; None where everything is our own.
    """

    def __init__(self, folder: Path, owner: int | None) -> None:
        self.folder = folder
        self.owner = owner
        self.user_xattr = owner is None
        self._layers = folder / "layers"
        self._images = folder / "images"
        self._names = folder / "names"
        self.drafts = folder / "drafts"
        self.building = folder / "building"
        self.parts = folder / "parts"

    def prepare(self) -> None:
        """Make the directories."""
        for each in (
            self._layers,
            self._images,
            self._names,
            self.drafts,
            self.building,
            self.parts,
        ):
            each.mkdir(parents=True, exist_ok=True, mode=0o700)

    # Reading

    def find(self, reference: str) -> Image | None:
        """The image that a full reference names now."""
        try:
            digest = self._name(reference).read_text()
        except OSError:
            return None
        return self.image(digest)

    def image(self, digest: str) -> Image | None:
        """The image of that digest, if it is whole."""
        try:
            found = msgspec.json.decode(self._image(digest).read_bytes(), type=Image)
        except (OSError, msgspec.DecodeError):
            return None
        return found if all(self.has_layer(each) for each in found.layers) else None

    def names(self) -> dict[str, str]:
        """Digests by reference."""
        paths = sorted(self._names.iterdir()) if self._names.exists() else []
        found = {}
        for path in paths:
            if not path.name.startswith(".draft-"):
                with contextlib.suppress(OSError):
                    found[unquote(path.name)] = path.read_text()
        return found

    def size(self, image: Image) -> int:
        """Bytes of all its layers, those that it shares with others too."""
        return sum(layer.size for each in image.layers if (layer := self.layer(each)) is not None)

    def total(self) -> int:
        """Bytes of every layer."""
        known = (self.layer(path.name) for path in self._layers.iterdir())
        return sum(layer.size for layer in known if layer is not None)

    def has_layer(self, layer_id: str) -> bool:
        """Whether that layer is here, whole."""
        return (self._layers / layer_id / "layer.json").exists()

    def path(self, layer_id: str) -> str:
        """Directory of a layer's files."""
        return str(self._layers / layer_id / "fs")

    def as_saved(self, layer_id: str) -> str:
        """A layer in the form of a set of saved files, which can lie over any others."""
        upper = self._layers / layer_id / "layers" / "root" / "upper"
        if not upper.is_symlink():
            upper.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                upper.symlink_to("../../fs")
        return str(self._layers / layer_id)

    # Making

    @contextlib.contextmanager
    def making(self) -> Iterator[None]:
        """Hold the store against pruning while something is made or taken into use."""
        with self._locked(fcntl.LOCK_SH):
            yield

    @contextlib.contextmanager
    def draft(self) -> Iterator[Path]:
        """A new directory for something half made; it is gone afterwards, whatever happens."""
        folder = self.drafts / os.urandom(8).hex()
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            _remove(folder)

    def add_layer(self, layer: Layer, tree: Path) -> None:
        """Take ``tree``, a directory of this file system, as that layer. May be repeated."""
        if self.has_layer(layer.id):
            return
        with self.draft() as folder:
            ready = folder / layer.id
            ready.mkdir(mode=0o755)
            tree.rename(ready / "fs")
            (ready / "layer.json").write_bytes(msgspec.json.encode(layer))
            linux.sync_file_system(ready)
            try:
                ready.rename(self._layers / layer.id)
            except OSError:
                if not self.has_layer(layer.id):
                    raise
        _flush(self._layers)

    def add_image(self, image: Image, *references: str) -> None:
        """Keep an image whose layers are all here, and let the references name it from now on."""
        missing = [each for each in image.layers if not self.has_layer(each)]
        if missing:
            raise ImageProblem(f"image {image.digest}: layer {missing[0]} is not in the store")
        _write(self._image(image.digest), msgspec.json.encode(image))
        for reference in references:
            _write(self._name(reference), image.digest.encode())

    def used_at(self, reference: str) -> float:
        """When a reference was last made or taken, in seconds since 1970; 0 when there is none."""
        try:
            return self._name(reference).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def touch(self, reference: str) -> None:
        """Note that a reference was taken just now."""
        with contextlib.suppress(FileNotFoundError):
            os.utime(self._name(reference))

    def forget(self, reference: str) -> bool:
        """Take a reference away; its image stays until it is pruned."""
        try:
            self._name(reference).unlink()
        except FileNotFoundError:
            return False
        return True

    def prune(self, used: Callable[[], set[str]]) -> int:
        """Remove images without a name whose digest is not ``used``, and layers of no image.

        Returns:
            Bytes that were freed.

        Raises:
            ImageProblem: something is being made right now.
        """
        with self._locked(fcntl.LOCK_EX | fcntl.LOCK_NB):
            keep = used() | set(self.names().values())
            for path in self._images.iterdir():
                if f"sha256:{path.stem}" not in keep:
                    path.unlink()
            images = [self.image(f"sha256:{path.stem}") for path in self._images.iterdir()]
            wanted = {each for image in images if image is not None for each in image.layers}
            freed = sum(
                self._drop(path) for path in self._layers.iterdir() if path.name not in wanted
            )
            for path in self.drafts.iterdir():
                _remove(path)
            for path in self.parts.iterdir():
                freed += path.stat().st_size
                path.unlink()
            return freed

    def _drop(self, path: Path) -> int:
        layer = self.layer(path.name)
        with self.draft() as folder:
            path.rename(folder / path.name)
        return layer.size if layer is not None else 0

    @contextlib.contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        descriptor = os.open(self.folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, how)
            except BlockingIOError as error:
                raise ImageProblem(
                    "an image is being built or pulled; prune again when that is over"
                ) from error
            yield
        finally:
            os.close(descriptor)

    def layer(self, layer_id: str) -> Layer | None:
        """What is kept of a layer, if it is whole."""
        try:
            data = (self._layers / layer_id / "layer.json").read_bytes()
            return msgspec.json.decode(data, type=Layer)
        except (OSError, msgspec.DecodeError):
            return None

    def _image(self, digest: str) -> Path:
        return self._images / f"{digest.removeprefix('sha256:')}.json"

    def _name(self, reference: str) -> Path:
        quoted = quote(reference, safe="")
        if len(quoted) > 240:
            raise ImageProblem(f"image name {reference[:60]!r}… is longer than 240 characters")
        return self._names / quoted


def digest_of(value: object) -> str:
    """``sha256:…`` of a value's JSON."""
    return f"sha256:{hashlib.sha256(msgspec.json.encode(value, order='sorted')).hexdigest()}"


def once(path: Path, *, wait: bool) -> "Callable[[], None] | None":
    """Be the only process that does what the file ``path`` stands for.

    Returns:
        What ends it; None when another process does it and we are not to wait.
    """
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(descriptor)
        return None
    return lambda: os.close(descriptor)


def _remove(folder: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        delete_tree(folder)
        folder.rmdir()


def _write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    draft = path.with_name(f".draft-{os.urandom(6).hex()}")
    try:
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    _flush(path.parent)


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
