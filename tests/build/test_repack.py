"""Whatever is uploaded, what is built from stays within its folder and within its limits."""

import io
import json
import os
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projects import zipped
from serai.build.repack import Unusable, repack

LINK = stat.S_IFLNK | 0o777


def repacked(data: bytes, folder: Path) -> list[tarfile.TarInfo]:
    source, target = folder / "upload", folder / "project.tar"
    source.write_bytes(data)
    repack(source, target)
    with tarfile.open(target) as archive:
        return archive.getmembers()


def refused(data: bytes, folder: Path) -> str:
    with pytest.raises(Unusable) as problem:
        repacked(data, folder)
    return str(problem.value)


def tarred(*members: tuple[str, Any], packed: str = "") -> bytes:
    """A tar file; a value is content, or fields of TarInfo."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{packed}") as archive:
        for name, value in members:
            info = tarfile.TarInfo(name)
            data = value if isinstance(value, bytes) else b""
            info.size = len(data)
            for field, content in (value if isinstance(value, dict) else {}).items():
                setattr(info, field, content)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def test_a_zip_becomes_plain_files_below_one_folder(tmp_path: Path) -> None:
    modes = {"run.sh": 0o106777, "sub/link": LINK}
    data = zipped({"main.py": "1", "run.sh": "2", "sub/": "", "sub/link": "../main.py"}, modes)
    found = {each.name: each for each in repacked(data, tmp_path)}
    assert set(found) == {"blaxel/main.py", "blaxel/run.sh", "blaxel/sub", "blaxel/sub/link"}
    assert found["blaxel/run.sh"].mode == 0o755
    assert found["blaxel/main.py"].mode == 0o644
    assert found["blaxel/sub/link"].linkname == "../main.py"
    assert {each.uid for each in found.values()} == {0}


@pytest.mark.parametrize("packed", ["", "gz", "xz"])
def test_tar_files_are_taken_too(packed: str, tmp_path: Path) -> None:
    link = {"type": tarfile.LNKTYPE, "linkname": "a"}
    found = repacked(tarred(("a", b"content"), ("b", link), packed=packed), tmp_path)
    assert [(each.name, each.size) for each in found] == [("blaxel/a", 7), ("blaxel/b", 7)]


def test_tar_files_packed_by_zstd_are_taken_too(tmp_path: Path) -> None:
    plain = tarred(("a", b"content"))
    packed = subprocess.run(["zstd", "-q"], input=plain, capture_output=True, check=True).stdout
    source, target = tmp_path / "upload", tmp_path / "project.tar"
    source.write_bytes(packed)
    command = [sys.executable, "-m", "serai.build.repack", str(source), str(target)]
    done = subprocess.run(command, capture_output=True, check=True)
    assert json.loads(done.stdout)["entries"] == 1


def test_what_is_for_the_build_alone_is_kept_apart(tmp_path: Path) -> None:
    files = {"main.py": "1", ".env.build": "TOKEN=secret", ".docker/config.json": "{}"}
    source, target = tmp_path / "upload", tmp_path / "project.tar"
    source.write_bytes(zipped(files | {"node_modules/a/index.js": "1", ".git/config": ""}))
    said = repack(source, target)
    assert said["private"] == {".env.build": "TOKEN=secret", ".docker/config.json": "{}"}
    with tarfile.open(target) as archive:
        assert archive.getnames() == ["blaxel/main.py"]


def test_the_last_entry_of_a_name_counts(tmp_path: Path) -> None:
    """The official CLI adds a Dockerfile of a subfolder at the top, although there is one."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("Dockerfile", "FROM one")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("Dockerfile", "FROM two")
    source, target = tmp_path / "upload", tmp_path / "project.tar"
    source.write_bytes(buffer.getvalue())
    repack(source, target)
    with tarfile.open(target) as opened:
        content = opened.extractfile("blaxel/Dockerfile")
        assert content is not None
        assert content.read() == b"FROM two"


@pytest.mark.parametrize(
    ("files", "modes", "why"),
    [
        ({"/etc/passwd": ""}, {}, "'/etc/passwd' has an absolute path"),
        ({"../up": ""}, {}, "'../up' leads out of the archive"),
        ({"a/../../up": ""}, {}, "'a/../../up' leads out"),
        ({"a\\b": ""}, {}, "has a backslash"),
        ({"a\nb": ""}, {}, "cannot be printed"),
        ({"l": "/etc"}, {"l": LINK}, "'l' links to '/etc', outside"),
        ({"d/l": "../../x"}, {"d/l": LINK}, "'d/l' links to '../../x', outside"),
        ({"d/l": "..", "m": "d/l/.."}, {"d/l": LINK, "m": LINK}, "'m' links to 'd/l/..'"),
        ({"l": "sub", "l/x": ""}, {"l": LINK}, "'l/x' lies below a link"),
        ({"f": "1", "f/x": ""}, {}, "'f/x' lies below a file"),
        ({"p": ""}, {"p": stat.S_IFIFO | 0o644}, "'p' is neither a file, a folder nor a link"),
        ({"c": ""}, {"c": stat.S_IFCHR | 0o644}, "'c' is neither a file"),
        ({"/".join("d" * 80): ""}, {}, "more than 64 folders deep"),
        ({"x" * 300: ""}, {}, "more than 255 bytes"),
        ({"Dockerfile": "", "dockerfile": ""}, {}, "differ in case alone"),
        ({"bomb": bytes(90 << 20)}, {}, "'bomb': it looks like a bomb"),
        ({}, {}, "it is empty"),
    ],
)
def test_archives_that_are_refused_name_the_entry(
    files: dict[str, Any], modes: dict[str, int], why: str, tmp_path: Path
) -> None:
    assert why in refused(zipped(files, modes), tmp_path)


def test_tar_files_with_devices_and_escapes_are_refused(tmp_path: Path) -> None:
    device = {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3}
    assert "'null' is neither a file" in refused(tarred(("null", device)), tmp_path)
    away = {"type": tarfile.SYMTYPE, "linkname": "../../etc"}
    assert "leads out" in refused(tarred(("a", away)), tmp_path)
    bomb = tarred(("zeros", bytes(90 << 20)), packed="gz")
    assert "looks like a bomb" in refused(bomb, tmp_path)


def test_entries_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    data = bytearray(zipped({"a": os.urandom(1000), "b": os.urandom(1000)}))
    first = data.index(b"PK\x01\x02")
    second = data.index(b"PK\x01\x02", first + 4)
    data[second + 42 : second + 46] = data[first + 42 : first + 46]
    assert "overlap" in refused(bytes(data), tmp_path)


def test_encrypted_and_damaged_files_are_refused(tmp_path: Path) -> None:
    data = bytearray(zipped({"a": b"x" * 1000}))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    assert "'a' is encrypted" in refused(bytes(data), tmp_path)
    whole = bytearray(zipped({"a": os.urandom(1000)}))
    whole[60] ^= 255
    assert "cannot be read" in refused(bytes(whole), tmp_path)
    assert "cannot be read" in refused(b"no archive at all", tmp_path)


PARTS = st.sampled_from(["a", "b", "A", ".", "..", "", "Dockerfile", "dockerfile"])
NAMES = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
MODES = st.sampled_from([0, 0o100644, 0o106755, LINK, LINK, stat.S_IFDIR | 0o777, stat.S_IFIFO])
ENTRIES = st.lists(st.tuples(NAMES, MODES, st.one_of(NAMES, st.text(max_size=5))), max_size=6)


@given(ENTRIES)
@settings(max_examples=300, deadline=None)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_what_is_accepted_stays_inside(entries: list[tuple[str, int, str]]) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, mode, content in entries:
            info = zipfile.ZipInfo(name or "x")
            info.external_attr = mode << 16
            archive.writestr(info, content)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "upload").write_bytes(buffer.getvalue())
        try:
            repack(root / "upload", root / "project.tar")
        except Unusable:
            return
        inside = root / "x" / "inside"
        inside.mkdir(parents=True)
        with tarfile.open(root / "project.tar") as opened:
            members = opened.getmembers()
            opened.extractall(inside, filter="fully_trusted")
        assert all(each.name.startswith("blaxel/") for each in members)
        assert all(each.isfile() or each.isdir() or each.issym() for each in members)
        assert all(each.mode & 0o7022 == 0 for each in members if not each.issym())
        assert {path.name for path in root.iterdir()} == {"upload", "project.tar", "x"}
        assert {path.name for path in (root / "x").iterdir()} == {"inside"}
        real = os.path.realpath(inside)
        assert all(os.path.realpath(each).startswith(real) for each in inside.rglob("*"))


@given(st.binary(max_size=2000))
@settings(max_examples=200, deadline=None)
def test_no_bytes_break_it(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as name, suppress(Unusable):
        repacked(content, Path(name))
    with tempfile.TemporaryDirectory() as name, suppress(Unusable):
        repacked(b"PK\x03\x04" + content, Path(name))
