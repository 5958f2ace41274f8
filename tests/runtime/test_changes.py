"""Which paths an overlay's upper directory names, beside the layers of the image below it."""

import io
import os
from pathlib import Path

import pytest

from serai.runtime.changes import ChangeList

OPAQUE = "user.overlay.opaque"


def whiteout(path: Path) -> None:
    try:
        os.mknod(path, 0o020000, 0)
    except PermissionError:
        pytest.skip("NOT TESTED: this user cannot make the marks of overlays")


def make(top: Path, *paths: str) -> Path:
    """A tree of empty files, and of directories where a path ends with a slash."""
    top.mkdir()
    for path in paths:
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).mkdir(exist_ok=True) if path.endswith("/") else (top / path).touch()
    return top


def listed(upper: Path, *layers: Path, prefix: bytes = b"") -> list[str]:
    file = io.BytesIO()
    descriptor = os.open(upper, os.O_RDONLY)
    ChangeList(file, 0).add(prefix, descriptor, [str(layer) for layer in layers])
    os.close(descriptor)
    return sorted(record.decode() for record in file.getvalue().split(b"\0")[:-1])


def test_what_the_image_has_is_told_apart(tmp_path: Path) -> None:
    image = make(tmp_path / "image", "etc/passwd", "etc/group", "usr/bin/env", "srv/")
    upper = make(tmp_path / "upper", "etc/passwd", "etc/new", "usr/bin/", "srv/", "opt/mine")
    (upper / "srv").chmod(0o700)
    whiteout(upper / "usr/bin/env")
    assert listed(upper, image) == [
        "ietc/passwd", "isrv", "iusr/bin/env", "netc/new", "nopt", "nopt/mine",
    ]  # fmt: skip
    assert listed(upper / "etc", image / "etc", prefix=b"etc") == ["ietc/passwd", "netc/new"]


def test_a_directory_that_hides_the_images(tmp_path: Path) -> None:
    image = make(tmp_path / "image", "a/kept", "a/deep/x", "b/y")
    upper = make(tmp_path / "upper", "a/deep/mine", "b/")
    os.setxattr(upper / "a", OPAQUE, b"y")
    assert set(listed(upper, image)) == {"ia/kept", "ia/deep", "ia/deep/x", "na/deep/mine"}


def test_layers_of_an_image_hide_each_other(tmp_path: Path) -> None:
    low = make(tmp_path / "low", "a/one", "a/two", "b/one", "c")
    high = make(tmp_path / "high", "a/", "b/three", "c/now")
    whiteout(high / "a/one")
    os.setxattr(high / "b", OPAQUE, b"y")
    upper = make(tmp_path / "upper", "a/one", "a/two", "b/one", "b/three", "c/now")
    assert listed(upper, high, low) == ["ia/two", "ib/three", "ic/now", "na/one", "nb/one"]


def test_links_are_never_followed(tmp_path: Path) -> None:
    image = make(tmp_path / "image", "real/file")
    (image / "link").symlink_to("real")
    upper = make(tmp_path / "upper", "link/file")
    assert listed(upper, image) == ["ilink", "nlink/file"]


def test_a_directory_renamed_by_reference_is_refused(tmp_path: Path) -> None:
    upper = make(tmp_path / "upper", "moved/")
    os.setxattr(upper / "moved", "user.overlay.redirect", b"/usr")
    with pytest.raises(OSError, match="redirect_dir"):
        listed(upper, make(tmp_path / "image"))
