"""OCI and Docker images: manifests, platforms, configurations, and layers into the store."""

import asyncio
import contextlib
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Protocol

import msgspec

from serai.kernel.background import surely
from serai.kernel.clock import now, rfc3339
from serai.runtime import linux
from serai.runtime.roots.problems import ImageProblem
from serai.runtime.roots.records import Image, ImageConfig, Layer
from serai.runtime.roots.store import Store
from serai.runtime.roots.unpack import MAX_BYTES, Unpacker

INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
MAX_MANIFEST = 4 << 20
MAX_LAYERS = 127
DOWNLOADS = 3
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Descriptor(msgspec.Struct, kw_only=True, rename="camel"):
    """What points to a blob: its digest, its bytes, what it is."""

    digest: str
    size: int
    media_type: str = ""
    platform: dict[str, Any] = {}
    annotations: dict[str, str] = {}
    urls: list[str] = []


class Index(msgspec.Struct, kw_only=True):
    """Manifests by platform."""

    manifests: list[Descriptor]


class Manifest(msgspec.Struct, kw_only=True):
    """One image: its configuration and its layers, the lowest first."""

    config: Descriptor
    layers: list[Descriptor]


class _Started(msgspec.Struct, kw_only=True, rename="pascal"):
    env: list[str] | None = None
    working_dir: str | None = None
    user: str | None = None
    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    exposed_ports: dict[str, Any] | None = None


class _RootFiles(msgspec.Struct, kw_only=True):
    diff_ids: list[str] = []


class _Configuration(msgspec.Struct, kw_only=True):
    architecture: str = ""
    os: str = ""
    config: _Started | None = None
    rootfs: _RootFiles = msgspec.field(default_factory=_RootFiles)


class Blobs(Protocol):
    """Where an image's parts come from."""

    async def manifest(self, version: str) -> bytes:
        """A manifest or index by tag or digest; by digest it is verified."""

    async def blob(self, descriptor: Descriptor, tell: "Tell") -> Path:
        """A verified file with the blob's bytes."""

    def release(self, path: Path) -> None:
        """The file that ``blob`` answered is not needed any more."""


Tell = Callable[[str], None]
"""Takes a line of progress for people."""


async def assemble(store: Store, blobs: Blobs, version: str, source: str, tell: Tell) -> Image:
    """Bring an image into the store, layer by layer; the caller holds it and names the image.

    Raises:
        ImageProblem: a part is missing, damaged, for another machine, or not acceptable.
    """
    data = await blobs.manifest(version)
    for _ in range(3):
        if (chosen := _for_this_machine(data, source)) is None:
            break
        data = await blobs.manifest(chosen)
    manifest = decode(data, Manifest, "manifest")
    if len(manifest.layers) > MAX_LAYERS:
        raise ImageProblem(f"{source} has {len(manifest.layers)} layers; at most {MAX_LAYERS}")
    _check_sizes(manifest, source)
    config = decode(await _small(blobs, manifest.config, tell), _Configuration, "configuration")
    _check_machine(config, source)
    ids = config.rootfs.diff_ids
    if len(ids) != len(manifest.layers) or not all(_DIGEST.fullmatch(each) for each in ids):
        raise ImageProblem(f"the configuration of {source} does not list its layers")
    await _bring(store, blobs, list(zip(manifest.layers, ids, strict=True)), tell)
    return Image(
        digest=f"sha256:{hashlib.sha256(data).hexdigest()}",
        layers=tuple(each.removeprefix("sha256:") for each in ids),
        config=_image_config(config),
        source=source,
        made_at=rfc3339(now()),
    )


def decode(data: bytes, kind: type[Any], what: str) -> Any:
    """A JSON document of an image.

    Raises:
        ImageProblem: it is none.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ImageProblem(f"the image's {what} cannot be read: {error}") from error


def verify(data: bytes, digest: str, what: str) -> bytes:
    """``data`` itself when it has that digest.

    Raises:
        ImageProblem: it has another, or the digest is of a kind that we do not know.
    """
    check_digest(digest)
    found = hashlib.sha256(data).hexdigest()
    if f"sha256:{found}" != digest:
        raise damaged(what, digest, found)
    return data


def check_digest(digest: str) -> None:
    """Refuse what is no SHA-256 digest: it also becomes a file's name.

    Raises:
        ImageProblem: saying so.
    """
    if not _DIGEST.fullmatch(digest):
        raise ImageProblem(f"digest {digest[:80]!r} is not sha256 and 64 hexadecimal digits")


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def damaged(what: str, wanted: str, found: str) -> ImageProblem:
    """What to say of a part that is not what its digest promises."""
    return ImageProblem(
        f"{what} is damaged: it should have the digest {wanted}, but has sha256:{found}; "
        "nothing of it was kept"
    )


def _for_this_machine(data: bytes, source: str) -> str | None:
    """Digest of the manifest for this machine in an index; None when ``data`` is a manifest."""
    head = decode(data, dict[str, Any], "manifest")
    if head.get("mediaType") not in INDEXES and "manifests" not in head:
        return None
    index: Index = decode(data, Index, "index")
    wanted = architecture()
    plain = [
        each for each in index.manifests if not each.annotations.get("vnd.docker.reference.type")
    ]
    for each in plain:
        if (each.platform.get("os"), each.platform.get("architecture")) == ("linux", wanted):
            return each.digest
    if len(plain) == 1 and not plain[0].platform:
        return plain[0].digest
    offered = sorted(
        f"{each.platform.get('os', '?')}/{each.platform.get('architecture', '?')}" for each in plain
    )
    raise ImageProblem(
        f"{source} is not made for linux/{wanted}; it is for: {', '.join(offered) or 'nothing'}"
    )


def architecture() -> str:
    """This machine's architecture as registries call it."""
    return _ARCHITECTURES.get(linux.machine(), linux.machine())


def _check_sizes(manifest: Manifest, source: str) -> None:
    """Refuse an image that would fill the disk before anything of it is known to be wrong."""
    sizes = [each.size for each in (manifest.config, *manifest.layers)]
    if min(sizes) < 0:
        raise ImageProblem(f"the manifest of {source} promises a part of {min(sizes)} bytes")
    if sum(sizes) > MAX_BYTES:
        raise ImageProblem(
            f"{source} has {sum(sizes) >> 20} MiB of layers; at most {MAX_BYTES >> 20} MiB"
        )


def _check_machine(config: _Configuration, source: str) -> None:
    if (config.os or "linux", config.architecture or architecture()) != ("linux", architecture()):
        raise ImageProblem(
            f"{source} is made for {config.os}/{config.architecture}; this machine runs "
            f"linux/{architecture()}"
        )


async def _small(blobs: Blobs, descriptor: Descriptor, tell: Tell) -> bytes:
    if descriptor.size > MAX_MANIFEST:
        raise ImageProblem(f"the image's configuration has {descriptor.size} bytes")
    path = await blobs.blob(descriptor, tell)
    try:
        return path.read_bytes()
    finally:
        blobs.release(path)


async def _bring(
    store: Store, blobs: Blobs, layers: list[tuple[Descriptor, str]], tell: Tell
) -> None:
    """Download what is missing, a few layers at a time, and unpack it in order."""
    turn = asyncio.Semaphore(DOWNLOADS)

    async def download(descriptor: Descriptor, tell: Tell) -> Path:
        async with turn:
            return await blobs.blob(descriptor, tell)

    missing = {  # by layer: the same one may be there twice
        diff_id: descriptor
        for descriptor, diff_id in layers
        if not store.has_layer(diff_id.removeprefix("sha256:"))
    }
    downloads = {}
    left = MAX_BYTES  # of all layers together
    for number, (diff_id, descriptor) in enumerate(missing.items(), 1):
        part = f"layer {number} of {len(missing)}"
        downloads[diff_id] = asyncio.create_task(download(descriptor, _prefixed(tell, part)))
    try:
        for number, (diff_id, task) in enumerate(downloads.items(), 1):
            path = await task
            tell(f"layer {number} of {len(missing)}: unpacking")
            left -= await surely(asyncio.to_thread(add_tar, store, path, diff_id, left))
    finally:
        for task in downloads.values():
            task.cancel()
        for done in await asyncio.gather(*downloads.values(), return_exceptions=True):
            if isinstance(done, Path):
                blobs.release(done)


def _prefixed(tell: Tell, prefix: str) -> Tell:
    return lambda text: tell(f"{prefix}: {text}")


def add_tar(store: Store, path: Path, diff_id: str, max_bytes: int = MAX_BYTES) -> int:
    """Unpack a layer's file, compressed or not, into the store; answers the bytes of its files.

    Raises:
        ImageProblem: it is damaged, not acceptable, or the disk is full.
    """
    with store.draft() as folder, opened(path) as stream:
        tree = folder / "fs"
        tree.mkdir(mode=0o755)
        unpacker = Unpacker(tree, store.owner, max_bytes)
        hashing = Hashing(stream)
        unpacker.run(hashing)
        found = hashing.digest()
        if f"sha256:{found}" != diff_id:
            raise damaged("a layer", diff_id, found)
        layer = Layer(id=found, size=unpacker.size, entries=unpacker.entries)
        store.add_layer(layer, tree)
        return unpacker.size


class Hashing:
    """Reads another stream and its digest; ``digest()`` first reads the rest."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self._count = 0

    def read(self, size: int = -1, /) -> bytes:
        """Up to ``size`` bytes; empty at the end."""
        try:
            data = self._stream.read(size)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ImageProblem(f"the layer cannot be decompressed: {error}") from error
        self._hash.update(data)
        self._count += len(data)
        if self._count > 2 * MAX_BYTES:
            raise ImageProblem("the layer grows without end when it is decompressed")
        return data

    def digest(self) -> str:
        """SHA-256 of all of it, in hexadecimal."""
        while self.read(1 << 20):
            pass
        return self._hash.hexdigest()


@contextlib.contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A layer's file as uncompressed bytes: gzip, zstd, or as it is."""
    with path.open("rb") as file:
        magic = file.read(4)
        file.seek(0)
        if magic[:2] == b"\x1f\x8b":
            with gzip.open(file) as plain:
                yield plain  # type: ignore[misc]
        elif magic == b"\x28\xb5\x2f\xfd":
            with _zstd(file) as plain_zstd:
                yield plain_zstd
        else:
            yield file


@contextlib.contextmanager
def _zstd(file: IO[bytes]) -> Iterator[IO[bytes]]:
    program = shutil.which("zstd")
    if program is None:
        raise ImageProblem(
            "the image's layers are compressed with zstd, and this machine has no `zstd` program; "
            "install it (on Debian and Ubuntu: apt-get install zstd)"
        )
    os.lseek(file.fileno(), 0, os.SEEK_SET)  # what we have looked at is in our buffer
    with subprocess.Popen(
        [program, "-dcq", "--memory=128MB"],
        stdin=file,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"PATH": os.defpath},
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout
            if process.wait() != 0:
                raise ImageProblem("the layer cannot be decompressed: zstd says that it is damaged")
        finally:
            process.kill()


def _image_config(configuration: _Configuration) -> ImageConfig:
    started = configuration.config or _Started()
    environment = dict(
        entry.split("=", 1) for entry in started.env or [] if "=" in entry and "\0" not in entry
    )
    ports = (text.partition("/")[0] for text in started.exposed_ports or {})
    workdir = started.working_dir or "/"
    return ImageConfig(
        environment=environment,
        home=environment.get("HOME", ""),
        workdir=workdir if workdir.startswith("/") else f"/{workdir}",
        user=started.user or "",
        entrypoint=tuple(started.entrypoint or ()),
        command=tuple(started.cmd or ()),
        ports=tuple(sorted(int(port) for port in ports if port.isdigit() and int(port) < 65536)),
    )
