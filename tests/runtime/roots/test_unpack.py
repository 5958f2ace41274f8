"""Layers from anybody: what lands on the disk, and what never may."""

import os
import stat
import tarfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oci_images import entry, sha256, tar
from serai.runtime.host import is_host_root
from serai.runtime.roots import unpack
from serai.runtime.roots.oci import Hashing, add_tar
from serai.runtime.roots.problems import ImageProblem
from serai.runtime.roots.store import Store
from serai.runtime.roots.unpack import Unpacker

OWNER = 300_000 if is_host_root() else None
OPAQUE = "user.overlay.opaque" if OWNER is None else "trusted.overlay.opaque"
DIRECTORY, LINK, HARD = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE


def put(folder: Path, data: bytes, **options: int) -> Path:
    """Unpack into ``folder/fs`` beside a file that must survive."""
    (folder / "outside").write_text("untouched")
    tree = folder / "fs"
    tree.mkdir()
    with (folder / "layer.tar").open("w+b") as file:
        file.write(data)
        file.seek(0)
        Unpacker(tree, OWNER, **options).run(Hashing(file))
    return tree


def test_files_links_modes_and_owners(tmp_path: Path) -> None:
    tree = put(
        tmp_path,
        tar(
            entry("./usr/bin", type=DIRECTORY),
            entry("usr/bin/tool", b"#!", mode=0o4755, uid=5, gid=6),
            entry("bin", type=LINK, linkname="usr/bin"),
            entry("bin/second", b"through a link of the image"),
            entry("usr/bin/same", type=HARD, linkname="usr/bin/tool"),
            entry("deep/without/parents", b"made"),
            entry("usr/bin/tool2", b"old"),
            entry("usr/bin/tool2", b"new"),
        ),
    )
    assert (tree / "usr/bin/second").read_bytes() == b"through a link of the image"
    assert (tree / "usr/bin/tool2").read_bytes() == b"new"
    assert (tree / "deep/without/parents").read_bytes() == b"made"
    assert os.readlink(tree / "bin") == "usr/bin"
    tool = (tree / "usr/bin/tool").stat()
    assert stat.S_IMODE(tool.st_mode) == 0o4755
    assert tool.st_ino == (tree / "usr/bin/same").stat().st_ino
    if OWNER is not None:
        assert (tool.st_uid, tool.st_gid) == (OWNER + 5, OWNER + 6)
        assert tree.stat().st_uid == (tree / "deep").stat().st_uid == OWNER


def test_whiteouts_become_those_of_overlays(tmp_path: Path) -> None:
    tree = put(
        tmp_path,
        tar(
            entry("etc", type=DIRECTORY),
            entry("etc/.wh.passwd"),
            entry("var/.wh..wh..opq"),
            entry("var/.wh..wh.plnk", b""),
        ),
    )
    hidden = (tree / "etc/passwd").lstat()
    assert stat.S_ISCHR(hidden.st_mode)
    assert hidden.st_rdev == 0
    assert os.getxattr(tree / "var", OPAQUE) == b"y"
    assert os.listdir(tree / "var") == []


def test_what_the_runtime_provides_and_devices_are_left_out(tmp_path: Path) -> None:
    tree = put(
        tmp_path,
        tar(
            entry("dev/sda", type=tarfile.BLKTYPE, devmajor=8),
            entry("mem", type=tarfile.CHRTYPE, devmajor=1, devminor=1),
            entry("hidden", type=tarfile.CHRTYPE),
            entry("etc/resolv.conf", b"nameserver 8.8.8.8"),
            entry("etc/hostname", b"builder"),
            entry("pipe", type=tarfile.FIFOTYPE),
        ),
    )
    assert [path.name for path in tree.rglob("*")] == ["pipe"]


def test_attributes_that_overlays_believe_are_not_taken_over(tmp_path: Path) -> None:
    info, data = entry("folder", type=DIRECTORY)
    info.pax_headers = {
        "SCHILY.xattr.trusted.overlay.redirect": "/../../etc",
        "SCHILY.xattr.user.overlay.redirect": "/../../etc",
        "SCHILY.xattr.security.capability": "x",
    }
    tree = put(tmp_path, tar((info, data)))
    assert os.listxattr(tree / "folder") == []


@pytest.mark.parametrize(
    "members",
    [
        [entry("../outside", b"changed")],
        [entry("a/../../outside", b"changed")],
        [entry("up", type=LINK, linkname=".."), entry("up/outside", b"changed")],
        [entry("up", type=LINK, linkname="/"), entry("up/outside", b"changed")],
        [entry("a", type=LINK, linkname="../../../.."), entry("a/outside", b"changed")],
        [entry("f", type=LINK, linkname="../outside"), entry("f", b"changed")],
        [entry("h", type=HARD, linkname="../outside"), entry("h", b"changed")],
        [entry("up", type=LINK, linkname=".."), entry("h", type=HARD, linkname="up/outside")],
        [entry("proc", type=LINK, linkname="/proc/self/root"), entry("proc/tmp/x", b"out")],
    ],
)
def test_nothing_leads_out(tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    try:
        tree = put(tmp_path, tar(*members))
    except ImageProblem:
        tree = tmp_path / "fs"
    assert (tmp_path / "outside").read_text() == "untouched"
    assert (tmp_path / "outside").stat().st_nlink == 1
    assert sorted(os.listdir(tmp_path)) == ["fs", "layer.tar", "outside"]
    assert tree.is_dir()


NAMES = st.sampled_from(
    ["a", "b", "..", ".", "", "up", "a/b", "/a", ".wh.a", ".wh..wh..opq", "outside"]
)
MEMBER = st.tuples(
    st.lists(NAMES, min_size=1, max_size=4).map("/".join),
    st.sampled_from([tarfile.REGTYPE, DIRECTORY, LINK, HARD, tarfile.FIFOTYPE, tarfile.CHRTYPE]),
    st.lists(NAMES, min_size=1, max_size=4).map("/".join),
)


@settings(max_examples=150, deadline=None)
@given(members=st.lists(MEMBER, max_size=12))
def test_any_layer_stays_inside(
    tmp_path_factory: pytest.TempPathFactory, members: list[tuple[str, bytes, str]]
) -> None:
    folder = tmp_path_factory.mktemp("layer")
    whole = tar(*(entry(n or "x", b"data", type=t, linkname=link) for n, t, link in members))
    try:
        put(folder, whole)
    except ImageProblem:
        pass
    assert (folder / "outside").read_text() == "untouched"
    assert (folder / "outside").stat().st_nlink == 1
    assert sorted(os.listdir(folder)) == ["fs", "layer.tar", "outside"]


def test_a_bomb_is_stopped_before_it_fills_the_disk(tmp_path: Path) -> None:
    huge = tar(entry("big", b"\0" * 3000))
    with pytest.raises(ImageProblem, match="larger than"):
        put(tmp_path, huge, max_bytes=2000)


def test_a_size_that_is_a_lie_is_refused(tmp_path: Path) -> None:
    whole = tar(entry("big", b"x" * 2000))
    with pytest.raises(ImageProblem, match=r"whole tar|ends within"):
        put(tmp_path, whole[:1024])


def test_a_header_cannot_fill_the_memory(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.pax_headers = {"comment": "x" * (unpack.MAX_HEADER + 1)}
    with pytest.raises(ImageProblem, match="header"):
        put(tmp_path, tar((info, b"")))


def _long(number: int, size: int = 100_000) -> tuple[tarfile.TarInfo, bytes]:
    info, data = entry(f"f{number}")
    info.pax_headers = {"comment": "x" * size}
    return info, data


def test_headers_of_many_members_are_not_kept(tmp_path: Path) -> None:
    whole = tar(*(_long(number) for number in range(100)))
    tracemalloc.start()
    try:
        put(tmp_path, whole)
        assert tracemalloc.get_traced_memory()[1] < len(whole) / 2
    finally:
        tracemalloc.stop()


def _for_all(count: int, size: int) -> bytes:
    create = tarfile.TarInfo.create_pax_global_header
    return b"".join(create({f"key-{number}": "x" * size}) for number in range(count))


def test_headers_for_all_members_cannot_fill_the_memory(tmp_path: Path) -> None:
    parts = [_for_all(1, 300_000) + entry(f"f{number}")[0].tobuf() for number in range(4)]
    with pytest.raises(ImageProblem, match="headers of more than"):
        put(tmp_path, b"".join(parts) + bytes(1024))


def test_headers_within_headers_cannot_fill_the_stack(tmp_path: Path) -> None:
    with pytest.raises(ImageProblem, match="more than 64 headers"):
        put(tmp_path, _for_all(1500, 1) + entry("f")[0].tobuf() + bytes(1024))


@pytest.mark.parametrize("version", ["0.0", "0.1", "1.0", "old"])
def test_a_file_of_holes_cannot_fill_the_disk(tmp_path: Path, version: str) -> None:
    size = 32 << 20
    body = f"1\n{size}\n0\n".encode().ljust(512, b"\0")
    info, _ = entry("big", body)
    if version == "old":
        info.type = tarfile.GNUTYPE_SPARSE
    elif version == "1.0":
        info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
        info.pax_headers |= {"GNU.sparse.name": "big", "GNU.sparse.realsize": str(size)}
    elif version == "0.1":
        info.pax_headers = {"GNU.sparse.map": f"{size},0", "GNU.sparse.size": str(size)}
    else:
        info.pax_headers = {"GNU.sparse.size": str(size), "GNU.sparse.offset": str(size)}
        info.pax_headers |= {"GNU.sparse.numbytes": "0"}
    with pytest.raises(ImageProblem, match="sparse"):
        put(tmp_path, tar((info, body)))


def test_too_many_entries_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "MAX_ENTRIES", 3)
    with pytest.raises(ImageProblem, match="more than 3 entries"):
        put(tmp_path, tar(*(entry(f"f{number}") for number in range(4))))


def test_a_layer_of_another_digest_is_not_kept(tmp_path: Path) -> None:
    store = Store(tmp_path / "images", OWNER)
    store.prepare()
    layer = tar(entry("f", b"x"))
    (tmp_path / "layer").write_bytes(layer)
    with pytest.raises(ImageProblem, match="damaged"):
        add_tar(store, tmp_path / "layer", "sha256:" + "0" * 64)
    assert store.total() == 0
    assert list(store.drafts.iterdir()) == []
    add_tar(store, tmp_path / "layer", sha256(layer))
    assert store.has_layer(sha256(layer).removeprefix("sha256:"))
