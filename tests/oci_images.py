"""OCI images for tests: layers, layouts, and a real registry to push them to."""

import contextlib
import gzip
import hashlib
import io
import json
import shutil
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from serai.runtime.roots.oci import architecture

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
LOGIN = ("ada", "a password")
HASHED = "$2b$04$abcdefghijklmnopqrstuuQCzP7jzWZS/E3GL4oF3LWbHm3pfKHH."
"""The password as the registry wants to have it: bcrypt."""
BUSYBOX = Path("/bin/busybox")


def entry(name: str, data: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    """A member of a tar file; fields of TarInfo by name."""
    info = tarfile.TarInfo(name)
    info.mode = 0o755 if fields.get("type") == tarfile.DIRTYPE else 0o644
    for field, value in fields.items():
        setattr(info, field, value)
    if info.isreg():
        info.size = fields.get("size", len(data))
    return info, data


def tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """An uncompressed tar file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def static_busybox() -> bytes:
    """Debian's static busybox; skips the test where there is none."""
    try:
        kind = BUSYBOX.read_bytes()
    except OSError:
        pytest.skip("needs a static busybox: apt-get install busybox-static")
    if b"/lib64/ld-linux" in kind:
        pytest.skip("needs a static busybox: apt-get install busybox-static")
    return kind


class ImageFiles:
    """Blobs of one image by digest, with its manifest and index."""

    def __init__(self, *layers: bytes, packed: str = "gzip", **config: Any) -> None:
        self.blobs: dict[str, bytes] = {}
        self.layers = [self._layer(layer, packed) for layer in layers]
        content = {
            "architecture": config.pop("architecture", architecture()),
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [sha256(layer) for layer in layers]},
            "history": [{"created_by": "a test"} for _ in layers],
        }
        self.config = self._blob(
            json.dumps(content).encode(), "application/vnd.oci.image.config.v1+json"
        )
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.config,
            "layers": self.layers,
        }
        self.manifest = self._blob(json.dumps(manifest).encode(), MANIFEST)
        self.digest: str = self.manifest["digest"]

    def index(self, *platforms: str) -> bytes:
        """An index that offers this image for these architectures."""
        manifests = [
            {**self.manifest, "platform": {"os": "linux", "architecture": each}}
            for each in platforms
        ]
        return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}).encode()

    def write(self, folder: Path, tag: str = "latest") -> Path:
        """As an OCI layout."""
        (folder / "blobs/sha256").mkdir(parents=True)
        for digest, data in self.blobs.items():
            (folder / "blobs/sha256" / digest.removeprefix("sha256:")).write_bytes(data)
        named = {**self.manifest, "annotations": {"org.opencontainers.image.ref.name": tag}}
        index = {"schemaVersion": 2, "manifests": [named]}
        (folder / "index.json").write_text(json.dumps(index))
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        return folder

    def _layer(self, layer: bytes, packed: str) -> dict[str, Any]:
        if packed == "gzip":
            return self._blob(gzip.compress(layer, 1, mtime=0), LAYER)
        if packed == "zstd":
            done = subprocess.run(["zstd", "-q"], input=layer, capture_output=True, check=True)
            return self._blob(done.stdout, LAYER.replace("gzip", "zstd"))
        return self._blob(layer, LAYER.removesuffix("+gzip"))

    def _blob(self, data: bytes, media_type: str) -> dict[str, Any]:
        digest = sha256(data)
        self.blobs[digest] = data
        return {"mediaType": media_type, "digest": digest, "size": len(data)}


def sha256(data: bytes) -> str:
    """The digest of bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def busybox_image(**config: Any) -> ImageFiles:
    """An image that holds a single static binary, and nothing else."""
    return ImageFiles(tar(entry("busybox", static_busybox(), mode=0o755)), **config)


class RegistryServer:
    """A real registry on a port of this machine."""

    def __init__(self, port: int, login: tuple[str, str] | None) -> None:
        self.host = f"127.0.0.1:{port}"
        self.client = httpx.Client(
            base_url=f"http://{self.host}", auth=login, trust_env=False, timeout=30
        )

    def push(self, image: ImageFiles, name: str, tag: str, index: bytes | None = None) -> str:
        """Push an image; answers the reference of its tag."""
        for digest, data in image.blobs.items():
            if digest == image.digest:
                continue
            started = self.client.post(f"/v2/{name}/blobs/uploads/")
            assert started.status_code == 202, started.text
            place = started.headers["Location"]
            mark = "&" if "?" in place else "?"
            done = self.client.put(
                f"{place}{mark}digest={digest}",
                content=data,
                headers={"Content-Type": "application/octet-stream"},
            )
            assert done.status_code == 201, done.text
        self._manifest(name, image.digest if index else tag, image.blobs[image.digest], MANIFEST)
        if index:
            self._manifest(name, tag, index, INDEX)
        return f"{self.host}/{name}:{tag}"

    def _manifest(self, name: str, version: str, data: bytes, kind: str) -> None:
        done = self.client.put(
            f"/v2/{name}/manifests/{version}", content=data, headers={"Content-Type": kind}
        )
        assert done.status_code == 201, done.text


@contextlib.contextmanager
def registry(folder: Path, login: tuple[str, str] | None = None) -> Iterator[RegistryServer]:
    """Debian's docker-registry; skips the test where it is not installed."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("needs docker-registry: apt-get install docker-registry")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder.mkdir()
    auth = ""
    if login is not None:
        assert login == LOGIN
        (folder / "users").write_text(f"{login[0]}:{HASHED}\n")
        auth = f"auth:\n  htpasswd:\n    realm: test\n    path: {folder}/users\n"
    (folder / "config.yml").write_text(
        "version: 0.1\nlog:\n  level: error\n"
        f"storage:\n  filesystem:\n    rootdirectory: {folder}/data\n"
        f"http:\n  addr: 127.0.0.1:{port}\n{auth}"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "serve", str(folder / "config.yml")], stdout=log, stderr=log
        )
    try:
        server = RegistryServer(port, login)
        deadline = time.monotonic() + 20
        while True:
            try:
                if server.client.get("/v2/").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.05)
        yield server
        server.client.close()
    finally:
        process.kill()
        process.wait()
