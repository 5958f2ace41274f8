"""Layouts from anybody: what is read of them, and when that ends."""

import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from oci_images import ImageFiles, entry, sha256, tar
from serai.runtime.roots import oci
from serai.runtime.roots.problems import ImageProblem
from serai.runtime.roots.provider import Images

IMAGE = ImageFiles(tar(entry("f", b"x")))


def blob(folder: Path, digest: str) -> Path:
    """Where a layout has a blob."""
    return folder / "blobs/sha256" / digest.removeprefix("sha256:")


def never_ends(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def is_a_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def leads_out(path: Path) -> None:
    outside = path.parents[3] / f"outside-{path.name}"
    outside.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(outside)


def packed(folder: Path) -> Path:
    """A layout as one tar file."""
    archive = folder.with_suffix(".tar")
    with tarfile.open(archive, "w") as file:
        file.add(folder, ".")
    return archive


@pytest.mark.parametrize("change", [never_ends, is_a_device, leads_out])
@pytest.mark.parametrize("part", ["manifest", "config", "layer"])
@pytest.mark.parametrize("archived", [False, True], ids=["folder", "archive"])
async def test_only_files_of_the_layout_are_read(
    images: Images,
    tmp_path: Path,
    change: Callable[[Path], None],
    part: str,
    archived: bool,
) -> None:
    folder = IMAGE.write(tmp_path / "deep/layout")
    digests = {"manifest": IMAGE.digest, "config": IMAGE.config["digest"]}
    change(blob(folder, digests.get(part) or IMAGE.layers[0]["digest"]))
    path = packed(folder) if archived else folder
    with pytest.raises(ImageProblem, match="no file of the layout"):
        await images.maker.take_in(path, "tests/bad:1", "", lambda text: None)
    assert images.store.find("tests/bad:1") is None
    assert list(images.store.drafts.iterdir()) == []


@pytest.mark.parametrize(
    ("size", "said"), [(-1, "promises a part of -1"), (1 << 50, "MiB of layers; at most")]
)
async def test_sizes_that_no_image_has(
    images: Images, tmp_path: Path, size: int, said: str
) -> None:
    folder = IMAGE.write(tmp_path / "layout")
    manifest = json.loads(IMAGE.blobs[IMAGE.digest])
    manifest["layers"][0]["size"] = size
    _replace_manifest(folder, manifest)
    with pytest.raises(ImageProblem, match=said):
        await images.maker.take_in(folder, "tests/bad:1", "", lambda text: None)


async def test_layers_are_limited_together(
    images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oci, "MAX_BYTES", 12_000)
    layers = [tar(entry(f"f{number}", bytes(5000))) for number in range(3)]
    folder = ImageFiles(*layers).write(tmp_path / "layout")
    with pytest.raises(ImageProblem, match="larger than"):
        await images.maker.take_in(folder, "tests/bad:1", "", lambda text: None)


def _replace_manifest(folder: Path, manifest: object) -> None:
    data = json.dumps(manifest).encode()
    digest = sha256(data)
    blob(folder, digest).write_bytes(data)
    index = json.loads((folder / "index.json").read_text())
    index["manifests"][0] |= {"digest": digest, "size": len(data)}
    (folder / "index.json").write_text(json.dumps(index))
